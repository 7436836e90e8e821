"""The measurements of the cost report: every cell in turns with the LSTM, at sizes along T, B and H.

A row is one cell at one shape: its turns, those of the LSTM in the same rounds, and those of its products alone, the
very matrix products that it needs in NumPy and nothing else; and of training those of the same cell with fused kernels,
where these can be had. What a step costs where there is nothing to compute, one
sequence and one unit, is measured apart: the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.count import cost, parameters, units_for
from benchmarks.record import has_fused
from benchmarks.rows import FUSED
from benchmarks.turns import Competitor, take_turns
from rnncore import Recurrent
from rnncore.cells import find_cell

CELLS = ("LSTM", "GRU", "GRU-before")
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Plan:
    """What is measured: sizes along each axis, the others as in `base`; D is H.

    rounds, turn, pause : of `benchmarks.turns.take_turns`.
    """

    base: tuple[int, int, int] = (34, 64, 256)
    T: tuple[int, ...] = (8, 17, 34, 68, 136)
    B: tuple[int, ...] = (1, 4, 16, 64, 256)
    H: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    equal: tuple[int, ...] = (64, 128, 256, 512)
    stream: tuple[int, ...] = (64, 256, 1024)
    rounds: int = 7
    turn: float = 0.04
    pause: float = 0.05

    def shapes(self) -> list[Shape]:
        """Return every (T, B, D, H) of the axes, each once."""
        T, B, H = self.base
        along = [(t, B, H) for t in self.T] + [(T, b, H) for b in self.B] + [(T, B, h) for h in self.H]
        return [(t, b, h, h) for t, b, h in dict.fromkeys(along)]


QUICK = Plan((12, 16, 64), (6, 12, 24), (1, 16), (16, 32, 64), (32, 64), (64,), rounds=5, turn=0.01, pause=0.03)


def steps(plan: Plan) -> dict[str, Callable[[], Iterator[dict[str, Any]]]]:
    """Return what is measured one after the other, by name; each gives some rows, and none needs another."""
    found: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {}
    for T, B, D, H in plan.shapes():
        found[f"T={T}, B={B}, H={H}"] = partial(at_equal_units, (T, B, D, H), plan)
    for H in plan.equal:
        found[f"equal parameters, H={H}"] = partial(at_equal_parameters, (*plan.base[:2], H, H), plan)
    for H in plan.stream:
        found[f"stream, H={H}"] = partial(streaming, H, plan)
    for cell in CELLS:
        found[f"calls, {cell}"] = partial(calls, cell, plan)
    return found


def at_equal_units(shape: Shape, plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield training and forward of every cell at one shape."""
    layers = {cell: Recurrent(find_cell(cell), *shape[2:]) for cell in CELLS}
    work = {cell: training(layer, shape) for cell, layer in layers.items()}
    work |= {f"{cell} products": products(layer, shape) for cell, layer in layers.items()}
    if has_fused():
        fused = {cell: Recurrent(find_cell(cell), *shape[2:], fused=True) for cell in CELLS}
        work |= {f"{cell} fused": training(layer, shape) for cell, layer in fused.items()}
    yield from _rows("training", dict.fromkeys(CELLS, shape), work, plan)
    only = {cell: forward(layer, shape) for cell, layer in layers.items()}
    yield from _rows("forward", dict.fromkeys(CELLS, shape), only, plan)


def at_equal_parameters(shape: Shape, plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield training of every cell with about as many parameters as the LSTM of `shape`, of the same input."""
    T, B, D, H = shape
    wanted = parameters(find_cell("LSTM"), D, H)
    shapes = {cell: (T, B, D, units_for(cell, wanted, D)) for cell in CELLS}
    layers = {cell: Recurrent(find_cell(cell), *own[2:]) for cell, own in shapes.items()}
    work = {cell: training(layer, shapes[cell]) for cell, layer in layers.items()}
    yield from _rows("training, equal parameters", shapes, work, plan)


def streaming(H: int, plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield one step of a stream of one sequence."""
    x, work = np.ones((1, H), np.float32), {}
    for cell in CELLS:
        stepper = Recurrent(find_cell(cell), H, H).stepper()
        work[cell] = lambda stepper=stepper: stepper.step(x)
    yield from _rows("one step of a stream", dict.fromkeys(CELLS, (1, 1, H, H)), work, plan)


def calls(cell: str, plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield the row of a training step with one sequence of one unit: T steps of calls and no arithmetic."""
    shape = (plan.base[0], 1, 1, 1)
    work = {cell: training(Recurrent(find_cell(cell), 1, 1), shape)}
    yield from _rows("calls", {cell: shape}, work, plan)


def training(layer: Recurrent, shape: Shape) -> Callable[[], Any]:
    """Return forward and backward with all gradients."""
    T, B, D, H = shape
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((T, B, D), np.float32), rng.standard_normal((T, B, H), np.float32)

    def call() -> None:
        layer(x)
        layer.backward(dy)

    return call


def forward(layer: Recurrent, shape: Shape) -> Callable[[], Any]:
    """Return the forward pass alone, no trace kept."""
    layer.training = layer.keeps_trace = False
    x = np.random.default_rng(0).standard_normal(shape[:3], np.float32)
    return lambda: layer(x)


def products(layer: Recurrent, shape: Shape) -> Callable[[], Any]:
    """Return the matrix products of a training step and nothing else, in the form in which they are quickest.

    The input's for all steps at once, the recurrent one a step, forward and backward, and one each over all steps for
    the gradients of W, of U and of x.
    """
    T, B, D, H = shape
    W, U = (np.ascontiguousarray(layer.params[f"layer0.{name}"]) for name in "WU")
    U_T, N, P = np.ascontiguousarray(U.T), T * B, len(U)
    rows, before = np.ones((N, D), np.float32), np.ones((N, H), np.float32)
    h, a, da = np.ones((H, B), np.float32), np.empty((P, B), np.float32), np.ones((P, N), np.float32)
    all_a, dW, dU, dx = np.empty((N, P), np.float32), np.empty_like(W), np.empty_like(U), np.empty_like(rows)

    def call() -> None:
        np.matmul(rows, W.T, out=all_a)
        for _ in range(T):
            np.matmul(U, h, out=a)
        for _ in range(T):
            np.matmul(U_T, a, out=h)
        np.matmul(da, rows, out=dW)
        np.matmul(da, before, out=dU)
        np.matmul(da.T, W, out=dx)

    def bounded() -> None:
        h.fill(1e-3)  # the products feed each other: far from overflow, and from subnormal numbers
        call()

    return bounded


def _rows(
    work: str, shapes: dict[str, Shape], calls: dict[str, Callable[[], Any]], plan: Plan
) -> Iterator[dict[str, Any]]:
    """Yield a row a cell of what took turns."""
    seconds = take_turns({name: Competitor(call) for name, call in calls.items()}, plan.rounds, plan.turn, plan.pause)
    for cell, (T, B, D, H) in shapes.items():
        counted = cost(cell, T * B, D, H)
        own = {"ours": seconds[cell]}
        own |= {"LSTM": seconds["LSTM"]} if cell != "LSTM" and "LSTM" in seconds else {}
        apart = {"products": f"{cell} products", FUSED: f"{cell} fused"}
        own |= {name: seconds[kept] for name, kept in apart.items() if kept in seconds}
        yield {"work": work, "cell": cell, "shape": [T, B, D, H], "cost": counted._asdict(), "seconds": own}

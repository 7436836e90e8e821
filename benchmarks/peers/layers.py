"""The layers alone: every shape of the table, training, forward and one step of a stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from benchmarks.cost import measure as cost
from benchmarks.peers import ours
from benchmarks.peers.problem import Problem
from benchmarks.rows import CALLS
from benchmarks.turns import Competitor, take_turns

CELLS = ("LSTM", "GRU")
#: (T, B, D, H), and what the ratio of times to PyTorch's should at most be, for the LSTM and the GRU.
TRAINING = {
    (34, 64, 200, 256): (0.95, 0.50),
    (34, 256, 256, 256): (0.95, 0.50),
    (100, 64, 512, 512): (0.95, 0.50),
    (128, 16, 1024, 1024): (1.15, 0.40),
    (100, 32, 128, 128): (1.35, 0.33),
    (256, 32, 64, 64): (1.35, 0.33),
    (20, 1, 64, 64): (0.50, 0.20),
}
MIXED = {(30, 64, 200, 256): (0.88, 0.52), (30, 256, 200, 256): (0.58, 0.52)}
FORWARD = {(34, 64, 200, 256): (1.25, 0.55), (34, 256, 256, 256): (1.25, 0.55)}
STEP = {(1, 1, 256, 256): (0.15, 0.50)}
#: Modules of the other libraries by the name of what must be installed.
OTHERS = {"torch": "torch_rnn", "jax": "jax_rnn", "onnxruntime": "onnx_rnn"}


class Work(NamedTuple):
    """A part of the table: its shapes with their bars, and the name of the function that makes a competitor of it."""

    name: str
    shapes: dict[tuple[int, int, int, int], tuple[float, float]]
    call: str
    mixed: bool = False


PARTS = {
    "training": Work("forward and backward", TRAINING, "training"),
    "lengths": Work("forward and backward, mixed lengths", MIXED, "training", mixed=True),
    "forward": Work("forward alone", FORWARD, "forward"),
    "step": Work("one step of a stream", STEP, "step"),
    "floor": Work("forward and backward", TRAINING, "floor"),
}


def problems(part: str) -> Iterator[tuple[Problem, float]]:
    """Yield every problem of a part, with its bar."""
    work = PARTS[part]
    for shape, bars in work.shapes.items():
        for cell, bar in zip(CELLS, bars, strict=True):
            yield Problem(cell, *shape, mixed=work.mixed), bar


def competitors(problem: Problem, call: str) -> dict[str, Competitor]:
    """Return ours and every installed library's that can do the work; for the floor ours and what it is made of."""
    if call == "floor":
        return floor(problem)
    found = ours.sides(call, problem)
    for library, module in OTHERS.items():
        if find_spec(library) is None or (problem.mixed and library != "torch"):
            continue
        make: Callable[[Problem], dict[str, Competitor]] | None = getattr(
            import_module(f"benchmarks.peers.{module}"), call, None
        )
        if make is not None:
            found |= make(problem)
    return found


def floor(problem: Problem) -> dict[str, Competitor]:
    """Return our training step, its matrix products alone, and its calls alone: one sequence of one unit."""
    nothing = Problem(problem.cell, problem.T, 1, 1, 1)
    products = Competitor(cost.products(problem.layer, problem.shape))
    calls = {CALLS[side]: each for side, each in ours.sides("training", nothing).items()}
    return ours.sides("training", problem) | {"products": products} | calls


def measure(
    part: str, rounds: int, shrink: int = 1, there: Collection[tuple[str, tuple[int, ...]]] = ()
) -> Iterator[dict[str, Any]]:
    """Yield a row of the record for every cell and shape, but for those that are `there` already.

    shrink : divides the steps and the units, to try the command out; such figures mean nothing.
    """
    for whole, bar in problems(part):
        T, B, D, H = whole.shape
        problem = Problem(whole.cell, max(1, T // shrink), B, max(1, D // shrink), max(1, H // shrink), whole.mixed)
        if (problem.cell, problem.shape) in there:
            continue
        found = competitors(problem, PARTS[part].call)
        if part != "floor":  # whose competitors do less; and the rows of "torch padded" are laid out apart
            problem.check({name: each for name, each in found.items() if name != "torch padded"})
        seconds = take_turns(found, rounds)
        yield {
            "work": PARTS[part].name,
            "cell": problem.cell,
            "shape": problem.shape,
            **({} if part == "floor" else {"bar": bar}),
            "settings": {name: dict(each.settings) for name, each in found.items() if each.settings},
            "seconds": seconds,
        }

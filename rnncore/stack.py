"""Layers times directions over the engine: what `rnncore.recurrent` puts its face on.

Everything here works on packed rows (`rnncore.packing`): a batch is packed once, runs through all layers, and is
unpacked once. A `Lane` is one layer in one direction; a `Stack` is all of them, with their parameters in one buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import DTypeLike

from rnncore import sequence
from rnncore.array import Array, array_module
from rnncore.cells.base import Cell
from rnncore.layers import Dropout
from rnncore.packing import Packing
from rnncore.params import Params
from rnncore.regularise import Regulariser
from rnncore.trace import Trace, sizes_of

#: The states of one lane, or their gradients, (B, H) each.
States = Sequence[Array | None]


@dataclass(frozen=True)
class Rates:
    """How much noise there is while training; all of it is exact in backward.

    dropout : of the outputs between layers, masks that differ from step to step.
    dropconnect : of the entries of every U, a mask for a whole pass.
    regulariser : zoneout, from step to step, and recurrent dropout, for a whole pass.
    """

    dropout: float = 0.0
    dropconnect: float = 0.0
    regulariser: Regulariser | None = None


@dataclass(frozen=True)
class Draw:
    """Which random numbers a pass gets: equal draws give equal masks.

    key : one or more integers; masks that hold for a whole pass depend on it alone.
    start : the step of the whole sequence at which this pass begins; masks that differ from step to step depend on
        it too.
    """

    key: tuple[int, ...]
    start: int = 0

    def of_pass(self, kind: int, lane: int) -> int:
        """Return the seed of a mask that is the same at every step."""
        return _seed(*self.key, kind, lane)

    def of_steps(self, kind: int, lane: int) -> int:
        """Return the seed of masks that differ from step to step."""
        return _seed(*self.key, kind, lane, self.start)


@dataclass(frozen=True)
class LaneNoise:
    """The noise of one lane in one pass: what draws the mask of U, and the regulariser of the engine."""

    dropconnect: Dropout | None
    regulariser: Regulariser | None

    @classmethod
    def of(cls, rates: Rates, draw: Draw | None, lane: int) -> LaneNoise:
        """Return the noise of the lane; without a draw it is inference, which has the expectation of zoneout."""
        regulariser = rates.regulariser
        if draw is None:
            return cls(None, regulariser)
        if regulariser is not None:
            regulariser = regulariser.seeded(draw.of_steps(2, lane) if regulariser.zoneout else draw.of_pass(2, lane))
        return cls(Dropout(rates.dropconnect, draw.of_pass(1, lane)) if rates.dropconnect else None, regulariser)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


class Lane:
    """One layer in one direction: its parameters and gradients by their own names, and its Trace.

    A reversed lane runs every sequence from its own last step to its first, within its own length; its Trace holds
    the steps in the order in which they ran. What goes in and comes out here is always in the caller's order.
    """

    def __init__(self, name: str, cell: Cell, params: Params, grads: Params) -> None:
        self.name, self.cell = name, cell
        own = [full.removeprefix(name + ".") for full in params if full.rpartition(".")[0] == name]
        self.weights = {n: params[f"{name}.{n}"] for n in own}
        self.grads = {n: grads[f"{name}.{n}"] for n in own}
        self.reverse = name.endswith(".reverse")
        self.trace: Trace | None = None
        self._used = self.weights
        self._mask: Array | None = None
        self._dropped: Array | None = None

    def forward(
        self, x: Array, initial: States | None, packing: Packing, flip: Array, noise: LaneNoise, keep: bool = True
    ) -> Array:
        """Return the output rows (N, H) of the rows x (N, D); keep : whether the Trace has every step."""
        self._used, self._mask = self.weights, None
        if noise.dropconnect is not None:
            # always to the same place, which a loop that is captured on a GPU reads from
            self._dropped, self._mask = noise.dropconnect.forward(self.weights["U"], out=self._dropped)
            self._used = self.weights | {"U": self._dropped}
        rows = x[flip] if self.reverse else x
        self.trace = sequence.forward(
            self.cell, self._used, rows, initial, packing, self.trace, noise.regulariser, keep
        )
        return self.trace.output[flip] if self.reverse else self.trace.output

    def backward(
        self, dy: Array | None, dlast: States, flip: Array, need_dx: bool, keep: bool
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Overwrite `grads`; return the gradients of the rows x and of the initial states.

        keep : whether the Trace shall have the gradients of the states at every step.
        """
        assert self.trace is not None
        dh = dy[flip] if self.reverse and dy is not None else dy
        got = sequence.backward(self.cell, self._used, self.trace, dh, dlast, self.grads, need_dx, keep)
        if self._mask is not None:
            self.grads["U"] *= self._mask
        return (got.x[flip] if self.reverse and got.x is not None else got.x), got.initial


class Stack:
    """Layers of a cell, each in one direction or in both, with dropout between them.

    Layer 0 reads D numbers, every other the outputs of all directions below, forward then reverse.

    Attributes
    ----------
    params, grads : of all lanes, "layer0.W", "layer0.reverse.W", "layer1.W", ...
    lanes : a tuple of its directions for every layer.
    output_size : R·H, the numbers that the last layer puts out.
    keeps_trace : whether passes without a draw keep every step; those with one always do.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        layers: int,
        directions: int,
        rates: Rates,
        dtype: DTypeLike,
        xp: ModuleType,
    ) -> None:
        self.cell, self.rates = cell, rates
        self.output_size = directions * sizes_of(cell, hidden_size)[cell.state[0]]
        names = [[f"layer{k}{way}" for way in ("", ".reverse")[:directions]] for k in range(layers)]
        shapes: dict[str, tuple[int, ...]] = {}
        for k, layer in enumerate(names):
            own = cell.shapes(self.output_size if k else input_size, hidden_size)
            for name in layer:
                shapes |= {f"{name}.{n}": shape for n, shape in own.items()}
        self.params = Params(shapes, dtype, xp)
        self.grads = self.params.like()
        self.lanes = tuple(tuple(Lane(n, cell, self.params, self.grads) for n in layer) for layer in names)
        self.keeps_trace = True
        self._masks: list[Array | None] = []
        self._packing: Packing | None = None
        self._flip: Array = None

    def forward(self, x: Array, initial: Sequence[States] | None, packing: Packing, draw: Draw | None) -> Array:
        """Return the output rows (N, R·H) of the rows x (N, D).

        initial : the states of every lane, zeros when None. draw : of the noise; None is inference, which has none.
        """
        self._lay_out(packing, array_module(x))
        self._masks, keep = [], self.keeps_trace or draw is not None
        for k, layer in enumerate(self.lanes):
            mask = None
            if draw and k and self.rates.dropout:
                x, mask = Dropout(self.rates.dropout, draw.of_steps(0, k)).forward(x)
            self._masks.append(mask)
            outputs = []
            for d, lane in enumerate(layer, start=k * len(layer)):
                noise = LaneNoise.of(self.rates, draw, d)
                outputs.append(lane.forward(x, initial and initial[d], packing, self._flip, noise, keep))
            x = outputs[0] if len(outputs) == 1 else array_module(x).concatenate(outputs, axis=1)
        return x

    def backward(
        self, dy: Array | None, dlast: Sequence[States], need_dx: bool, keep: bool = False
    ) -> tuple[Array | None, list[tuple[Array, ...]]]:
        """Overwrite `grads`; return the gradients of the rows x and of every lane's initial states."""
        dinitial: list[tuple[Array, ...]] = []
        for k, layer in reversed(list(enumerate(self.lanes))):
            parts = [dy] * len(layer)
            if dy is not None and len(layer) > 1:
                parts = array_module(dy).split(dy, len(layer), axis=1)
            last = dlast[k * len(layer) : (k + 1) * len(layer)]
            got = [
                lane.backward(part, d, self._flip, need_dx or k > 0, keep)
                for lane, part, d in zip(layer, parts, last, strict=True)
            ]
            dinitial[:0] = [states for _, states in got]
            dx = [d for d, _ in got if d is not None]
            dy = None if not dx else sum(dx[1:], start=dx[0])
            if dy is not None and self._masks[k] is not None:
                dy *= self._masks[k]
        return dy, dinitial

    def _lay_out(self, packing: Packing, xp: ModuleType) -> None:
        if self._packing is not packing:
            self._packing, self._flip = packing, None
        if self._flip is None and len(self.lanes[0]) > 1:
            self._flip = xp.asarray(reversed_rows(packing))


def reversed_rows(packing: Packing) -> np.ndarray:
    """Return (N,) where each packed row goes when every sequence is reversed within its own length.

    The same index takes the rows back.

    >>> packing = Packing([1, 3])
    >>> reversed_rows(packing)          # rows are b0, a0, b1, b2 for a of length 1 and b of length 3
    array([3, 1, 2, 0])
    """
    sizes, offsets = np.asarray(packing.batch_sizes, np.intp), np.asarray(packing.offsets, np.intp)
    time = np.repeat(np.arange(len(sizes)), sizes)
    column = np.arange(packing.rows) - offsets[time]
    flipped: np.ndarray = offsets[packing.lengths[packing.order][column] - 1 - time] + column
    return flipped

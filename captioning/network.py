"""The captioner's recurrent layers over packed rows, and the noise in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captioning.config import Model
from captioning.errors import CaptioningError
from rnncore import sequence
from rnncore.array import Array
from rnncore.cells import Cell, Weights, find_cell
from rnncore.cells.attention import Attention
from rnncore.layers import Dropout
from rnncore.options import as_fused
from rnncore.packing import Packing
from rnncore.regularise import Regulariser
from rnncore.stack import Draw
from rnncore.trace import Trace

States = tuple[Array, ...]
Memory = Mapping[str, Array]


def cells_of(model: Model, places: int) -> list[Cell]:
    """Return the cell of each layer; the first looks at `places` of the picture if the recipe says so."""
    cell = find_cell(model.cell)
    if model.attention == "none":
        return [cell] * model.layers
    gated = model.attention == "gated"
    return [Attention(cell, model.attention_size, model.annotation, places, gated), *[cell] * (model.layers - 1)]


def fused_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return the same cells as fused kernels, which attention has none of."""
    if any(isinstance(cell, Attention) for cell in cells):
        raise CaptioningError("training.fused: attention looks across units, which no fused kernel does; leave it out")
    return [as_fused(cell) for cell in cells]


def names_of(layers: int) -> list[str]:
    """Return the names of the layers' parts: rnn, rnn2, rnn3, ..."""
    return ["rnn", *(f"rnn{k}" for k in range(2, layers + 1))]


class Network:
    """Layers of a cell, one above the other; their parameters and gradients are the captioner's.

    passes : how many passes with noise there were; the noise of a pass depends on `seed` and this number alone.
    traces : what happened in the last pass, a `Trace` for each layer.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        params: Sequence[Weights],
        grads: Sequence[dict[str, Array]],
        model: Model,
        seed: int,
    ) -> None:
        self.cells, self.params, self.grads = cells, params, grads
        self.seed, self.passes, self.variational = seed, 0, model.variational_dropout
        self.between = model.layer_dropout
        rate = model.recurrent_dropout
        self.noise = Regulariser(recurrent_dropout=rate) if rate else None
        self.traces: list[Trace | None] = [None] * len(cells)
        self._masks: list[Array | None] = []
        self._memory: Memory = {}

    def forward(
        self, x: Array, packing: Packing, states: Sequence[States] | None, memory: Memory, train: bool, keep: bool
    ) -> Array:
        """Return the last layer's output (N, H) of the rows x (N, D); each layer begins with its `states`.

        keep : whether the traces keep every step, for `backward` and to be looked at.
        """
        draw = self._draw() if train else None
        self._masks, self._memory = [], memory
        for k, cell in enumerate(self.cells):
            x = self._between(x, packing, k, draw)
            noise = self.noise.seeded(draw.of_pass(2, k)) if self.noise and draw else None
            initial = None if states is None else states[k]
            p = {**self.params[k], **memory} if k == 0 else self.params[k]
            trace = sequence.forward(cell, p, x, initial, packing, self.traces[k], noise, keep)
            self.traces[k], x = trace, trace.output
        return x

    def backward(
        self, dh: Array, need_dx: bool, dmemory: dict[str, Array], dweights: Array | None
    ) -> tuple[Array | None, list[States]]:
        """Overwrite the gradients; return those of x and of the states that the layers began with.

        dmemory : gets the gradients of the memory, by name. dweights : of attention's weights, see there.
        """
        dx: Array | None = dh
        dstates: list[States] = []
        for k in reversed(range(len(self.cells))):
            trace, p, g = self.traces[k], self.params[k], self.grads[k]
            assert trace is not None
            if k == 0:
                p, g = {**p, **self._memory}, {**g, **dmemory}
                p |= {} if dweights is None else {"dweights": dweights}
            got = sequence.backward(self.cells[k], p, trace, dx, grads=g, need_dx=need_dx or k > 0)
            dx = got.x
            dstates.insert(0, got.initial)
            if dx is not None and self._masks[k] is not None:
                dx *= self._masks[k]
        return dx, dstates

    def _draw(self) -> Draw:
        self.passes += 1
        return Draw((self.seed, self.passes))

    def _between(self, x: Array, packing: Packing, layer: int, draw: Draw | None) -> Array:
        """Return what a layer reads: from the second on, after dropout."""
        mask = None
        if layer and draw and self.between:
            dropout = Dropout(self.between, draw.of_steps(0, layer))
            mask = held_mask(dropout, x, packing) if self.variational else dropout.forward(x)[1]
            x = x * mask
        self._masks.append(mask)
        return x


def held_mask(dropout: Dropout, x: Array, packing: Packing) -> Array | None:
    """Return a mask for the rows x (N, D), the same at every word of a caption; None at rate 0."""
    _, mask = dropout.forward(x[: packing.batch])
    return None if mask is None else packing.spread(mask)

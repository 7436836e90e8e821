"""A recurrent layer of any cell and a linear map of its output: what learns a toy task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from rnncore.array import Array
from rnncore.cells.base import Cell
from rnncore.layers import Linear
from rnncore.packing import Packing
from rnncore.params import Initialiser, Params, join
from rnncore.sequence import backward, forward
from rnncore.tasks.base import Batch, Task
from rnncore.trace import Trace, sizes_of


class Measured(NamedTuple):
    """Loss and error of a batch."""

    loss: float
    error: float


class Network:
    r"""One layer of a cell, and :math:`y = W h + b` after the last step or after every step.

    Parameters
    ----------
    hidden : H. seed : of the first values; layer and map draw from generators of their own.
    dtype : float32, or float64 for gradient checks. initialisers : of the layer, in place of the cell's own.

    Attributes
    ----------
    params, grads : "rnn.W", ..., "out.W", "out.b", in one flat buffer each, for one optimiser and one norm.
    trace : of the last batch.
    """

    def __init__(
        self,
        task: Task,
        cell: Cell,
        hidden: int,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        initialisers: Mapping[str, Initialiser] | None = None,
    ) -> None:
        self.task, self.cell, self.hidden = task, cell, hidden
        self.out = Linear(sizes_of(cell, hidden)[cell.state[0]], task.output_size)
        self.params = Params(join({"rnn": cell.shapes(task.input_size, hidden), "out": self.out.shapes()}), dtype)
        self.grads = self.params.like()
        for k, (part, starts) in enumerate(
            {"rnn": initialisers or cell.initialisers(), "out": self.out.initialisers()}.items()
        ):
            rng = np.random.default_rng([seed, k])
            for name, fill in starts.items():
                view = self.params[f"{part}.{name}"]
                view[...] = fill(rng, view.shape)
        self._p, self._g = ({part: flat.scope(part) for part in ("rnn", "out")} for flat in (self.params, self.grads))
        self.trace: Trace | None = None

    def loss_and_gradients(self, batch: Batch) -> float:
        """Return the mean loss of a batch, and write its gradients into `grads`."""
        h = self._run(batch)
        loss, dy = self.task.loss(self.out.forward(self._p["out"], h), self._targets(batch))
        dh = self.out.backward(self._p["out"], h, dy.astype(h.dtype), self._g["out"])
        assert self.trace is not None
        last = [dh, *[None] * (len(self.cell.state) - 1)] if batch.at_end else None
        rows = None if batch.at_end else dh
        backward(self.cell, self._p["rnn"], self.trace, rows, last, self._g["rnn"], need_dx=False)
        return loss

    def measure(self, batch: Batch) -> Measured:
        """Return loss and error of a batch."""
        y, targets = self.out.forward(self._p["out"], self._run(batch)), self._targets(batch)
        loss = self.task.loss(y, targets).loss
        if batch.counted is None or batch.at_end:
            return Measured(loss, self.task.error(y, targets))
        assert self.trace is not None
        counted = self.trace.packing.pack(batch.counted)
        return Measured(loss, self.task.error(y[counted], targets[counted]))

    def _run(self, batch: Batch) -> Array:
        """Return h after the last step, (B, H), or after every step, (N, H)."""
        steps, size = batch.x.shape[:2]
        packing = Packing.dense(steps, size) if batch.lengths is None else Packing(batch.lengths, steps)
        rows = packing.pack(batch.x).astype(self.params.flat.dtype, copy=False)
        self.trace = forward(self.cell, self._p["rnn"], rows, None, packing, self.trace)
        return self.trace.last[0] if batch.at_end else self.trace.output

    def _targets(self, batch: Batch) -> Array:
        assert self.trace is not None
        return batch.targets if batch.at_end else self.trace.packing.pack(batch.targets)


def parameters_of(task: Task, cell: Cell, hidden: int) -> int:
    """Return how many parameters a network has, without making it."""
    out = Linear(sizes_of(cell, hidden)[cell.state[0]], task.output_size)
    return Params(join({"rnn": cell.shapes(task.input_size, hidden), "out": out.shapes()})).size


def hidden_for(task: Task, cell: Cell, parameters: int) -> int:
    """Return the H with which a network comes closest to a number of parameters (Chung et al. 2014, section 4.2).

    Raises
    ------
    ValueError
        If even one unit has more than twice as many.
    """
    if parameters_of(task, cell, 1) > 2 * parameters:
        raise ValueError(f"{type(cell).__name__} with one unit has more than the {parameters} parameters asked for")
    high = 1
    while parameters_of(task, cell, high) < parameters:
        high *= 2
    low = high // 2 or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters_of(task, cell, middle) < parameters else (low, middle)
    return min((low, high), key=lambda hidden: abs(parameters_of(task, cell, hidden) - parameters))

"""Everything that happened in a pass over a batch of sequences.

A `Trace` is at once the cache of back-propagation, the workspace that the next pass uses again, and what a person
studies: `trace["forget"]` is the forget gate of every unit at every step.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncore.array import Array, Workspace
from rnncore.packing import Packing

if TYPE_CHECKING:
    from rnncore.cells.base import Cell


class Now(NamedTuple):
    """Views of one time step of a `Trace`, made once: what a cell reads and fills in place.

    With G gates, P pre-activations and b running sequences:

    a       (G·H, b)  on entry W x_t + b; the cell leaves the activated gates there
    gates   G views (H, b) of `a`, in the order of `Cell.gates`
    prev    the states before this step, (H, b) each, in the order of `Cell.state`: read only
    next    the states after it, (H, b) each: filled by `step`
    saved   (H, b) each, in the order of `Cell.saved`: filled by `step`, read by `step_backward`
    da      (P·H, b)  the gradients of the pre-activations: filled by `step_backward`
    dgates  P views (H, b) of `da`, in the order of `Cell.preactivations`
    scratch (G·H, b)  working memory, shared by all steps
    xp      numpy or cupy
    """

    a: Array
    gates: tuple[Array, ...]
    prev: tuple[Array, ...]
    next: tuple[Array, ...]
    saved: tuple[Array, ...]
    da: Array
    dgates: tuple[Array, ...]
    scratch: Array
    xp: ModuleType


class Trace:
    """The gates, states and saved values of a cell at every step, and their gradients once `backward` has run.

    Memory, with N packed rows, B sequences, G gates and P pre-activations: every slot of K rows lies as one slab
    (K, b_t) a step, slab after slab in one buffer; the states have one slab more, the initial one. Nothing is
    allocated in the loop over time, and a Trace that is passed back in keeps its buffers, growing them when needed.

    Attributes
    ----------
    cell, packing : what was run over which layout.
    hidden : H.
    x : (N, D) the input rows; of a batch without padding a view of the caller's array, needed until backward.
    now : a `Now` for every step: the views that the cell works on.
    state_rows : (B + N, H) the outputs as rows: the initial ones, then the packed ones.
    da : (P·H, N) after backward: the gradient of every pre-activation.
    """

    def __init__(self, cell: Cell, hidden: int, dtype: np.dtype[np.floating], xp: ModuleType = np) -> None:
        self.cell, self.hidden, self.dtype, self.xp = cell, hidden, np.dtype(dtype), xp
        self.x: Array = None
        self.padded = False
        self.packing: Packing = None  # type: ignore[assignment]
        self.now: list[Now] = []
        self._memory = Workspace(dtype, xp)
        self._has_gradients = False

    def fits(self, cell: Cell, hidden: int, dtype: np.dtype[np.floating], xp: ModuleType) -> bool:
        """Whether the buffers of this Trace can serve another pass of this kind."""
        return (self.cell, self.hidden, self.dtype, self.xp) == (cell, hidden, dtype, xp)

    def lay_out(self, packing: Packing) -> None:
        """Prepare the buffers and the views of every step for `packing`; what was kept there before is lost."""
        self._has_gradients = False
        if self.packing is not None and self.packing == packing:
            return
        self.packing = packing
        cell, H, sizes = self.cell, self.hidden, packing.batch_sizes
        G, P, B = len(cell.gates), len(cell.preactivations), packing.batch
        self._a = self._slabs("a", G * H, sizes)
        self._states = [self._slabs(f"state {name}", H, (B, *sizes)) for name in cell.state]
        self._saved = [self._slabs(f"saved {name}", H, sizes) for name in cell.saved]
        self.state_rows = self._memory.take("state rows", B + packing.rows, H)
        scratch, da = self._memory.take("scratch", G * H * B), self._memory.take("da", P * H * B)
        self.now = []
        for t, b in enumerate(sizes):
            da_t = da[: P * H * b].reshape(P * H, b)
            self.now.append(
                Now(
                    a=self._a[t],
                    gates=_split(self._a[t], G),
                    prev=tuple(slabs[t][:, :b] for slabs in self._states),
                    next=tuple(slabs[t + 1] for slabs in self._states),
                    saved=tuple(slabs[t] for slabs in self._saved),
                    da=da_t,
                    dgates=_split(da_t, P),
                    scratch=scratch[: G * H * b].reshape(G * H, b),
                    xp=self.xp,
                )
            )

    def _slabs(self, name: str, rows: int, sizes: tuple[int, ...]) -> list[Array]:
        buffer = self._memory.take(name, rows * sum(sizes))
        slabs, start = [], 0
        for b in sizes:
            slabs.append(buffer[rows * start : rows * (start + b)].reshape(rows, b))
            start += b
        return slabs

    @property
    def initial(self) -> tuple[Array, ...]:
        """The initial states, (H, B) each, columns sorted by falling length."""
        return tuple(slabs[0] for slabs in self._states)

    @property
    def previous_rows(self) -> Array:
        """(N, H): the output before each packed row; what U's gradient needs."""
        if self.packing.is_dense:
            return self.state_rows[: self.packing.rows]
        return self.state_rows[self.xp.asarray(self.packing.previous)]

    @property
    def output(self) -> Array:
        """The first state after every step: (T, B, H), or (N, H) if the input came packed.

        A view of this Trace's memory where nothing is padded: copy it to keep it over the next pass.
        """
        rows = self.state_rows[self.packing.batch :]
        return self.packing.unpack(rows) if self.padded else rows

    @property
    def last(self) -> tuple[Array, ...]:
        """Each state at its own sequence's end, (B, H) each, in the order of `Cell.state`; copies."""
        return tuple(self.packing.unsort(self._last(slabs)) for slabs in self._states)

    def _last(self, slabs: list[Array]) -> Array:
        """Columns that stop running at step t keep what stands in their last slab."""
        out = self.xp.empty((self.packing.batch, self.hidden), self.dtype)
        running = (*self.packing.batch_sizes, 0)
        for slab, still in zip(slabs, running, strict=True):
            out[still : slab.shape[1]] = slab[:, still:].T
        return out

    def rows(self, name: str) -> Array:
        """Return a gate, a state after each step, or a saved value as packed rows (N, H), a copy."""
        out = self.xp.empty((self.packing.rows, self.hidden), self.dtype)
        offsets = self.packing.offsets
        for t, slab in enumerate(self._steps_of(name)):
            out[offsets[t] : offsets[t + 1]] = slab.T
        return out

    def _steps_of(self, name: str) -> list[Array]:
        cell = self.cell
        if name in cell.gates:
            k = cell.gates.index(name)
            return [now.gates[k] for now in self.now]
        if name in cell.state:
            return self._states[cell.state.index(name)][1:]
        if name in cell.saved:
            return self._saved[cell.saved.index(name)]
        raise KeyError(f"no {name!r} in this trace; there are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """What `trace[name]` knows: gates, states, saved values."""
        return (*self.cell.gates, *self.cell.state, *self.cell.saved)

    def __getitem__(self, name: str) -> Array:
        """Return a gate, state or saved value at every step, (T, B, H), zeros in the padding; a copy."""
        return self.packing.unpack(self.rows(name))

    def gradient(self, name: str) -> Array:
        """Return the gradient of a pre-activation at every step after `backward`, (T, B, H), zeros in the padding.

        Raises
        ------
        RuntimeError
            If `backward` has not run since the last forward pass.
        KeyError
            If there is no such pre-activation.
        """
        if not self._has_gradients:
            raise RuntimeError("there are no gradients yet: run backward on this trace first")
        if name not in self.cell.preactivations:
            raise KeyError(f"no gradient of {name!r}; there are {', '.join(self.cell.preactivations)}")
        block = _split(self.da, len(self.cell.preactivations))[self.cell.preactivations.index(name)]
        return self.packing.unpack(block.T.copy())

    def gradient_buffer(self) -> Array:
        """Return `da` (P·H, N), about to be filled by the engine."""
        rows = len(self.cell.preactivations) * self.hidden
        self.da = self._memory.take("all da", rows, self.packing.rows)
        self._has_gradients = True
        return self.da


def _split(a: Array, blocks: int) -> tuple[Array, ...]:
    """Return equal row blocks of `a` as views."""
    size = a.shape[0] // blocks
    return tuple(a[k * size : (k + 1) * size] for k in range(blocks))

"""Which rows of a batch of sequences are real, and where they lie: no work is ever done on padding.

Sequences are sorted by falling length, so that at step t the first b_t of them are still running. Their rows lie
packed by time: all rows of step 0, then all rows of step 1, and so on, N = sum(lengths) rows in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from rnncore.array import Array, array_module, is_on_gpu


class Packing:
    """The layout of a batch of sequences without their padding.

    Parameters
    ----------
    lengths : (B,) integers >= 0, one a sequence, in the caller's order. A sequence of length 0 has no step: its
        last state is its initial state.
    steps : T of the padded arrays, the longest length when None.

    Attributes
    ----------
    order : (B,) the caller's index of each sorted sequence.
    batch_sizes : b_t, how many sequences run at step t; no step has 0.
    offsets : first packed row of each step; one more at the end, N.

    Examples
    --------
    >>> packing = Packing([1, 3])
    >>> packing.batch_sizes
    (2, 1, 1)
    >>> x = np.array([[10, 20], [0, 21], [0, 22]])     # (T, B), padded with 0
    >>> packing.pack(x)
    array([20, 10, 21, 22])
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray[Any, Any], steps: int | None = None) -> None:
        given = np.asarray(lengths)
        if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
            raise ValueError(f"lengths: expected (B,) integers with B >= 1, got {given.dtype} of shape {given.shape}")
        longest = int(given.max())
        self.steps = longest if steps is None else steps
        if int(given.min()) < 0 or longest > self.steps:
            raise ValueError(f"lengths: expected values from 0 to T={self.steps}, got {int(given.min())} to {longest}")
        self.lengths = given.astype(np.intp)
        self.order = np.argsort(-self.lengths, kind="stable")
        running = np.arange(longest)[:, None] < self.lengths[self.order][None, :]
        self.batch = len(given)
        self.batch_sizes = tuple(int(b) for b in running.sum(1))
        self.offsets = (0, *(int(n) for n in np.cumsum(self.batch_sizes)))
        self.rows = self.offsets[-1]
        self._time, self._sorted = np.nonzero(running)
        self._on_device: dict[str, Array] = {}

    @classmethod
    def dense(cls, steps: int, batch: int) -> Packing:
        """All sequences of the same length; the layouts used last are kept."""
        return _dense(steps, batch)

    @cached_property
    def is_dense(self) -> bool:
        """Whether there is no padding at all and the caller's order is kept: packed rows are a plain reshape."""
        return self.rows == self.steps * self.batch

    @cached_property
    def sequence_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) the caller's index of the sequence that each packed row belongs to."""
        return self.order[self._sorted]

    @cached_property
    def previous(self) -> np.ndarray[Any, Any]:
        """(N,) where the row before each one lies in a buffer of the B initial rows followed by the N packed rows."""
        starts = np.array([0, *(self.batch + o for o in self.offsets[:-1])])
        return starts[self._time] + self._sorted

    @property
    def size_of_step(self) -> np.ndarray[Any, Any]:
        """(T,) `batch_sizes` as an array."""
        return np.asarray(self.batch_sizes, np.int64)

    @property
    def offset_of_step(self) -> np.ndarray[Any, Any]:
        """(T,) the first packed row of every step."""
        return np.asarray(self.offsets[:-1], np.int64)

    @cached_property
    def slab_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) the first packed row of the step that each packed row belongs to."""
        return np.asarray(self.offsets)[self._time]

    @cached_property
    def width_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) how many sequences run at the step that each packed row belongs to."""
        return np.asarray(self.batch_sizes, np.intp)[self._time]

    @cached_property
    def padded_slab_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) as `slab_of_row`, where every step has B columns."""
        return self._time * self.batch

    @property
    def padded_width_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) B, as many columns as every step has there."""
        return np.full(self.rows, self.batch)

    @property
    def padded_row(self) -> np.ndarray[Any, Any]:
        """(N,) where each packed row stands among T·B rows, in sorted order at every step."""
        return self.padded_slab_of_row + self._sorted

    @property
    def last_step(self) -> np.ndarray[Any, Any]:
        """The last step of every sorted sequence that has one."""
        lengths = self.lengths[self.order]
        return lengths[lengths > 0] - 1

    @property
    def last_column(self) -> np.ndarray[Any, Any]:
        """Which of the sorted sequences `last_step` is of: the first ones."""
        return np.arange(int((self.lengths > 0).sum()))

    @property
    def column_of_row(self) -> np.ndarray[Any, Any]:
        """(N,) which of the running sequences each packed row belongs to, in sorted order."""
        return self._sorted

    @cached_property
    def last(self) -> np.ndarray[Any, Any]:
        """(B,) where each sorted sequence's last row lies in that same buffer."""
        lengths = self.lengths[self.order]
        starts = np.array([0, *(self.batch + o for o in self.offsets[:-1])])
        return starts[lengths] + np.arange(self.batch)

    def index(self, name: str, like: Array) -> Array:
        """Return an index of this layout, such as `previous`, on the device of `like`: copied to a GPU only once."""
        if not is_on_gpu(like):
            return getattr(self, name)
        if name not in self._on_device:
            self._on_device[name] = array_module(like).asarray(getattr(self, name))
        return self._on_device[name]

    def sort(self, x: Array) -> Array:
        """Bring (B, ...) from the caller's order into the sorted order."""
        return x if self._order_is_kept else x[self.index("order", x)]

    def unsort(self, x: Array) -> Array:
        """Bring (B, ...) from the sorted order back into the caller's."""
        if self._order_is_kept:
            return x
        out = array_module(x).empty_like(x)
        out[self.index("order", x)] = x
        return out

    @cached_property
    def _order_is_kept(self) -> bool:
        return bool((self.order == np.arange(self.batch)).all())

    def pack(self, x: Array) -> Array:
        """Return the real rows of the padded `x` (T, B, ...) as (N, ...); a view where nothing is padded."""
        if tuple(x.shape[:2]) != (self.steps, self.batch):
            raise ValueError(f"expected (T={self.steps}, B={self.batch}, ...), got {tuple(x.shape)}")
        if self.is_dense:
            return x.reshape(self.rows, *x.shape[2:])
        return x[self.index("_time", x), self.index("sequence_of_row", x)]

    def unpack(self, rows: Array) -> Array:
        """Return (N, ...) as padded (T, B, ...), zeros in the padding; a view where nothing is padded."""
        if len(rows) != self.rows:
            raise ValueError(f"expected N={self.rows} packed rows, got {len(rows)}")
        if self.is_dense:
            return rows.reshape(self.steps, self.batch, *rows.shape[1:])
        xp = array_module(rows)
        out = xp.zeros((self.steps, self.batch, *rows.shape[1:]), rows.dtype)
        out[self.index("_time", rows), self.index("sequence_of_row", rows)] = rows
        return out

    def spread(self, x: Array, out: Array | None = None) -> Array:
        """Return one row of `x` (B, ...) for every packed row: its sequence's, (N, ...)."""
        xp = array_module(x)
        if xp is np:  # without a mode NumPy would fill a copy of `out` first; the rows are in range
            return np.take(x, self.sequence_of_row, axis=0, out=out, mode="clip")
        return xp.take(x, self.index("sequence_of_row", x), axis=0, out=out)

    def sum_over_time(self, rows: Array) -> Array:
        """Return the sum of each sequence's packed rows, (B, ...): the gradient of `spread`."""
        xp = array_module(rows)
        out = xp.zeros((self.batch, *rows.shape[1:]), rows.dtype)
        for t, b in enumerate(self.batch_sizes):
            out[:b] += rows[self.offsets[t] : self.offsets[t + 1]]
        return self.unsort(out)

    def gather(self, padded: Array, first: int = 0) -> Array:
        """Return packed rows of `padded` (B, T', ...), batch first, reading from step `first` on."""
        return padded[self.index("sequence_of_row", padded), self.index("_time", padded) + first]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packing) and self.steps == other.steps and np.array_equal(self.lengths, other.lengths)

    __hash__ = None  # type: ignore[assignment]


@lru_cache(maxsize=64)
def _dense(steps: int, batch: int) -> Packing:
    return Packing(np.full(batch, steps), steps)

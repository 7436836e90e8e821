"""What a cell and the engine see of a `Trace`'s memory: one step, or a run of steps, as views of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncore.array import Array

if TYPE_CHECKING:
    from rnncore.cells.base import Cell

IntArray = np.ndarray[Any, np.dtype[np.int64]]

#: Numbers of a pre-activation in a run of steps: it, its gradient and the scratch stay in the second cache together.
RUN = 1 << 15

#: Up to so many sequences a step that comes alone is for just as many as it is laid out for, their numbers on end.
FEW = 16


class Now(NamedTuple):
    """Views of one time step of a `Trace`, made once: what a cell reads and fills in place.

    With G gates, P pre-activations and b running sequences (a few columns more for a `columnwise` cell: see
    `rnncore.cells.base.Cell`); H rows each unless the cell's `sizes` says otherwise:

    a       (G·H, b)  on entry W x_t + b; the cell leaves the activated gates there
    gates   G views (H, b) of `a`, in the order of `Cell.gates`
    prev    the states before this step, (H, b) each, in the order of `Cell.state`: read only
    next    the states after it, (H, b) each: filled by `step`
    saved   (H, b) each, in the order of `Cell.saved`: filled by `step`, read by `step_backward`
    da      (P·H, b)  the gradients of the pre-activations: filled by `step_backward`
    dgates  P views (H, b) of `da`, in the order of `Cell.preactivations`
    scratch (G·H, b)  working memory, shared by all steps
    xp      numpy or cupy
    recalled          h before this step as recurrent products see it: `prev[0]`, times `mask` where there is one
    mask    (H, b)    of recurrent dropout, only for a cell with `carries`; else None
    reaching          where `reached` writes to; empty where the gradients of states are not asked for
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
    recalled: Array
    mask: Array | None = None
    reaching: tuple[Array | None, ...] = ()

    def masked(self, d: Array) -> Array:
        """Turn the gradient of `recalled` in place into that of h before this step."""
        if self.mask is not None:
            d *= self.mask
        return d

    def reached(self, k: int, d: Array) -> None:
        """Tell that `d` is the whole gradient of state k, when the step computes another state from it, as h from c.

        `Trace.gradient` shows it. Without this call it would show what arrives from the next step alone.
        """
        kept = self.reaching[k] if self.reaching else None
        if kept is not None:
            kept[...] = d


class Run(NamedTuple):
    """Steps on end with equally many sequences, few enough to stay in the cache: what is no recurrence is done at once.

    For k steps of b sequences in w columns:

    steps   which they are
    rows    where their k·b packed rows lie
    batch   b
    a       (k, G·H, w)  `now.a` of all of them
    output  (k, H, w)  `now.next[0]` of all of them
    da      (k, P·H, w)  `now.da` of all of them
    """

    steps: range
    rows: slice
    batch: int
    a: Array
    output: Array
    da: Array


class Slabs(Sequence[Array]):
    """Slabs (rows, w) that lie in one buffer, each behind the one before, or taking turns; views made when asked for.

    columns : (T,) w_t.
    """

    def __init__(self, buffer: Array, rows: int, starts: IntArray, columns: IntArray) -> None:
        self.columns, self._buffer, self._rows = columns, buffer, rows
        self._starts = starts  # how many columns of the buffer are before each

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, t: Any) -> Any:
        if isinstance(t, slice):
            return Slabs(self._buffer, self._rows, self._starts[t], self.columns[t])
        rows, start, b = self._rows, int(self._starts[t]), int(self.columns[t])
        return self._buffer[rows * start : rows * (start + b)].reshape(rows, b)

    @property
    def addresses(self) -> IntArray:
        """(T,) where each one begins, as NumPy gives it."""
        found: IntArray = address(self._buffer) + self._rows * self._buffer.itemsize * self._starts
        return found


def address(a: Array) -> int:
    """Return where the numbers of a NumPy array begin."""
    begin: int = a.__array_interface__["data"][0]
    return begin


def has_loop(cell: Cell, xp: ModuleType) -> bool:
    """Whether a cell has a loop over time of its own for the arrays of `xp`; see `rnncore.steps`."""
    return hasattr(cell, "forward_loop") and not (xp is np and hasattr(cell, "steps_forward"))


def by_step(rows: Array, run: Run) -> Array:
    """Return the packed rows (N, ...) of a run step by step, (k, b, ...), a view."""
    here = rows[run.rows]
    view: Array = here.reshape(len(run.steps), run.batch, *here.shape[1:])
    return view


def runs_of(batch_sizes: tuple[int, ...], most: int) -> list[range]:
    """Return the steps in runs of equal batch size; a run has at most `most` pre-activations, and at least one step.

    >>> runs_of((4, 4, 4, 2, 2), most=8)
    [range(0, 2), range(2, 3), range(3, 5)]
    """
    runs, first = [], 0
    for b, group in groupby(batch_sizes):
        stop = first + len(list(group))
        length = max(1, most // b)
        runs += [range(t, min(t + length, stop)) for t in range(first, stop, length)]
        first = stop
    return runs


def fast_width(columns: int) -> int:
    """Return the number of columns, `columns` or a few more, at which a product with as many is fastest.

    OpenBLAS computes blocks of columns and falls back to slower code for what is left over: (1024, 256) by 15 columns
    takes twice as long as by 16 (AVX-512).
    """
    if columns < 3:
        return columns
    return 4 if columns < 5 else -(-columns // 8) * 8


def split(a: Array, sizes: list[int]) -> tuple[Array, ...]:
    """Return row blocks of `a` as views."""
    ends = list(accumulate(sizes))
    return tuple(a[end - size : end] for size, end in zip(sizes, ends, strict=True))


def sizes_of(cell: Cell, hidden: int) -> dict[str, int]:
    """Return the rows of every gate, pre-activation, state and saved value by name.

    That is H, but for the names in what `cell.sizes(H)` returns, where a cell has such a method.

    Examples
    --------
    >>> from rnncore.cells import GRU
    >>> sizes_of(GRU(), 5)
    {'reset': 5, 'update': 5, 'candidate': 5, 'recall': 5, 'h': 5}
    """
    names = (*cell.gates, *cell.preactivations, *cell.state, *cell.saved)
    own = getattr(cell, "sizes", None)
    return dict.fromkeys(names, hidden) | (own(hidden) if own else {})

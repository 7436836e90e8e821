"""The memory of a `Trace`: named buffers that the next pass uses again, cut into what steps and products work on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from rnncore.array import Array, Workspace
from rnncore.packing import Packing
from rnncore.views import Slabs


class Memory:
    """Buffers laid out for `packing`, with slabs of w_t columns a step.

    kept : whether every step has a slab of its own; else two take turns.
    prepared : what steps have made for this layout (see `prepare`), forgotten with it.
    """

    def __init__(self, dtype: np.dtype[np.floating], xp: ModuleType = np) -> None:
        self.dtype, self.xp = np.dtype(dtype), xp
        self.packing: Packing = None  # type: ignore[assignment]
        self.kept = True
        self.widths: tuple[int, ...] = ()
        self.initial_width = 0
        self.prepared: dict[Hashable, tuple[dict[str, Array], Any]] = {}
        self._memory = Workspace(dtype, xp)
        self._prepared_at = 0
        self._heights = (0, 0)

    def prepare(self, key: Hashable, p: Mapping[str, Array], make: Callable[[], Any]) -> Any:
        """Return what was made under a key for this layout and these very parameters, or make it.

        It may know where buffers and parameters lie: everything is forgotten when a buffer has to grow, and parameters
        must be the same array objects, whose strides nobody sets. Their arrays are held until others take their place.
        """
        if self._memory.moved != self._prepared_at:
            self.prepared.clear()
            self._prepared_at = self._memory.moved
        before, made = self.prepared.get(key, ({}, None))
        if made is None or len(p) != len(before) or any(before.get(name) is not a for name, a in p.items()):
            made = make()
            self.prepared[key] = dict(p), made
        return made

    def take(self, name: str, *shape: int) -> Array:
        """Return the buffer `name` in a shape: the same memory at every call, until it must grow."""
        return self._memory.take(name, *shape)

    def slabs(self, name: str, rows: int, columns: tuple[int, ...] | None = None) -> Slabs:
        """Return the buffer `name` as slabs (rows, w), one for each of `columns`, w_t of every step when None."""
        widths = np.array(self.widths if columns is None else columns, np.int64)
        most, total = (int(widths.max()), int(widths.sum())) if len(widths) else (0, 0)
        starts = widths.cumsum() - widths if self.kept else most * (np.arange(len(widths)) % 2)
        return Slabs(self.take(name, rows * (total if self.kept else 2 * most)), rows, starts, widths)

    def on_end(self, name: str, rows: int, before: int, k: int, w: int) -> Array:
        """Return k slabs of the buffer `name`, after `before` columns of it, as one view (k, rows, w)."""
        return self.take(name, rows * (before + k * w))[rows * before :].reshape(k, rows, w)

    def gradients_by_columns(self) -> Array:
        """Return memory for `da` (P·H, N)."""
        return self._by_columns(self._heights[1], self.packing.rows)[:, : self.packing.rows]

    def product_buffer(self, columns: int) -> Array:
        """Return memory (G·H, columns) for products of W: that of `da`, which forward has no use for.

        On the host there may be a few columns more, of nobody.
        """
        if self.kept:  # all of it at once: backward shall not have to ask for more
            self._by_columns(self._heights[1], self.packing.rows)
        return self._by_columns(self._heights[0], columns)

    def gradient_of_step(self, t: int) -> Array:
        """Return the columns of `da` for step t, with those of nobody that a step of w_t columns has, a view."""
        first = self.packing.offsets[t]
        return self._by_columns(self._heights[1], self.packing.rows)[:, first : first + self.widths[t]]

    def _by_columns(self, rows: int, columns: int) -> Array:
        """Return the memory of `da` and of products as (rows, columns and some more).

        Of one sequence alone, a column's numbers lie side by side, as in a slab of one column. Of several, rows lie so
        far apart that a step's columns do not all fall into a few sets of the processor's cache.
        """
        if self.xp is not np:
            return self.take("all da", rows, columns)
        if self.packing.batch == 1:
            return self.take("all da", columns, rows).T
        apart = -(-(columns + 8) // 16) * 16
        apart += 16 if apart % 512 == 0 else 0
        return self.take("all da", rows, apart)[:, : columns + 8]

"""What a captioner takes: prepared pictures, and captions to train on."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from rnncore.array import Array, array_module
from rnncore.packing import Packing


@dataclass(frozen=True)
class Pictures:
    """n pictures as `Captioner.prepare` leaves them.

    vectors (n, F); grids (n, L, C), one row of numbers a place, where the model looks at them.
    """

    vectors: Array
    grids: Array | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def xp(self) -> ModuleType:
        """numpy or cupy."""
        return array_module(self.vectors)

    def __getitem__(self, rows: slice | Array) -> Pictures:
        """Return some of the pictures, which may repeat."""
        return Pictures(self.vectors[rows], None if self.grids is None else self.grids[rows])


@dataclass(frozen=True)
class Batch:
    """Captions as the model trains on them, N = sum of their lengths without the last word.

    pictures : n of them; owner (B,) which of them each caption is of; inputs and targets (N,) word numbers, packed:
    the word at each step, and the one after it.
    """

    pictures: Pictures
    owner: Array
    inputs: Array
    targets: Array
    packing: Packing

    @property
    def vectors(self) -> Array:
        """The pictures' vectors, one row a caption, (B, F)."""
        return self.pictures.vectors[self.owner]

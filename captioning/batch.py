"""What a captioner takes: prepared pictures, captions to train on, and where the decoding of some captions stands."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from captioning.network import States, Steps
from rnncore.array import Array, array_module
from rnncore.packing import Packing

# Among so many captions nothing is looked for that some have in common: it may take longer than it saves.
_FEW = 32


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


class State(NamedTuple):
    """Where the decoding of B captions stands.

    picture (B, K) what `Entry.project` made of each one's picture, or what the head's first layer makes of that.
    cells : every layer's states, (R, H) each; row (B,) which of their rows are each one's, where captions that begin
    alike have one; None for its own.
    owner (B,) which picture each is of; steps: the network, with what it looks at.
    """

    picture: Array
    cells: tuple[States, ...]
    row: Array | None
    owner: Array
    steps: Steps

    def select(self, rows: Array) -> State:
        """Return the state of the captions `rows`, which may repeat: beam search goes on from these."""
        row = rows if self.row is None else self.row[rows]
        return State(self.picture[rows], self.cells, row, self.owner[rows], self.steps)

    def different(self, words: Array) -> tuple[Array, Array | None, Array | None]:
        """Return of captions that begin alike and read the same word of `words` (B,) but one.

        Its word, (R,); its row of `cells`, None for its own; and for each caption which of them it is, (B,), None where
        every caption goes its own way, as few do anyway.
        """
        row, (R, _) = self.row, self.cells[0][0].shape
        if row is None or len(words) <= _FEW:
            return words, row, None
        _, first, own = np.unique(row * (int(words.max()) + 1) + words, return_index=True, return_inverse=True)
        each = row[first]
        return words[first], None if np.array_equal(each, np.arange(R)) else each, own

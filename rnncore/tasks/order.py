"""The temporal order problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore.tasks.base import LN2, Baseline, Batch, Task, at_least, one_hot

#: Where the marked symbols may stand, as shares of the length: experiments 6a and 6b.
WINDOWS = {2: ((0.10, 0.20), (0.50, 0.60)), 3: ((0.10, 0.20), (0.33, 0.43), (0.66, 0.76))}
DISTRACTORS = 4
X, START, END = DISTRACTORS, DISTRACTORS + 2, DISTRACTORS + 3


@dataclass(frozen=True)
class TemporalOrder(Task):
    r"""Say which symbols came, X or Y, in their order, among distractors.

    A sequence begins with E, ends with B, and has one X or Y in each of two (or three) windows; all else is drawn
    evenly from a, b, c and d. The class after the last step is one of XX, XY, YX and YY. The symbols stand where they
    stand in the source, in proportion: with T = 100, at 10 to 20 and 50 to 60. Without memory

    .. math:: L = m \ln 2 \text{ nats}, \qquad \text{error } 1 - 2^{-m} \text{ with } m \text{ marks.}

    length : T; the source draws it from 100 to 110. marks : m, 2 or 3.

    Source: S. Hochreiter & J. Schmidhuber, Neural Computation 9 (1997), section 5.6, experiments 6a and 6b.
    """

    length: int = 50
    marks: int = 2

    name = "order"
    source = "Hochreiter & Schmidhuber 1997, section 5.6"

    def __post_init__(self) -> None:
        if self.marks not in WINDOWS:
            raise ValueError(f"order: marks must be 2 or 3, got {self.marks}")
        at_least(self.name, "length", self.length, 10, "every window needs a step of its own")

    @property
    def input_size(self) -> int:
        """D: a, b, c, d, X, Y, E and B."""
        return DISTRACTORS + 4

    @property
    def output_size(self) -> int:
        """K: the orders there are."""
        return 1 << self.marks

    @property
    def windows(self) -> list[tuple[int, int]]:
        """The first step of each window, and the one after its last."""
        ends = [(int(a * self.length + 1e-9), int(b * self.length + 1e-9)) for a, b in WINDOWS[self.marks]]
        return [(max(1, first), max(first + 1, last)) for first, last in ends]

    def baseline(self) -> Baseline:
        """Return what even odds for every order cost."""
        return Baseline(self.marks * LN2, 1 - 0.5**self.marks, "every order alike")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return one-hot symbols (T, B, 8) and the orders (B,), the first mark the highest digit."""
        shown = rng.integers(0, DISTRACTORS, (self.length, size))
        shown[0], shown[-1] = START, END
        which, columns = rng.integers(0, 2, (self.marks, size)), np.arange(size)
        for k, (first, last) in enumerate(self.windows):
            shown[rng.integers(first, last, size), columns] = X + which[k]
        return Batch(one_hot(shown, self.input_size), 2 ** np.arange(self.marks)[::-1] @ which)

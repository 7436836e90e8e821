"""The embedded Reber grammar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore.tasks.base import LN2, Baseline, Batch, Task, one_hot

SYMBOLS = "BTSXVPE"
#: From each state of the inner grammar the two ways on, alike in probability: symbol and next state. From the states
#: that have one way, both are the same.
WAYS = (
    (("B", 1), ("B", 1)),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7), ("E", 7)),
)
DONE = 7
_SYMBOL = np.array([[SYMBOLS.index(symbol) for symbol, _ in ways] for ways in WAYS] + [[0, 0]])
_NEXT = np.array([[state for _, state in ways] for ways in WAYS] + [[DONE, DONE]])


@dataclass(frozen=True)
class Reber(Task):
    r"""Predict the next symbol of an embedded Reber string.

    Such a string is B, then T or P, then a string of the inner grammar, B ... E, then the same T or P again, then E.
    The last but one symbol can only be known by who has kept the second over the whole inner string; the error counts
    it alone. The inner string has 8 symbols on average, of which 6 are even choices between two, so that the 11
    symbols to predict hold 7 ln 2 nats, and one more for who has not kept the second symbol:

    .. math:: L_{\min} = \tfrac{7}{11} \ln 2 = 0.441, \qquad L = \tfrac{8}{11} \ln 2 = 0.504 \text{ nats a symbol},
              \qquad \text{error } \tfrac12.

    Source: S. Hochreiter & J. Schmidhuber, Neural Computation 9 (1997), section 5.1; A. Cleeremans, D.
    Servan-Schreiber & J. McClelland, Finite state automata and simple recurrent networks, Neural Computation 1 (1989).
    """

    name = "reber"
    measure = "share of strings whose last but one symbol is wrong"
    source = "Hochreiter & Schmidhuber 1997, section 5.1; Cleeremans et al. 1989"

    @property
    def input_size(self) -> int:
        """D: the seven symbols."""
        return len(SYMBOLS)

    @property
    def output_size(self) -> int:
        """K: the seven symbols."""
        return len(SYMBOLS)

    def baseline(self) -> Baseline:
        """Return what the grammar without the memory of the second symbol reaches, and the least loss."""
        return Baseline(8 / 11 * LN2, 0.5, "the grammar, T and P alike at the end", floor=7 / 11 * LN2)

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return one-hot symbols (T, B, 7) but the last of each string, and those that follow them (T, B)."""
        ids, lengths = strings(rng, size)
        columns, counted = np.arange(size), np.zeros((len(ids) - 1, size), bool)
        counted[lengths - 3, columns] = True
        return Batch(one_hot(ids[:-1], len(SYMBOLS)), ids[1:], lengths - 1, at_end=False, counted=counted)


def strings(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embedded Reber strings as numbers of `SYMBOLS` (T, B), zeros in the padding, and their lengths (B,)."""
    which = np.array([SYMBOLS.index("T"), SYMBOLS.index("P")])[rng.integers(0, 2, size)]
    state, rows = np.zeros(size, np.intp), [np.full(size, SYMBOLS.index("B")), which]
    inner = np.zeros(size, np.intp)
    while (running := state != DONE).any():
        way = rng.integers(0, 2, size)
        rows.append(_SYMBOL[state, way])
        state = _NEXT[state, way]
        inner += running
    ids = np.zeros((len(rows) + 2, size), np.intp)
    ids[: len(rows)] = rows
    columns = np.arange(size)
    ids[inner + 2, columns], ids[inner + 3, columns] = which, SYMBOLS.index("E")
    return ids, inner + 4

"""The copy memory problem."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rnncore.tasks.base import Baseline, Batch, Task, at_least, one_hot


@dataclass(frozen=True)
class CopyMemory(Task):
    r"""Keep S symbols over a delay, then say them in order.

    A sequence of T + 2S steps shows S symbols drawn evenly from K, T - 1 blanks, a delimiter and S blanks. What is
    wanted is a blank at each of the first T + S steps, and then the S symbols. Without memory one says blank, and then
    every symbol with the same probability:

    .. math:: L = \frac{S \ln K}{T + 2S} \text{ nats a step}, \qquad \text{error } 1 - \tfrac1K \text{ of the symbols.}

    delay : T. symbols : S. kinds : K. The error counts the last S steps alone.

    Source: M. Arjovsky, A. Shah & Y. Bengio, Unitary evolution recurrent neural networks, ICML 2016, section 4.1,
    which has S = 10, K = 8; after S. Hochreiter & J. Schmidhuber, Neural Computation 9 (1997).
    """

    delay: int = 20
    symbols: int = 10
    kinds: int = 8

    name = "copy"
    measure = "share of the symbols that are wrong"
    source = "Arjovsky, Shah & Bengio 2016, section 4.1"

    def __post_init__(self) -> None:
        at_least(self.name, "delay", self.delay, 1, "the delimiter takes a step of it")
        at_least(self.name, "symbols", self.symbols, 1, "there is something to keep")
        at_least(self.name, "kinds", self.kinds, 2, "of one kind there is nothing to remember")

    @property
    def length(self) -> int:
        """T + 2S, all steps."""
        return self.delay + 2 * self.symbols

    @property
    def input_size(self) -> int:
        """D: the symbols, the blank and the delimiter."""
        return self.kinds + 2

    @property
    def output_size(self) -> int:
        """K + 1: the symbols and the blank."""
        return self.kinds + 1

    def baseline(self) -> Baseline:
        """Return what blanks, and then even odds, cost."""
        loss = self.symbols * math.log(self.kinds) / self.length
        return Baseline(loss, 1 - 1 / self.kinds, "blanks, then every symbol alike")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return one-hot symbols (T + 2S, B, K + 2) and what is wanted at every step."""
        S, blank, delimiter = self.symbols, self.kinds, self.kinds + 1
        kept = rng.integers(0, self.kinds, (S, size))
        shown = np.full((self.length, size), blank)
        wanted, counted = shown.copy(), np.zeros((self.length, size), bool)
        shown[:S] = kept
        shown[-S - 1] = delimiter
        wanted[-S:] = kept
        counted[-S:] = True
        return Batch(one_hot(shown, self.input_size), wanted, at_end=False, counted=counted)

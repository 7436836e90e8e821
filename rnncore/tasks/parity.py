"""The parity problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore.tasks.base import LN2, Baseline, Batch, Task, at_least


@dataclass(frozen=True)
class Parity(Task):
    r"""Say whether the number of ones so far is odd.

    Each step shows a bit, as 1 or -1. The class is the parity of all bits up to there; the error counts the last step,
    at which it depends on all T bits. Without memory :math:`L = \ln 2` nats a step, and half of the answers are wrong.

    length : T. every_step : whether the parity is asked for at every step, or at the last alone, which is far harder to
        learn: no shorter stretch of a sequence says anything about the answer.

    Source: S. Hochreiter & J. Schmidhuber, LSTM can solve hard long time lag problems, NIPS 9 (1997), for bits as 1 and
    -1 and the answer at the end.
    """

    length: int = 32
    every_step: bool = True

    name = "parity"
    measure = "share of wrong parities of whole sequences"
    source = "Hochreiter & Schmidhuber, NIPS 1997"

    def __post_init__(self) -> None:
        at_least(self.name, "length", self.length, 1, "there is a bit to look at")

    @property
    def input_size(self) -> int:
        """D: the bit."""
        return 1

    @property
    def output_size(self) -> int:
        """K: even and odd."""
        return 2

    def baseline(self) -> Baseline:
        """Return what even odds cost."""
        return Baseline(LN2, 0.5, "even and odd alike")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return bits (T, B, 1), and the parity after every step (T, B) or after the last (B,)."""
        bits = rng.integers(0, 2, (self.length, size))
        x = (2 * bits - 1).astype(np.float32)[..., None]
        odd = bits.cumsum(0) % 2
        if not self.every_step:
            return Batch(x, odd[-1])
        counted = np.zeros((self.length, size), bool)
        counted[-1] = True
        return Batch(x, odd, at_end=False, counted=counted)

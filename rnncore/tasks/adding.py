"""The adding problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore.array import Array
from rnncore.losses import Loss
from rnncore.tasks.base import Baseline, Batch, Task, at_least


@dataclass(frozen=True)
class Adding(Task):
    r"""Add the two marked numbers of a sequence.

    Each step shows a number :math:`u_t` drawn evenly from [0, 1] and a mark, 1 at one step of each half and else 0.
    The target after the last step is the sum of the two marked numbers. Always to say 1, its mean, costs

    .. math:: \operatorname{Var}(u_{t_1} + u_{t_2}) = 2 \cdot \tfrac{1}{12} = \tfrac16.

    length : T.

    Source: S. Hochreiter & J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997), section 5.4; numbers
    from [0, 1] and the squared error at the end as by Q. Le, N. Jaitly & G. Hinton, arXiv 1504.00941 (2015), 4.1.
    """

    length: int = 50

    name = "adding"
    measure = "mean squared error"
    solved = 0.005
    source = "Hochreiter & Schmidhuber 1997, section 5.4; Le, Jaitly & Hinton 2015, section 4.1"

    def __post_init__(self) -> None:
        at_least(self.name, "length", self.length, 2, "there are two numbers to add")

    @property
    def input_size(self) -> int:
        """D: the number and the mark."""
        return 2

    @property
    def output_size(self) -> int:
        """K: the sum."""
        return 1

    def baseline(self) -> Baseline:
        """Return 1/6, which is always to say 1."""
        return Baseline(1 / 6, 1 / 6, "always 1")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return numbers and marks (T, B, 2), and the sums (B, 1)."""
        x = np.zeros((self.length, size, 2), np.float32)
        x[..., 0] = rng.random((self.length, size), np.float32)
        half, columns = self.length // 2, np.arange(size)
        for first, last in ((0, half), (half, self.length)):
            x[rng.integers(first, last, size), columns, 1] = 1
        return Batch(x, (x[..., 0] * x[..., 1]).sum(0)[:, None])

    def loss(self, y: Array, targets: Array) -> Loss:
        r"""Return the mean of :math:`(y - z)^2` and its gradient."""
        wrong = y - targets
        return Loss(float((wrong * wrong).mean()), 2 * wrong / wrong.size)

    def error(self, y: Array, targets: Array) -> float:
        """Return the mean squared error."""
        return float(((y - targets) ** 2).mean())

"""Averages of the weights over training, which are validated and kept in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from captioning.config import Training
from rnncore.array import Array, is_on_gpu
from rnncore.params import Params

# Numbers handled at a time, so that the passes over them stay in the processor's L2 cache; on a GPU it is all at once.
_BLOCK = 1 << 16


class Averaging:
    r"""An exponential moving average by the step, a mean over ends of epochs, or none: the weights themselves.

    .. math:: \text{ema: } \bar\theta \leftarrow \bar\theta + (1 - d_n) (\theta - \bar\theta), \quad
              d_n = \min(d, \tfrac{1 + n}{10 + n}) \qquad
              \text{swa: } \bar\theta \leftarrow \bar\theta + (\theta - \bar\theta) / n

    n counts the terms; before `averaging_from` the average is the weights.

    Source: P. Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018, for swa.
    """

    def __init__(self, settings: Training, params: Params) -> None:
        self.kind, self.decay, self.since = settings.averaging, settings.averaging_decay, settings.averaging_from
        self.params, self.terms = params, 0
        self.mean: Params = params if self.kind == "none" else params.copy()

    def after_step(self, epoch: int) -> None:
        """Take the weights after a step of the optimiser into the moving average."""
        if self.kind != "ema":
            return
        self.terms += epoch >= self.since
        self._add(1 - min(self.decay, (1 + self.terms) / (10 + self.terms)) if epoch >= self.since else 1.0)

    def after_epoch(self, epoch: int) -> None:
        """Take the weights at the end of an epoch into the mean."""
        if self.kind != "swa":
            return
        self.terms += epoch >= self.since
        self._add(1 / max(self.terms, 1))

    def _add(self, share: float) -> None:
        if share == 1:
            self.mean.flat[...] = self.params.flat
            return
        block = self.params.size if is_on_gpu(self.params.flat) else _BLOCK
        for first in range(0, self.params.size, block):
            mean, now = (home.flat[first : first + block] for home in (self.mean, self.params))
            mean += share * (now - mean)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average as its weights for a while."""
        if self.mean is self.params:
            yield
            return
        kept = self.params.flat.copy()
        self.params.flat[...] = self.mean.flat
        try:
            yield
        finally:
            self.params.flat[...] = kept

    def tensors(self) -> Mapping[str, Array]:
        """Return what must be kept beside the weights to go on."""
        return {} if self.mean is self.params else dict(self.mean)

    def load(self, terms: int, tensors: Mapping[str, Any]) -> None:
        """Go on from what `terms` and `tensors` were."""
        self.terms = terms
        if self.mean is not self.params:
            self.mean.assign(tensors)

"""Schedules: how the learning rate changes over a run.

All are used alike, whatever is counted (steps or epochs):

>>> schedule = Cosine(total=100, warmup=10)
>>> schedule.rate(1e-3, 5)  # the base rate and how many are done
0.0005

`observe` tells a schedule the validation loss (only `Plateau` listens); `state_dict` and `load_state_dict`
carry what it remembers through a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


class Schedule:
    """The constant schedule's behaviour, and what every other one overrides."""

    def rate(self, base: float, done: int) -> float:
        """Return the learning rate for the next step (or epoch) after `done` of them."""
        return base

    def observe(self, loss: float) -> None:
        """Take note of a validation loss."""

    def state_dict(self) -> dict[str, float]:
        """Return what must be kept for an exact resume: numbers by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up a state from `state_dict`."""
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"{type(self).__name__} keeps {sorted(self.state_dict())}, the saved state has "
                f"{sorted(state)}; resume with the schedule the run began with"
            )


@dataclass
class Constant(Schedule):
    """The base rate throughout."""


@dataclass
class Step(Schedule):
    """Multiplied by `factor` after every `every`."""

    every: int
    factor: float

    def __post_init__(self) -> None:
        _check(self.every >= 1, "every", "at least 1", self.every)
        _check(0 < self.factor <= 1, "factor", "in (0, 1]", self.factor)

    def rate(self, base: float, done: int) -> float:
        return base * self.factor ** (done // self.every)


@dataclass
class Cosine(Schedule):
    r"""Linear from 0 over `warmup`, then half a cosine down to `floor` times the base at `total` and after.

    :math:`\eta = \eta_0 (f + (1 - f) \tfrac12 (1 + \cos \pi \frac{t - w}{T - w}))`
    (Loshchilov & Hutter 2017, eq. 5, one period).
    """

    total: int
    warmup: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check(0 <= self.warmup < self.total, "warmup", f"in [0, total={self.total})", self.warmup)
        _check(0 <= self.floor <= 1, "floor", "in [0, 1]", self.floor)

    def rate(self, base: float, done: int) -> float:
        if done < self.warmup:
            return base * done / self.warmup
        part = min(1.0, (done - self.warmup) / (self.total - self.warmup))
        return base * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * part)))


@dataclass
class Plateau(Schedule):
    """Multiplied by `factor` each time `patience` observed losses in a row have not been below the best."""

    factor: float
    patience: int
    _best: float = field(default=math.inf, init=False)
    _bad: int = field(default=0, init=False)
    _cuts: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        _check(0 < self.factor < 1, "factor", "in (0, 1)", self.factor)
        _check(self.patience >= 1, "patience", "at least 1", self.patience)

    def rate(self, base: float, done: int) -> float:
        return base * self.factor**self._cuts

    def observe(self, loss: float) -> None:
        """Take note of a validation loss; NaN counts as not better."""
        if loss < self._best:
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad >= self.patience:
            self._cuts, self._bad = self._cuts + 1, 0

    def state_dict(self) -> dict[str, float]:
        return {"best": self._best, "bad": self._bad, "cuts": self._cuts}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        super().load_state_dict(state)
        self._best, self._bad, self._cuts = state["best"], int(state["bad"]), int(state["cuts"])


def _check(fits: bool, name: str, expected: str, got: float) -> None:
    """Raise ValueError unless the option fits."""
    if not fits:
        raise ValueError(f"{name} must be {expected}, got {got}")

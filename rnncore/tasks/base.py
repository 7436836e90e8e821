"""What a toy task is: endless data from a seed, a loss, an error, and what is reached without memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from rnncore.array import Array
from rnncore.losses import Loss, softmax_cross_entropy


@dataclass(frozen=True)
class Batch:
    """Some sequences of a task.

    x : (T, B, D) float32, padded with zeros where `lengths` says so.
    targets : what is wanted after the last step, (B,) classes or (B, K) numbers; or, unless `at_end`, at every step,
        (T, B) classes.
    lengths : (B,) how many steps of each sequence are real; all T when None.
    at_end : whether there is one target, after the last step, or one at every step.
    counted : (T, B) bool, the steps over which the error is taken, where there are several; all when None. The loss
        always counts all.
    """

    x: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any] | None = None
    at_end: bool = True
    counted: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Baseline:
    """What the best predictor without memory reaches, and how; `floor` is the least loss that there is."""

    loss: float
    error: float
    how: str
    floor: float = 0.0


@dataclass(frozen=True)
class Task:
    """A toy problem. What follows is for classes; a task of numbers has its own `loss` and `error`.

    Every task is a frozen dataclass, whose fields are what can be set. Batches come from a generator that the caller
    seeds, so the data has no end and no file.

    Attributes
    ----------
    name : of the task, as commands know it.
    measure : what `error` is, in words.
    solved : the error below which the task counts as solved; None where there is no such thing.
    source : where it comes from.
    """

    name: ClassVar[str]
    measure: ClassVar[str] = "share of wrong answers"
    solved: ClassVar[float | None] = 0.01
    source: ClassVar[str]

    @property
    def input_size(self) -> int:
        """D, the numbers a step."""
        raise NotImplementedError

    @property
    def output_size(self) -> int:
        """K, the classes, or the numbers wanted."""
        raise NotImplementedError

    def baseline(self) -> Baseline:
        """Return what is reached without memory, in closed form."""
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return `size` new sequences to learn from."""
        raise NotImplementedError

    def held_out(self, rng: np.random.Generator, size: int) -> Batch:
        """Return `size` sequences to measure with; of a task whose data is endless, new ones."""
        return self.batch(rng, size)

    def loss(self, y: Array, targets: Array) -> Loss:
        r"""Return the mean cross-entropy in nats of the logits y (N, K), and its gradient."""
        return softmax_cross_entropy(y, targets)

    def error(self, y: Array, targets: Array) -> float:
        """Return the share of the rows of y (N, K) whose greatest logit is not the target's."""
        return float((y.argmax(1) != targets).mean())

    def settings(self) -> dict[str, Any]:
        """Return name and fields as plain values; `rnncore.tasks.make_task` makes the task again."""
        kind = type(self)
        own = not kind.__module__.startswith("rnncore.tasks.")
        return {"name": f"{kind.__module__}:{kind.__qualname__}" if own else self.name, **asdict(self)}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Task:
        """Return the task with these fields set; a value may be a string, as typed.

        Raises
        ------
        ValueError
            If there is no such field, or a value does not suit it; the message says what there is.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values = {}
        for key, value in settings.items():
            if key not in kinds:
                raise ValueError(f"the task {cls.name} has no setting {key!r}; there are {_listed(cls)}")
            values[key] = _as(kinds[key], f"{cls.name}: {key}", value)
        return cls(**values)


def _listed(task: type[Task]) -> str:
    return ", ".join(f"{field.name}={field.default!r}" for field in fields(task))


def _as(kind: type, name: str, value: Any) -> Any:
    """The value as int, float, bool or str, as the field has it."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        made = kind(value) if kind is not bool else value
    except ValueError:
        made = None
    if type(made) is not kind or (isinstance(value, float) and made != value):
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return made


def at_least(task: str, name: str, value: int, least: int, why: str) -> None:
    """Raise ValueError unless a setting is large enough for the task to make sense."""
    if value < least:
        raise ValueError(f"{task}: {name} must be at least {least}, got {value}: {why}")


def one_hot(ids: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return (..., size) float32 with a 1 at each of the integers `ids` (...)."""
    out = np.zeros((*ids.shape, size), np.float32)
    np.put_along_axis(out, ids[..., None], 1, axis=-1)
    return out


LN2 = math.log(2)

"""One run: a cell learns a task until it is solved or its steps are used up; killed at any time, it goes on exactly.

Every batch is drawn from a generator of its own, seeded by the run's seed and the step, so that the data of a resumed
run is that of an uninterrupted one without any state to keep.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.cells import Cell, find_cell
from rnncore.finite import check_finite
from rnncore.losses import NonFiniteLoss
from rnncore.optim import Adam, clip_global_norm
from rnncore.params import Initialiser, uniform, zeros
from rnncore.tasks.base import Task
from rnncore.tasks.network import Network

#: What is called after every step with the number of steps taken.
Report = Callable[[int], None]
STARTS = ("own", "uniform")


@dataclass(frozen=True)
class Settings:
    """How a run is trained and measured.

    steps : at most so many. batch : sequences a step. learning_rate : Adam's. clip : of the gradient's norm.
    every : steps between two measurements, each on `held_out` sequences that were not seen before.
    until_solved : whether a run ends as soon as it is measured to have solved its task.
    """

    steps: int = 8000
    batch: int = 50
    learning_rate: float = 1e-3
    clip: float = 1.0
    every: int = 250
    held_out: int = 1000
    until_solved: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "every", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a number above 0, got {value}")


@dataclass(frozen=True)
class Trial:
    r"""All that decides a run.

    cell : a name in `rnncore.cells.CELLS`, or `module:Class`. forget_bias : its own first value when None.
    start : "own", the cell's own first values, for the cells here Glorot's and orthogonal ones; or "uniform", those of
        PyTorch, all parameters of the cell even in :math:`\pm 1/\sqrt H`, with the forget bias added.
    """

    task: Task
    cell: str
    hidden: int
    seed: int
    settings: Settings
    forget_bias: float | None = None
    start: str = "own"

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")

    @property
    def label(self) -> str:
        """The cell, and what is unusual about its first values, for people."""
        bias = "" if self.forget_bias is None else f", forget bias {self.forget_bias:g}"
        return self.cell + bias + ("" if self.start == "own" else f", {self.start}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("cell", "forget_bias", "start", "hidden", "seed")
        own = {name: getattr(self, name) for name in names}
        return {"task": self.task.settings(), **own, "settings": asdict(self.settings)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Trial:
        """Return the run of plain values."""
        from rnncore.tasks import make_task

        task = make_task(**{key: value for key, value in values["task"].items() if key != "fingerprint"})
        rest = {key: value for key, value in values.items() if key not in ("task", "settings")}
        return cls(task, settings=Settings(**values["settings"]), **rest)

    @property
    def name(self) -> str:
        """A file name: what can be read of the run, and a hash of everything."""
        digest = hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:10]
        said = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.task.name} {self.label} {self.hidden} seed {self.seed}")
        return f"{said}-{digest}"


def make_cell(name: str, forget_bias: float | None = None) -> Cell:
    """Return the cell of a name, or `module:Class`, with another first value of its forget gate's bias.

    Raises
    ------
    ValueError
        If there is no such cell, or it has no forget bias to set.
    """
    cell = find_cell(name)
    if forget_bias is None:
        return cell
    if not takes_forget_bias(name):
        raise ValueError(f"the cell {name} takes no forget_bias; leave it out, or leave the cell out")
    kind: Any = type(cell)
    made: Cell = kind(forget_bias=forget_bias)
    return made


def takes_forget_bias(name: str) -> bool:
    """Whether a cell's constructor knows `forget_bias`, and the cell has such a gate."""
    cell = find_cell(name)
    return "forget_bias" in inspect.signature(type(cell)).parameters and "forget" in cell.gates


def uniform_starts(cell: Cell, hidden: int) -> dict[str, Initialiser]:
    r"""Return PyTorch's first values, even in :math:`\pm 1/\sqrt H`, with the cell's own forget bias added to b."""
    own, even = cell.initialisers(), uniform(hidden**-0.5)
    bias = own["b"] if "forget_bias" in vars(cell) else zeros
    return dict.fromkeys(own, even) | {"b": lambda rng, shape: even(rng, shape) + bias(rng, shape)}


class Training:
    """A run on its way.

    Parameters
    ----------
    checkpoint : the file that holds everything after each measurement; if it is there, the run goes on from it. None
        keeps nothing.

    Attributes
    ----------
    history : a dict for each measurement: `step`; `train_loss`, the mean since the one before; `loss` and `error` on
        new sequences; `seconds` of processor time since the start.
    """

    def __init__(self, run: Trial, checkpoint: Path | None = None) -> None:
        self.run, self.checkpoint = run, checkpoint
        cell = make_cell(run.cell, run.forget_bias)
        starts = uniform_starts(cell, run.hidden) if run.start == "uniform" else None
        self.network = Network(run.task, cell, run.hidden, run.seed, initialisers=starts)
        self.optimiser = Adam(self.network.params, run.settings.learning_rate)
        self.history: list[dict[str, Any]] = []
        self.failed: str | None = None
        if checkpoint is not None and checkpoint.is_file():
            self._resume(checkpoint)

    @property
    def solved_at(self) -> int | None:
        """The step of the first measurement at which the task was solved."""
        solved = self.run.task.solved
        steps = [record["step"] for record in self.history if solved is not None and record["error"] < solved]
        return min(steps, default=None)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        used_up = self.optimiser.steps >= self.run.settings.steps
        return used_up or self.failed is not None or (self.run.settings.until_solved and self.solved_at is not None)

    def finish(self, report: Report | None = None) -> dict[str, Any]:
        """Train to the end and return what came of it, as plain values; the checkpoint stays until it is removed.

        A loss or gradient that is not finite ends the run; the record says so under `failed`.
        """
        while not self.done:
            try:
                self._advance(report or (lambda step: None))
            except (NonFiniteLoss, FloatingPointError) as error:
                self.failed = str(error)
        return {
            "run": self.run.to_dict(),
            "parameters": self.network.params.size,
            "solved_at": self.solved_at,
            "failed": self.failed,
            "history": self.history,
        }

    def _advance(self, report: Report) -> None:
        """Train up to the next measurement, measure, and keep."""
        settings, started = self.run.settings, time.process_time()
        stop, losses = min(self.optimiser.steps + settings.every, settings.steps), []
        while self.optimiser.steps < stop:
            losses.append(self._step())
            report(self.optimiser.steps)
        measured = self.network.measure(self.run.task.held_out(self._rng(2), settings.held_out))
        before = self.history[-1]["seconds"] if self.history else 0.0
        record = {"step": stop, "train_loss": sum(losses) / len(losses), **measured._asdict()}
        self.history.append({**record, "seconds": round(before + time.process_time() - started, 3)})
        if self.checkpoint is not None:
            self._save(self.checkpoint)

    def _step(self) -> float:
        settings, network = self.run.settings, self.network
        loss = network.loss_and_gradients(self.run.task.batch(self._rng(1), settings.batch))
        check_finite(self.optimiser.steps, loss, network.grads)
        clip_global_norm(network.grads, settings.clip)
        self.optimiser.step(network.grads.flat)
        return loss

    def _rng(self, purpose: int) -> np.random.Generator:
        """The generator of what is drawn at this step: 1 to learn from, 2 to measure with."""
        return np.random.default_rng([self.run.seed, purpose, self.optimiser.steps])

    def _save(self, path: Path) -> None:
        from rnncore.interop.files import save

        state = self.optimiser.state_dict()
        arrays = {"params": self.network.params.flat, **{name: state.pop(name) for name in self.optimiser.slots}}
        save(path, arrays, about={"run": self.run.to_dict(), "history": self.history, "optimiser": state})

    def _resume(self, path: Path) -> None:
        from rnncore.interop.files import load

        kept = load(path)
        if kept.about["run"] != self.run.to_dict():
            raise ValueError(f"{path}: the checkpoint is of another run; remove it, or choose another folder")
        self.network.params.flat[...] = kept.params["params"]
        moments = {name: kept.params[name] for name in self.optimiser.slots}
        self.optimiser.load_state_dict({**kept.about["optimiser"], **moments})
        self.history = kept.about["history"]

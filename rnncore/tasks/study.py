"""A study: cells on one task, with equal units and with equal parameters, with several seeds, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from rnncore.machine import command_line, describe_machine
from rnncore.tasks.base import Task
from rnncore.tasks.network import hidden_for, parameters_of
from rnncore.tasks.training import Settings, Trial, make_cell, takes_forget_bias

#: The vanilla LSTM and its variants, of K. Greff et al., LSTM: A search space odyssey (2017).
GREFF = ("LSTM-peephole", "CIFG", *(f"Greff-{name}" for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "FGR")))
UNITS, PARAMETERS = EQUAL = ("units", "parameters")


@dataclass(frozen=True)
class Entry:
    """One line of a study: a cell with its size, and under which comparisons it stands."""

    cell: str
    forget_bias: float | None
    hidden: int
    equal: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Cells on one task under equal conditions.

    Parameters
    ----------
    cells : names, `module:Class` for one's own, "greff" for `GREFF`. The first is the one that others are held to.
    hidden : H of every cell where units are equal, of the first where parameters are.
    equal : "units", "parameters" or both: with equal parameters each cell has the H that brings its network closest to
        the parameters of the first (J. Chung, C. Gulcehre, K. Cho & Y. Bengio, Empirical evaluation of gated recurrent
        neural networks on sequence modeling, 2014, section 4.2).
    seeds : how many, 0, 1, ...: of first values and data.
    forget_biases : each cell that has a forget gate is trained with each of them; with its own when empty.
    start : of the cells' parameters, see `rnncore.tasks.training.Trial`.

    Raises
    ------
    ValueError
        If a cell does not exist or stands there twice, or there is nothing to compare.
    """

    task: Task
    cells: Sequence[str]
    hidden: int = 64
    equal: Sequence[str] = (UNITS,)
    seeds: int = 3
    forget_biases: Sequence[float] = ()
    start: str = "own"
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.seeds < 1:
            raise ValueError(f"hidden and seeds must be at least 1, got {self.hidden} and {self.seeds}")
        if not self.equal or set(self.equal) - set(EQUAL):
            raise ValueError(f"equal must be units, parameters or both, got {', '.join(self.equal) or 'nothing'}")
        names = self.names()
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the cells {', '.join(twice)} stand there twice; name each once")
        for name in names:
            make_cell(name)

    def names(self) -> list[str]:
        """Return the cells, with "greff" spelled out."""
        return [name for given in self.cells for name in (GREFF if given == "greff" else (given,))]

    def entries(self) -> list[Entry]:
        """Return the lines of the study; a cell whose size is the same under both comparisons stands there once."""
        wanted = parameters_of(self.task, make_cell(self.names()[0]), self.hidden)
        found: dict[tuple[str, float | None, int], list[str]] = {}
        for equal in self.equal:
            for name in self.names():
                own = self.hidden if equal == UNITS else hidden_for(self.task, make_cell(name), wanted)
                for bias in self._biases(name):
                    found.setdefault((name, bias, own), []).append(equal)
        return [Entry(*key, tuple(equal)) for key, equal in found.items()]

    def _biases(self, name: str) -> Sequence[float | None]:
        return self.forget_biases if self.forget_biases and takes_forget_bias(name) else (None,)

    def runs(self) -> list[Trial]:
        """Return every run, seed by seed, so that each line has one before any has two."""
        entries = self.entries()
        return [self._run(entry, seed) for seed in range(self.seeds) for entry in entries]

    def _run(self, entry: Entry, seed: int) -> Trial:
        return Trial(self.task, entry.cell, entry.hidden, seed, self.settings, entry.forget_bias, self.start)

    def result(self, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return everything about the study as plain values, from what its runs left, by `Trial.name`."""
        task, baseline = self.task, self.task.baseline()
        entries = []
        for entry in self.entries():
            runs = [self._run(entry, seed) for seed in range(self.seeds)]
            kept = [records[run.name] for run in runs]
            own = {"label": runs[0].label, "cell": entry.cell, "hidden": entry.hidden, "equal": list(entry.equal)}
            seeds = [{"seed": run.seed, **_outcome(record)} for run, record in zip(runs, kept, strict=True)]
            entries.append({**own, "parameters": kept[0]["parameters"], **summary(seeds), "seeds": seeds})
        return {
            "title": f"{task.name}: {', '.join(self.names())}",
            "command": command_line("python -m rnncore.tasks"),
            "date": date.today().isoformat(),
            "machine": describe_machine(),
            "task": {**task.settings(), "measure": task.measure, "solved": task.solved, "source": task.source},
            "baseline": {"loss": baseline.loss, "error": baseline.error, "how": baseline.how, "floor": baseline.floor},
            "start": self.start,
            "settings": dict(vars(self.settings)),
            "entries": entries,
        }


def _outcome(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("solved_at", "failed", "history")}


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds: of the steps to the threshold where all reached it, and of the error.

    `error` is that of each seed's last measurement; `seconds` is processor time for 1000 steps. The deviation is that
    of a sample, None of one seed.
    """
    steps = [seed["solved_at"] for seed in seeds]
    lasts = [seed["history"][-1] for seed in seeds if seed["history"]]
    return {
        "steps": None if None in steps else mean_and_deviation(steps),
        "error": mean_and_deviation([last["error"] for last in lasts]) if lasts else None,
        "seconds": sum(last["seconds"] for last in lasts) / max(1, sum(last["step"] for last in lasts)) * 1000,
    }


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the deviation with n - 1 in it."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

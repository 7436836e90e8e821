"""Captioners trained and measured under equal conditions, with one seed or several, beside the paper's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import prod
from pathlib import Path
from typing import Any

from captioning.checkpoint import load_checkpoint, source_of
from captioning.config import Recipe
from captioning.corpus import build_vocabulary, finite_rows
from captioning.data import FLICKR8K, Dataset
from captioning.errors import CaptioningError
from captioning.evaluate import Scorer, about_further, scale_rows
from captioning.outcome import Outcome
from captioning.parts import Parts
from captioning.report.summary import conclusion
from captioning.runs import Material, carry_out, job, label, load_record
from captioning.systems import MEANING, UNITS, Run, System, runs_of, systems_of
from captioning.train import CHECKPOINT, Report
from encoders import Features
from rnncore.machine import command_line, describe_machine
from rnncore.processes import Processes, Watch

#: Table 1 of 'Image Captioning using LSTM and GRU'.
PAPER = {
    "LSTM": {"loss": 3.3268, "BLEU": 0.01695, "ROUGE": 0.19144},
    "GRU": {"loss": 3.225, "BLEU": 0.01569, "ROUGE": 0.17871},
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it goes: each run in a folder of its own under `folder`.

    seeds : how many training runs of each system: the recipe's seed and those that follow it.
    equal : in what the cells are equal, of `captioning.systems.EQUAL`; the first cell is the one they are held to.
    jobs : runs at a time; more than one need `sources`, the paths of dataset and features.
    """

    recipe: Recipe
    cells: Sequence[str]
    dataset: Dataset
    features: Features
    folder: Path
    glove: Path | None = None
    resume: bool = False
    device: str = "cpu"
    seeds: int = 1
    equal: Sequence[str] = (UNITS,)
    jobs: int = 1
    sources: tuple[Path, Path] | None = None

    def run(
        self, say: Say, report: Callable[[str], Report] | None = None, watch: Watch | None = None
    ) -> dict[str, Any]:
        """Train every system, evaluate each on the test split, and return the result as plain values.

        say : gets a line for each thing begun. report : gives the progress callback of a run's training.
        watch : is told of runs in processes of their own, where there are several jobs.

        Raises
        ------
        CaptioningError, ValueError
            Before anything is trained: for a cell that does not exist or stands there twice, for a run that is
            there already without `resume`, and for test pictures without features.
        """
        systems = self.systems()
        runs = runs_of(systems, self.seeds, self.folder)
        self._check(runs)
        scorer = Scorer(self.dataset, "test", self.recipe)
        say("scoring the constant caption and the human row")
        baselines = scale_rows(self.dataset, scorer)
        self._carry_out(runs, say, report or (lambda name: lambda progress: None), watch)
        records: dict[str, list[Mapping[str, Any]]] = {system.name: [] for system in systems}
        for run in runs:
            record = load_record(run.folder)
            assert record is not None, run.folder
            records[run.system].append(record)
        for name, kept in records.items():
            note = "each picture captioned from another picture's features"
            baselines[f"pictures shuffled ({name})"] = {"metrics": kept[0]["shuffled_pictures"], "note": note}
        if len(runs) > 1:
            say("testing the differences")
        return self._result(systems, Outcome(scorer, records), baselines)

    def systems(self) -> list[System]:
        """Return what is compared."""
        return systems_of(self.recipe, self.cells, self.equal, self._count())

    def _count(self) -> Callable[[Recipe], tuple[int, int]]:
        """Return what counts the parameters of a recipe's model, and of its cell, on this data."""
        words, source = len(build_vocabulary(self.dataset, self.recipe)), source_of(self.features, self.recipe)

        def count(recipe: Recipe) -> tuple[int, int]:
            parts = Parts(recipe, words, source.size, source.grid)
            shapes = {**parts.trained(), "embedding": parts.embedding.shapes()}
            counts = {part: sum(map(prod, of.values())) for part, of in shapes.items()}
            return sum(counts.values()), sum(counts[layer] for layer in parts.layers)

        return count

    def _check(self, runs: Sequence[Run]) -> None:
        """Find out now what would otherwise end the comparison after its first run is trained."""
        for run in runs:
            path = run.folder / CHECKPOINT
            if path.exists() and not self.resume:
                raise CaptioningError(f"{path} is there already: give --resume to go on from it, or another folder")
        if self.jobs < 1:
            raise CaptioningError(f"--jobs must be at least 1, not {self.jobs}")
        finite_rows(self.features, self.dataset.names("test"))

    def _carry_out(self, runs: Sequence[Run], say: Say, report: Callable[[str], Report], watch: Watch | None) -> None:
        """Leave every run's record in its folder; the first of each system captions shuffled pictures too."""
        material = Material(self.dataset, self.features, self.glove, self.device, self.sources)
        tasks = [(run, run.seed == self.recipe.training.seed) for run in runs]
        if self.jobs > 1:
            say(f"training {len(runs)} captioners, {self.jobs} at a time")
            jobs = [job(run, material, self.resume, shuffled) for run, shuffled in tasks]
            Processes(self.jobs).finish(jobs, watch)
            return
        for run, shuffled in tasks:
            name = run.system if self.seeds == 1 else label(run)
            say(f"training {name}")
            carry_out(run, material, self.resume, report(name), shuffled)

    def _result(self, systems: Sequence[System], outcome: Outcome, baselines: Mapping[str, Any]) -> dict[str, Any]:
        dataset, first = self.dataset, runs_of(systems, 1, self.folder)[0]
        result = {
            "title": f"{_joined(self.cells)} on {dataset.name}, recipe {self.recipe.name}",
            "command": command_line(),
            "date": date.today().isoformat(),
            "machine": describe_machine(),
            "jobs": self.jobs,
            "seed": self.recipe.training.seed,
            "seeds": [self.recipe.training.seed + k for k in range(self.seeds)],
            "equal": {how: MEANING[how] for how in self.equal},
            "recipe": self.recipe.to_dict(),
            "dataset": {
                "name": dataset.name,
                **{split: len(dataset.names(split)) for split in ("train", "validation", "test")},
                "vocabulary": len(load_checkpoint(first.folder / CHECKPOINT).vocabulary),
            },
            "encoder": {"description": self.features.description, "hash": self.features.encoder},
            "systems": {system.name: outcome.system(system) for system in systems},
            "tests": outcome.tests(),
            "baselines": dict(baselines),
            **({"paper": PAPER} if dataset.name == FLICKR8K else {}),
            "protocols": dict(outcome.scorer.protocols),
            "further": about_further(),
        }
        return {**result, "conclusion": conclusion(result)}


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def without_captions(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without the captions and scores of single pictures: small enough to be kept and read."""
    systems = {}
    for name, system in result["systems"].items():
        decoders = {key: _figures(block) for key, block in system["decoders"].items()}
        systems[name] = {**{k: v for k, v in system.items() if k != "per_picture"}, "decoders": decoders}
    return {**result, "systems": systems}


def _figures(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key in ("metrics", "deviations", "intervals", "further")}

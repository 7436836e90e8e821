"""One run of a comparison: trained, measured on the test split, and what it gave kept beside its checkpoint.

`carry_out` does so in this process; `job` makes of a run what a process of its own carries out. A run's `run.json` is
written whole or not at all and belongs to one checkpoint, so a comparison that is stopped goes on with what is not
finished.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.checkpoint import load_checkpoint
from captioning.config import Recipe
from captioning.cost import sizes, step_memory
from captioning.data import Dataset, load_dataset
from captioning.errors import CaptioningError
from captioning.evaluate import Evaluator
from captioning.systems import Run
from captioning.train import CHECKPOINT, Progress, Report, Trainer
from encoders import EncoderError, Features, open_features
from encoders.files import atomic_write, sha256_file
from rnncore.processes import Job, told_to_the_parent

RECORD = "run.json"


@dataclass(frozen=True)
class Material:
    """What all runs share. `sources` : where dataset and features were read, for processes of their own."""

    dataset: Dataset
    features: Features
    glove: Path | None = None
    device: str = "cpu"
    sources: tuple[Path, Path] | None = None


def carry_out(run: Run, material: Material, resume: bool, report: Report, shuffled: bool) -> dict[str, Any]:
    """Train a run, from its checkpoint if there is one and `resume` is set, measure it, and keep and return the record.

    shuffled : caption the pictures from other pictures' features too.
    """
    resume = resume and (run.folder / CHECKPOINT).is_file()
    dataset, features = material.dataset, material.features
    trainer = Trainer(run.recipe, dataset, features, run.folder, material.glove, resume, material.device)
    before = len(trainer.history)
    trainer.run(report)
    if (epochs := len(trainer.history)) > before:  # early stopping may have ended it; a bar wants to know
        words, last = trainer.train_split.words, trainer.history[-1]
        report(Progress(epochs, epochs, words, words, last["train_loss"], last["train_seconds"]))
    made_from = {"checkpoint": sha256_file(run.folder / CHECKPOINT), "shuffled": shuffled}
    record = load_record(run.folder)
    if record is None or any(record.get(key) != value for key, value in made_from.items()):
        record = {**made_from, **_measured(run, material, trainer, shuffled)}
        with atomic_write(run.folder / RECORD, "w") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return record


def load_record(folder: Path) -> dict[str, Any] | None:
    """Return what a finished run left in its folder, None if it is not finished.

    Raises
    ------
    CaptioningError
        If the file is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CaptioningError(f"{path}: expected what a run left, {error}; remove the file to measure again") from error
    return record


def _measured(run: Run, material: Material, trainer: Trainer, shuffled: bool) -> dict[str, Any]:
    stored = load_checkpoint(run.folder / CHECKPOINT)
    evaluator = Evaluator.of(stored, material.dataset, material.features, "test", material.device)
    measured, history = evaluator.report(), trainer.history
    best = history[trainer.best_epoch - 1]
    losses = {"train": best["train_loss"], "validation": best["validation_loss"], "test": measured.pop("loss")}
    record = {
        "seed": run.seed,
        "cell": run.recipe.model.cell,
        "units": run.recipe.model.hidden,
        **sizes(trainer.model),
        "step_mib": step_memory(evaluator),
        "seconds": sum(epoch["seconds"] for epoch in history),
        "words_per_second": sum(epoch["words_per_second"] for epoch in history) / len(history),
        "best_epoch": trainer.best_epoch,
        "epochs": history,
        "losses": losses,
        **measured,
    }
    if shuffled:
        record["shuffled_pictures"] = evaluator.shuffled()
    return record


def job(run: Run, material: Material, resume: bool, shuffled: bool) -> Job:
    """Return a run as a job for a process of its own; what it gives is in its folder."""
    if material.sources is None:
        raise CaptioningError("several jobs need `sources`, the paths that dataset and features are read from")
    data, features = material.sources
    order = {
        "system": run.system, "recipe": {"name": run.recipe.name, **run.recipe.to_dict()}, "folder": str(run.folder),
        "data": str(data), "features": str(features), "glove": None if material.glove is None else str(material.glove),
        "device": material.device, "resume": resume, "shuffled": shuffled,
    }  # fmt: skip
    return Job(label(run), "captioning.runs", (), json.dumps(order))


def label(run: Run) -> str:
    """Return what a run is called while it runs."""
    return f"{run.system}, seed {run.seed}"


def main() -> None:
    """Carry out the run that stands on stdin as `job` wrote it."""
    order = json.loads(sys.stdin.read())
    try:
        with told_to_the_parent() as told:
            _obey(order, lambda now: told((now.epoch - 1) * now.all_words + now.words, now.epochs * now.all_words))
    except (CaptioningError, EncoderError, OSError, ArithmeticError, RuntimeError, ValueError) as error:
        sys.exit(str(error))


def _obey(order: dict[str, Any], report: Report) -> None:
    glove = None if order["glove"] is None else Path(order["glove"])
    material = Material(load_dataset(order["data"]), open_features(order["features"]), glove, order["device"])
    recipe = Recipe.from_dict(order["recipe"].pop("name"), order["recipe"])
    run = Run(order["system"], recipe, Path(order["folder"]))
    carry_out(run, material, order["resume"], report, order["shuffled"])


if __name__ == "__main__":
    main()

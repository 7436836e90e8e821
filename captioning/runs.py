"""One run of a comparison: trained, measured on the test split, and what it gave kept beside its checkpoint.

`carry_out` does so in this process; `Workers` does so with several runs at a time, each in a process of its own with
one thread of BLAS. A run's `run.json` is written whole or not at all and belongs to one checkpoint, so a comparison
that is stopped goes on with what is not finished.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

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

RECORD = "run.json"
SECONDS_BETWEEN_REPORTS = 0.2
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


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
        decoding = list(evaluator.decoders().values())[-1]
        record["shuffled_pictures"] = evaluator.scorer.score(evaluator.captions(decoding, shuffled=1))
    return record


class Workers:
    """Carries out runs, `jobs` at a time, each in a process of its own.

    Raises
    ------
    CaptioningError
        If a run ends in an error, which is quoted; the others are stopped, and their finished epochs kept.
    """

    def __init__(self, material: Material, jobs: int) -> None:
        if material.sources is None:
            raise CaptioningError("several jobs need `sources`, the paths that dataset and features are read from")
        self.material, self.jobs = material, jobs
        self._data, self._features = material.sources
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def finish(self, tasks: Sequence[tuple[Run, bool]], resume: bool, report: Callable[[str], Report]) -> None:
        """Carry out runs, each with whether it captions shuffled pictures; their records are in their folders."""
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                futures = [pool.submit(self._one, run, shuffled, resume, report) for run, shuffled in tasks]
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stop()
                raise

    def _one(self, run: Run, shuffled: bool, resume: bool, report: Callable[[str], Report]) -> None:
        if self._stopped:
            return
        process = subprocess.Popen(
            [sys.executable, "-m", "captioning.runs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self._processes.append(process)
        sent, progress, errors = (cast(IO[str], pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        with process:
            sent.write(json.dumps(self._order(run, shuffled, resume)))
            sent.close()
            told = report(label(run))
            for line in progress:
                told(Progress(**json.loads(line)))
            said = errors.read().strip()
        if process.returncode and not self._stopped:
            reason = said.splitlines()[-1] if said else f"exit code {process.returncode}"
            raise CaptioningError(f"{label(run)}: {reason}")

    def _order(self, run: Run, shuffled: bool, resume: bool) -> dict[str, Any]:
        """A run as plain values, which `main` reads."""
        return {
            "system": run.system, "recipe": {"name": run.recipe.name, **run.recipe.to_dict()},
            "folder": str(run.folder), "data": str(self._data), "features": str(self._features),
            "glove": None if self.material.glove is None else str(self.material.glove),
            "device": self.material.device, "resume": resume, "shuffled": shuffled,
        }  # fmt: skip

    def _stop(self) -> None:
        self._stopped = True
        for process in self._processes:
            if process.poll() is None:
                process.terminate()


def label(run: Run) -> str:
    """Return what a run is called while it runs."""
    return f"{run.system}, seed {run.seed}"


def main() -> None:
    """Carry out the run whose plain values stand on stdin; print its progress. It ends with whoever reads it."""
    order = json.loads(sys.stdin.read())
    said = 0.0

    def report(now: Progress) -> None:
        nonlocal said
        if now.words == now.all_words or time.monotonic() - said >= SECONDS_BETWEEN_REPORTS:
            said = time.monotonic()
            print(json.dumps(asdict(now)), flush=True)

    try:
        _obey(order, report)
    except BrokenPipeError:  # who started this is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (CaptioningError, EncoderError, OSError, ArithmeticError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _obey(order: dict[str, Any], report: Report) -> None:
    glove = None if order["glove"] is None else Path(order["glove"])
    material = Material(load_dataset(order["data"]), open_features(order["features"]), glove, order["device"])
    recipe = Recipe.from_dict(order["recipe"].pop("name"), order["recipe"])
    run = Run(order["system"], recipe, Path(order["folder"]))
    carry_out(run, material, order["resume"], report, order["shuffled"])


if __name__ == "__main__":
    main()

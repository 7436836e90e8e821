"""Captioners that differ in their cell only, trained and measured under equal conditions, beside the paper's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from captioning.checkpoint import load_checkpoint
from captioning.config import Recipe
from captioning.corpus import finite_rows
from captioning.data import FLICKR8K, Dataset
from captioning.errors import CaptioningError
from captioning.evaluate import Evaluator, Scorer, scale_rows
from captioning.train import CHECKPOINT, Report, Trainer
from encoders import Features
from rnncore.cells import find_cell
from rnncore.machine import command_line, describe_machine

#: Table 1 of 'Image Captioning using LSTM and GRU'.
PAPER = {
    "LSTM": {"loss": 3.3268, "BLEU": 0.01695, "ROUGE": 0.19144},
    "GRU": {"loss": 3.225, "BLEU": 0.01569, "ROUGE": 0.17871},
}


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it goes: each cell's run in a folder of its own under `folder`."""

    recipe: Recipe
    cells: Sequence[str]
    dataset: Dataset
    features: Features
    folder: Path
    glove: Path | None = None
    resume: bool = False
    device: str = "cpu"

    def run(self, say: Callable[[str], None], report: Callable[[str], Report]) -> dict[str, Any]:
        """Train every cell, evaluate each on the test split, and return the result as plain values.

        say : gets a line for each thing begun. report : gives the progress callback of a cell's training.

        Raises
        ------
        CaptioningError, ValueError
            Before anything is trained: for a cell that does not exist or stands there twice, for a run that is
            there already without `resume`, and for test pictures without features.
        """
        self._check()
        scorer = Scorer(self.dataset, "test", self.recipe)
        say("scoring the constant caption and the human row")
        baselines = scale_rows(self.dataset, scorer)
        systems = {}
        for name in self.cells:
            say(f"training {name}")
            trainer = self.trainer(name)
            trainer.run(report(name))
            say(f"evaluating {name}")
            systems[name], shuffled = self._measured(name, trainer)
            baselines[f"pictures shuffled ({name})"] = shuffled
        return self._result(systems, baselines, scorer.protocols)

    def trainer(self, cell: str) -> Trainer:
        """Return the trainer of one cell, going on from its checkpoint if there is one and `resume` is set."""
        folder = self.run_folder(cell)
        resume = self.resume and (folder / CHECKPOINT).is_file()
        return Trainer(self._recipe(cell), self.dataset, self.features, folder, self.glove, resume, self.device)

    def _recipe(self, cell: str) -> Recipe:
        return self.recipe.with_overrides({"model.cell": cell})

    def _check(self) -> None:
        """Find out now what would otherwise end the comparison after its first cell is trained."""
        for name in self.cells:
            find_cell(self._recipe(name).model.cell)
            if self.cells.count(name) > 1:
                raise CaptioningError(f"the cell {name} stands there twice; name each once, as in LSTM,GRU")
            path = self.run_folder(name) / CHECKPOINT
            if path.exists() and not self.resume:
                raise CaptioningError(f"{path} is there already: give --resume to go on from it, or another folder")
        finite_rows(self.features, self.dataset.names("test"))

    def _measured(self, name: str, trainer: Trainer) -> tuple[dict[str, Any], dict[str, Any]]:
        evaluator = Evaluator.of(
            load_checkpoint(trainer.folder / CHECKPOINT), self.dataset, self.features, "test", self.device
        )
        measured, history = evaluator.report(), trainer.history
        best = history[trainer.best_epoch - 1]
        counts = trainer.model.parameter_counts()
        system = {
            "cell": name,
            "parameters": counts["total"],
            "cell_parameters": counts["rnn"],
            "seconds": sum(record["seconds"] for record in history),
            "best_epoch": trainer.best_epoch,
            "epochs": history,
            "losses": {
                "train": best["train_loss"],
                "validation": best["validation_loss"],
                "test": measured["loss"],
            },
            "decoders": measured["decoders"],
            "per_picture": measured["per_picture"],
        }
        decoding = list(evaluator.decoders().values())[-1]
        shuffled = evaluator.scorer.score(evaluator.captions(decoding, shuffled=1))
        return system, {"metrics": shuffled, "note": "each picture captioned from another picture's features"}

    def _result(
        self, systems: Mapping[str, Any], baselines: Mapping[str, Any], protocols: Mapping[str, str]
    ) -> dict[str, Any]:
        dataset, first = self.dataset, self.run_folder(self.cells[0])
        return {
            "title": f"{' and '.join(self.cells)} on {dataset.name}, recipe {self.recipe.name}",
            "command": command_line(),
            "date": date.today().isoformat(),
            "machine": describe_machine(),
            "seed": self.recipe.training.seed,
            "recipe": self.recipe.to_dict(),
            "dataset": {
                "name": dataset.name,
                **{split: len(dataset.names(split)) for split in ("train", "validation", "test")},
                "vocabulary": len(load_checkpoint(first / CHECKPOINT).vocabulary),
            },
            "encoder": {"description": self.features.description, "hash": self.features.encoder},
            "systems": dict(systems),
            "baselines": dict(baselines),
            **({"paper": PAPER} if dataset.name == FLICKR8K else {}),
            "protocols": dict(protocols),
        }

    def run_folder(self, cell: str) -> Path:
        """Return where a cell's run is kept."""
        return self.folder / cell.replace(":", ".")


def without_captions(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without the captions and scores of single pictures: small enough to be kept and read."""
    systems = {}
    for name, system in result["systems"].items():
        decoders = {key: _figures(block) for key, block in system["decoders"].items()}
        systems[name] = {**{k: v for k, v in system.items() if k != "per_picture"}, "decoders": decoders}
    return {**result, "systems": systems}


def _figures(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "captions"}

"""Training: epochs over the captions, validation, early stopping, and a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioning.averaging import Averaging
from captioning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, source_of
from captioning.config import Recipe
from captioning.corpus import Integers, Split, build_split, build_vocabulary, mean_loss, rows_of
from captioning.data import Dataset
from captioning.decode import caption_pictures
from captioning.errors import CaptioningError
from captioning.glove import load_glove
from captioning.metrics import coco_scores
from captioning.model import Captioner
from captioning.setup import first_values, make_objective, make_optimiser, make_schedule, refuse_other_recipe
from captioning.study.epochs import gates_used
from captioning.text import SCORING, clean
from encoders import Features
from rnncore.array import reserved_bytes
from rnncore.finite import describe_gradients
from rnncore.losses import NonFiniteLoss
from rnncore.optim import clip_global_norm

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """Where an epoch stands, after every batch: what a progress bar shows.

    loss : the mean over the epoch so far, nats a word. words : predicted so far in this epoch, of `all_words`.
    """

    epoch: int
    epochs: int
    words: int
    all_words: int
    loss: float
    seconds: float


Report = Callable[[Progress], None]


class Trainer:
    """Trains one captioner; everything it needs to go on is in `folder` after every epoch.

    Parameters
    ----------
    folder : gets `checkpoint.safetensors` and `log.jsonl`.
    glove : the text file of the vectors, if the recipe asks for them.
    resume : go on from the checkpoint in `folder`; the losses are those of an uninterrupted run, to the last bit.
    start : a trained captioner whose weights are the first ones here; its parts must be those of the recipe.

    Raises
    ------
    MissingFeatures, CaptioningError
        Before training starts: if features are missing, or a checkpoint is there that does not fit or that
        nobody asked to go on from.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        features: Features,
        folder: Path,
        glove: Path | None = None,
        resume: bool = False,
        device: str = "cpu",
        start: Checkpoint | None = None,
    ) -> None:
        self.recipe, self.settings, self.folder = recipe, recipe.training, folder
        if not resume and (folder / CHECKPOINT).exists():
            raise CaptioningError(f"{folder / CHECKPOINT} is there already: give --resume, or another folder")
        self.vocabulary = build_vocabulary(dataset, recipe)
        self.source = source_of(features, recipe)
        self.vectors_found: int | None = None
        first = first_values(start, recipe, self.vocabulary, self.source)
        vectors = None if first else self._vectors(glove)
        sizes = (len(self.vocabulary), self.source.size)
        self.model = Captioner(
            recipe, *sizes, vectors, device=device, tensors=first, grid=self.source.grid, fused=self.settings.fused
        )
        if not first:
            self.model.fit(*rows_of(features, dataset.names("train"), self.model))
        self.train_split = self._split(dataset, "train", features)
        self.validation = self._split(dataset, "validation", features)
        self.references = dataset.references("validation")
        self.objective = make_objective(recipe, self.model, self.train_split, self.vocabulary, dataset)
        self.optimiser = make_optimiser(recipe.training, self.model)
        steps = self.train_split.count_batches(recipe.training.pictures_per_batch)
        self.schedule = make_schedule(recipe.training, steps)
        self.history: list[dict[str, Any]] = []
        self.best_epoch, self.best = 0, self.model.params.copy()
        self.average = Averaging(recipe.training, self.model.params)
        self._prepare_folder(resume)

    def _split(self, dataset: Dataset, split: str, features: Features) -> Split:
        return build_split(dataset, split, self.recipe, self.vocabulary, features, self.model)

    def _vectors(self, glove: Path | None) -> np.ndarray[Any, Any] | None:
        if self.recipe.embedding.vectors != "glove":
            return None
        if glove is None:
            raise CaptioningError("this recipe starts from GloVe vectors: give their text file, --glove FILE")
        rows = load_glove(glove, self.vocabulary.words, self.recipe.embedding.size)
        self.vectors_found = sum(rows.found)
        return rows.matrix

    def _prepare_folder(self, resume: bool) -> None:
        if resume:
            self._resume(self.folder / CHECKPOINT)
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record) for record in self.history]
        (self.folder / LOG).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    @property
    def done(self) -> bool:
        """Whether all epochs are run, or training has stopped early."""
        waited = len(self.history) - self.best_epoch
        stopped = self.settings.early_stopping != "none" and waited >= self.settings.patience
        return len(self.history) >= self.settings.epochs or stopped

    def run(self, report: Report | None = None) -> Path:
        """Train until done and return the checkpoint's path.

        Raises
        ------
        NonFiniteLoss
            If the loss or the gradient is no longer finite; the checkpoint of the epoch before stays.
        """
        while not self.done:
            self._epoch(report or (lambda progress: None))
        return self.folder / CHECKPOINT

    def _epoch(self, report: Report) -> None:
        epoch, started = len(self.history) + 1, time.perf_counter()
        loss = self._pass_over_training(epoch, report)
        trained = time.perf_counter() - started
        self.average.after_epoch(epoch)
        with self.average.in_place():
            validation_loss = mean_loss(self.model, self.validation)
            if not math.isfinite(validation_loss):
                raise self._diverged(f"the validation loss is {validation_loss} at epoch {epoch}")
            scores, gates = self._validation_scores(), gates_used(self.model, self.validation)
        record: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": loss,
            "validation_loss": validation_loss,
            "validation": scores,
            "gates": gates,
            "learning_rate": self.optimiser.learning_rate,
            "words_per_second": self.train_split.words / trained,
            "train_seconds": trained,
            "seconds": time.perf_counter() - started,
        }
        if reserved := reserved_bytes(self.model.xp):
            record["device_bytes"] = reserved
        self.schedule.observe(validation_loss)
        self.history.append(record)
        if self._is_best():
            self.best_epoch = epoch
            self.best.flat[...] = self.average.mean.flat
        self._save()
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def _pass_over_training(self, epoch: int, report: Report) -> float:
        settings, split, started = self.settings, self.train_split, time.perf_counter()
        order, noise = (np.random.default_rng(key) for key in ([settings.seed, epoch], [settings.seed, epoch, 1]))
        total, rows, words = 0.0, 0, 0
        for k, pictures in enumerate(split.picture_batches(settings.pictures_per_batch, order)):
            where = f"epoch {epoch}, batch {k + 1}"
            try:
                loss, count = self._learn(pictures, noise, where)
            except MemoryError as error:  # CuPy's is one too
                size = f"{len(pictures)} pictures, {split.words_of(pictures)} words"
                lower = f"lower training.pictures_per_batch (now {settings.pictures_per_batch}); {self._kept()}"
                raise CaptioningError(f"out of memory at {where}: {size}; {lower}") from error
            total, rows = total + loss * count, rows + count
            words += split.words_of(pictures)
            report(Progress(epoch, settings.epochs, words, split.words, total / rows, time.perf_counter() - started))
        return total / rows

    def _learn(self, pictures: Integers, noise: np.random.Generator, where: str) -> tuple[float, int]:
        """Take one step of the optimiser; return the loss before it, and over how many words it is the mean."""
        loss, count = self.objective.gradients(pictures, len(self.history) + 1, noise)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at {where}, and {describe_gradients(self.model.grads)}")
        if self.settings.clip_norm:
            try:
                clip_global_norm(self.model.grads, self.settings.clip_norm)
            except FloatingPointError as error:
                raise self._diverged(f"{error}, at {where}") from error
        self.optimiser.learning_rate = self.schedule.rate(self.settings.learning_rate, self.optimiser.steps)
        self.optimiser.step(self.model.grads.flat)
        self.average.after_step(len(self.history) + 1)
        return loss, count

    def _diverged(self, what: str) -> NonFiniteLoss:
        return NonFiniteLoss(f"{what}; lower training.learning_rate or set training.clip_norm; {self._kept()}")

    def _kept(self) -> str:
        done = len(self.history)
        return f"the checkpoint of epoch {done} is kept" if done else "no epoch was finished"

    def _validation_scores(self) -> dict[str, float] | None:
        """Decode the validation pictures, where that decides when to stop."""
        if self.settings.early_stopping == "none":
            return None
        names, features = self.validation.names, self.validation.features
        captions = caption_pictures(self.model, names, features, self.vocabulary, self.recipe.decoding)
        return coco_scores({name: clean(text, SCORING) for name, text in captions.items()}, self.references)

    def _is_best(self) -> bool:
        """By CIDEr-D where it is what stops training, by validation loss otherwise."""
        if self.settings.early_stopping == "none":
            losses = [record["validation_loss"] for record in self.history]
            return bool(losses[-1] == min(losses))
        scores = [record["validation"][self.settings.early_stopping] for record in self.history]
        return bool(scores[-1] > max(scores[:-1], default=-math.inf))

    def _save(self) -> None:
        model, optimiser = self.model, self.optimiser.state_dict()
        tensors = {f"model/{name}": a for name, a in {**self.best, **model.constants}.items()}
        average = self.average.tensors()
        if average or self.best_epoch != len(self.history):
            tensors |= {f"last/{name}": a for name, a in model.params.items()}
        tensors |= {f"average/{name}": a for name, a in average.items()}
        tensors |= {f"optimiser/{name}": optimiser.pop(name) for name in self.optimiser.slots}
        state = {
            "optimiser": optimiser,
            "schedule": self.schedule.state_dict(),
            "noise": model.noise(),
            "averaged": self.average.terms,
        }
        save_checkpoint(
            self.folder / CHECKPOINT,
            Checkpoint(self.recipe, self.vocabulary, self.source, self.best_epoch, self.history, state),
            tensors,
        )

    def _resume(self, path: Path) -> None:
        checkpoint = load_checkpoint(path)
        checkpoint.refuse_other(self.vocabulary, self.source)
        refuse_other_recipe(checkpoint, self.recipe)
        if "noise" not in checkpoint.state:
            raise CaptioningError(
                f"{path}: an older version wrote it, whose training cannot be gone on with; it can be evaluated, and "
                "--from begins a new run with its weights"
            )
        stored = {name: self.model.xp.asarray(a) for name, a in checkpoint.tensors("model").items()}
        for home in (self.best, self.model.constants):
            home.assign({name: stored[name] for name in home})
        last = {name: self.model.xp.asarray(a) for name, a in checkpoint.tensors("last").items()}
        self.model.params.assign(last or self.best)
        self.optimiser.load_state_dict({**checkpoint.state["optimiser"], **checkpoint.tensors("optimiser")})
        self.schedule.load_state_dict(checkpoint.state["schedule"])
        average = {name: self.model.xp.asarray(a) for name, a in checkpoint.tensors("average").items()}
        self.average.load(checkpoint.state["averaged"], average)
        self.model.set_noise(checkpoint.state["noise"])
        self.history, self.best_epoch = checkpoint.history, checkpoint.best_epoch

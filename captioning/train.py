"""Training: epochs over the captions, validation, early stopping, and a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from captioning.averaging import Averaging
from captioning.batch import Batch
from captioning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, source_of
from captioning.config import Recipe
from captioning.config import Training as Settings
from captioning.corpus import Split, build_split, build_vocabulary, mean_loss, rows_of
from captioning.data import Dataset
from captioning.decode import caption_pictures
from captioning.errors import CaptioningError
from captioning.glove import load_glove
from captioning.metrics import coco_scores
from captioning.model import Captioner
from captioning.text import SCORING, clean
from encoders import Features
from rnncore import schedules
from rnncore.finite import describe_gradients
from rnncore.losses import NonFiniteLoss
from rnncore.optim import SGD, Adam, AdamW, Optimiser, clip_global_norm

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
    ) -> None:
        self.recipe, self.settings, self.folder = recipe, recipe.training, folder
        if not resume and (folder / CHECKPOINT).exists():
            raise CaptioningError(f"{folder / CHECKPOINT} is there already: give --resume, or another folder")
        self.vocabulary = build_vocabulary(dataset, recipe)
        self.source = source_of(features, recipe)
        self.vectors_found: int | None = None
        vectors, size = self._vectors(glove), self.source.size
        self.model = Captioner(recipe, len(self.vocabulary), size, vectors, device=device, grid=self.source.grid)
        self.model.fit(*rows_of(features, dataset.names("train"), self.model))
        self.train_split = self._split(dataset, "train", features)
        self.validation = self._split(dataset, "validation", features)
        self.references = dataset.references("validation")
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
            scores = self._validation_scores()
        record: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": loss,
            "validation_loss": validation_loss,
            "validation": scores,
            "learning_rate": self.optimiser.learning_rate,
            "words_per_second": self.train_split.words / trained,
            "train_seconds": trained,
            "seconds": time.perf_counter() - started,
        }
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
        rng = np.random.default_rng([settings.seed, epoch])
        total, words = 0.0, 0
        for k, batch in enumerate(split.batches(settings.pictures_per_batch, rng)):
            loss = self._learn(batch, f"epoch {epoch}, batch {k + 1}")
            total += loss * batch.packing.rows
            words += batch.packing.rows
            report(Progress(epoch, settings.epochs, words, split.words, total / words, time.perf_counter() - started))
        return total / words

    def _learn(self, batch: Batch, where: str) -> float:
        """Take one step of the optimiser and return the loss before it."""
        loss = self.model.loss_and_gradients(batch)
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
        return loss

    def _diverged(self, what: str) -> NonFiniteLoss:
        done = len(self.history)
        kept = f"the checkpoint of epoch {done} is kept" if done else "no epoch was finished"
        return NonFiniteLoss(f"{what}; lower training.learning_rate or set training.clip_norm; {kept}")

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
        _refuse_other_recipe(checkpoint, self.recipe)
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


def _refuse_other_recipe(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """A run may go on for more epochs or with more patience; anything else makes it another run."""
    now, then = recipe.training, checkpoint.recipe.training
    if now.schedule == then.schedule == "cosine" and now.epochs != then.epochs:
        raise CaptioningError(
            f"{checkpoint.path}: the cosine schedule was laid out for {then.epochs} epochs, not {now.epochs}; "
            "that would change the rates of all epochs; resume with the same number, or train in another folder"
        )
    before = replace(checkpoint.recipe, training=replace(then, epochs=now.epochs, patience=now.patience))
    if before.hash != recipe.hash:
        raise CaptioningError(
            f"{checkpoint.path}: trained with the recipe {before.hash}, now asked for {recipe.hash}; "
            "resume with the same recipe (only epochs and patience may change), or train in another folder"
        )


def make_optimiser(settings: Settings, model: Captioner) -> Optimiser:
    """Return the optimiser of a recipe."""
    if settings.weight_decay and settings.optimiser != "adamw":
        raise CaptioningError("training.weight_decay works with the optimiser 'adamw' only; set one or the other")
    if settings.optimiser == "adamw":
        return AdamW(model.params, settings.learning_rate, decay=settings.weight_decay)
    if settings.optimiser == "sgd":
        return SGD(model.params, settings.learning_rate, momentum=0.9)
    return Adam(model.params, settings.learning_rate)


def make_schedule(settings: Settings, steps: int) -> schedules.Schedule:
    """Return the schedule of a recipe, counted in batches, `steps` an epoch; a plateau is observed once an epoch."""
    if settings.schedule == "step":
        return schedules.Step(settings.schedule_every * steps, settings.schedule_factor)
    if settings.schedule == "cosine":
        warmup = int(settings.schedule_warmup * steps)
        return schedules.Cosine(settings.epochs * steps, warmup, settings.schedule_floor)
    if settings.schedule == "plateau":
        return schedules.Plateau(settings.schedule_factor, settings.schedule_patience)
    return schedules.Constant()

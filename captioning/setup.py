"""What a training run is made of, as its recipe says: objective, optimiser, schedule and first values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from captioning.checkpoint import Checkpoint, FeatureSource
from captioning.config import Recipe
from captioning.config import Training as Settings
from captioning.corpus import Split
from captioning.data import Dataset
from captioning.errors import CaptioningError
from captioning.learning import Likelihood, Objective, SelfCritical
from captioning.model import Captioner
from captioning.vocabulary import Vocabulary
from rnncore import schedules
from rnncore.optim import SGD, Adam, AdamW, Optimiser


def make_objective(
    recipe: Recipe, model: Captioner, split: Split, vocabulary: Vocabulary, dataset: Dataset
) -> Objective:
    """Return what the recipe trains for, on the training split."""
    if recipe.training.objective == "self-critical":
        return SelfCritical(model, split, recipe, vocabulary, dataset.references("train"))
    return Likelihood(model, split, recipe)


def first_values(
    start: Checkpoint | None, recipe: Recipe, vocabulary: Vocabulary, source: FeatureSource
) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return the tensors of the captioner that training starts from, None where it starts from nothing.

    Raises
    ------
    CaptioningError
        If that captioner has another vocabulary, other features or other parts; dropout and penalties may differ.
    """
    if start is None:
        return None
    start.refuse_other(vocabulary, source)
    parts, wanted = (_parts(r) for r in (start.recipe, recipe))
    if differing := [key for key in wanted if parts[key] != wanted[key]]:
        key = differing[0]
        raise CaptioningError(
            f"{start.path}: its {key} is {parts[key]!r}, the recipe's {wanted[key]!r}; give the recipe that it was "
            "trained with as base, or --set what differs"
        )
    return start.tensors("model")


def _parts(recipe: Recipe) -> dict[str, Any]:
    """What decides the tensors of a captioner: all of its model but the rates of noise."""
    kept = {key: value for key, value in recipe.to_dict()["model"].items() if "dropout" not in key}
    return {f"model.{key}": value for key, value in kept.items() if key != "attention_penalty"} | {
        "embedding.train": recipe.embedding.train,
        "embedding.size": recipe.embedding.size,
    }


def refuse_other_recipe(checkpoint: Checkpoint, recipe: Recipe) -> None:
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
    fused = settings.fused and model.xp is np  # on a GPU it is the cells alone
    if settings.optimiser == "adamw":
        return AdamW(model.params, settings.learning_rate, decay=settings.weight_decay, fused=fused)
    if settings.optimiser == "sgd":
        return SGD(model.params, settings.learning_rate, momentum=0.9)
    return Adam(model.params, settings.learning_rate, fused=fused)


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

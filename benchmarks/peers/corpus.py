"""What the captioner is trained on here: Flickr8k where it is given, else captions drawn after its statistics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.problem import caption_lengths
from captioning.config import load_recipe
from captioning.data import Dataset, load_dataset
from captioning.model import Batch, Captioner
from captioning.setup import make_optimiser
from captioning.train import Trainer
from encoders import Features, open_features
from rnncore.array import to_host

#: Words of recipe `paper` on Flickr8k without the four markers and padding; numbers a picture.
WORDS, FEATURES, CAPTIONS = 1649, 2048, 5


class Corpus(NamedTuple):
    """A dataset with its features, and the changes to a recipe that go with it."""

    dataset: Dataset
    features: Features
    overrides: dict[str, Any]
    glove: Path | None


def find_corpus(pictures: int = 1500) -> Corpus:
    """Return Flickr8k, if CAPTIONING_DATA or ../shared/data has it with features and vectors; else a drawn corpus."""
    named = os.environ.get("CAPTIONING_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    features = data / "flickr8k" / "inception_v3_2015_trunk2048_f16.npz"
    glove = data / "glove" / "glove.6B.200d.flickr8k-words.txt"
    if features.is_file() and glove.is_file():
        return Corpus(load_dataset(data / "flickr8k"), open_features(features), {}, glove)
    return drawn_corpus(pictures)


def drawn_corpus(pictures: int, seed: int = 0) -> Corpus:
    """Return captions of Flickr8k's lengths over as many words, drawn by Zipf's law, and random features."""
    rng = np.random.default_rng(seed)
    splits = {"train": pictures, "validation": 20, "test": pictures // 5}
    lengths = rng.permutation(caption_lengths(CAPTIONS * sum(splits.values()))) - 1
    share = 1 / np.arange(1, WORDS + 1)
    words = rng.choice(WORDS, int(lengths.sum()), p=share / share.sum())
    words[: min(WORDS, len(words))] = rng.permutation(WORDS)[: len(words)]  # each word at least once
    ends = np.cumsum(lengths)
    captions = [" ".join(map(_word, words[end - n : end])) for end, n in zip(ends, lengths, strict=True)]
    names = [f"{k}.jpg" for k in range(sum(splits.values()))]
    of_picture = {name: tuple(captions[CAPTIONS * k : CAPTIONS * (k + 1)]) for k, name in enumerate(names)}
    first, chosen = 0, {}
    for split, size in splits.items():
        chosen[split] = tuple(names[first : first + size])
        first += size
    rows = np.maximum(rng.normal(0.3, 0.4, (len(names), FEATURES)), 0).astype(np.float32)
    features = Features(tuple(names), {"features": rows}, "random", "random numbers")
    changes = {"text.min_count": 1, "embedding.vectors": "random"}
    return Corpus(Dataset("drawn after Flickr8k's statistics", of_picture, chosen, None), features, changes, None)


def trainer(corpus: Corpus, cell: str, recipe: str = "paper", device: str = "cpu", **overrides: Any) -> Trainer:
    """Return the trainer of a recipe on the corpus; its folder is gone at once, since nothing is kept."""
    changes = {**corpus.overrides, "model.cell": cell, **{k.replace("__", "."): v for k, v in overrides.items()}}
    own = load_recipe(recipe).with_overrides(changes)
    with tempfile.TemporaryDirectory() as folder:
        return Trainer(own, corpus.dataset, corpus.features, Path(folder), corpus.glove, device=device)


def fused(trained: Trainer) -> Trainer:
    """Return the same trainer with `training.fused`: a model of its own with equal parameters, and its own optimiser.

    Raises
    ------
    RuntimeError
        Unless the two give equal losses, up to rounding.
    """
    other, tensors = copy(trained), {name: to_host(each) for name, each in trained.model.tensors().items()}
    other.recipe = trained.recipe.with_overrides({"training.fused": True})
    other.settings, sizes = other.recipe.training, (len(trained.vocabulary), trained.source.size)
    other.model = Captioner(other.recipe, *sizes, tensors=tensors, grid=trained.source.grid, fused=True)
    other.optimiser = make_optimiser(other.settings, other.model)
    batch = next(trained.train_split.batches(4))
    mine, theirs = trained.model.loss(batch), other.model.loss(batch)
    if not abs(mine - theirs) < 1e-4:
        raise RuntimeError(f"fused kernels change the model: loss {mine} without them, {theirs} with them")
    return other


def batches(trainer: Trainer, captions: int, seed: int = 0) -> Iterator[Batch]:
    """Yield batches of so many captions without end, those of a picture together, in random order."""
    split, rng = trainer.train_split, np.random.default_rng(seed)
    while True:
        order = np.concatenate([split.of_picture[p] for p in rng.permutation(len(split.names))])
        for first in range(0, len(order) - captions + 1, captions):
            yield split.batch(order[first : first + captions])


def _word(number: int) -> str:
    """A made-up word: letters only, since cleaning drops numbers, and two of them at least."""
    letters = ""
    while number or len(letters) < 2:
        number, digit = divmod(number, 20)
        letters += "bcdfghjklmnpqrstvwxz"[digit]
    return letters

"""Captions and features as the model takes them: one split of a dataset as arrays, and batches of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from captioning.batch import Batch, Pictures
from captioning.config import Recipe
from captioning.data import Dataset
from captioning.errors import CaptioningError
from captioning.grid import Grids
from captioning.model import Captioner
from captioning.text import Cleaning, clean
from captioning.vocabulary import Vocabulary
from encoders import Features
from rnncore.packing import Packing

#: Pictures in a batch when only the loss is wanted.
EVALUATED_TOGETHER = 50
Integers = np.ndarray[Any, np.dtype[np.intp]]


def cleaning_of(recipe: Recipe) -> Cleaning:
    """Return the cleaning of training captions that a recipe asks for."""
    return Cleaning(recipe.text.keep_one_letter, recipe.text.remove_stop_words)


def build_vocabulary(dataset: Dataset, recipe: Recipe) -> Vocabulary:
    """Return the vocabulary of the training captions."""
    cleaning = cleaning_of(recipe)
    captions = (clean(caption, cleaning) for _, caption in dataset.pairs("train"))
    return Vocabulary.build(captions, recipe.text.min_count, recipe.text.unknown_token)


@dataclass(frozen=True)
class Split:
    """One split, with C captions of n pictures.

    names : the n pictures. features : these, prepared by the model.
    ids : (C, L) word numbers with both markers, padded. lengths : (C,) how many of them are real.
    of_picture : for each picture, where its captions are among the C.
    """

    names: tuple[str, ...]
    features: Pictures
    ids: Integers
    lengths: Integers
    of_picture: tuple[Integers, ...]
    picture: Integers

    @property
    def words(self) -> int:
        """How many words are predicted in one pass: every word but each caption's first marker."""
        return int(self.lengths.sum() - len(self.lengths))

    def batches(self, pictures_per_batch: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """Yield every caption once, all captions of a picture in one batch; pictures shuffled by `rng` if given."""
        for pictures in self.picture_batches(pictures_per_batch, rng):
            yield self.batch(self.captions_of(pictures))

    def picture_batches(self, pictures_per_batch: int, rng: np.random.Generator | None = None) -> Iterator[Integers]:
        """Yield every picture's place once, some at a time; shuffled by `rng` if given."""
        order = np.arange(len(self.names)) if rng is None else rng.permutation(len(self.names))
        for first in range(0, len(order), pictures_per_batch):
            yield order[first : first + pictures_per_batch]

    def captions_of(self, pictures: Integers) -> Integers:
        """Return where the captions of some pictures are."""
        return np.concatenate([self.of_picture[p] for p in pictures])

    def words_of(self, pictures: Integers) -> int:
        """Return how many words are predicted in the captions of some pictures."""
        captions = self.captions_of(pictures)
        return int(self.lengths[captions].sum() - len(captions))

    def batch(self, captions: Integers) -> Batch:
        """Return the given captions as one batch."""
        captions = captions[np.argsort(-self.lengths[captions], kind="stable")]
        packing = Packing(self.lengths[captions] - 1)
        ids, xp = self.ids[captions], self.features.xp
        inputs, targets = (xp.asarray(packing.gather(ids, first)) for first in (0, 1))
        pictures, owner = np.unique(self.picture[captions], return_inverse=True)
        return Batch(self.features[xp.asarray(pictures)], xp.asarray(owner), inputs, targets, packing)

    def count_batches(self, pictures_per_batch: int) -> int:
        """Return how many batches `batches` yields."""
        return -(-len(self.names) // pictures_per_batch)


def build_split(
    dataset: Dataset, split: str, recipe: Recipe, vocabulary: Vocabulary, features: Features, model: Captioner
) -> Split:
    """Return a split as arrays.

    Raises
    ------
    MissingFeatures
        If a picture of the split has no features; the message names it.
    CaptioningError
        If the features hold NaN or infinity.
    """
    names, cleaning = dataset.names(split), cleaning_of(recipe)
    encoded, owner = [], []
    for k, name in enumerate(names):
        for caption in dataset.captions[name]:
            encoded.append(vocabulary.encode(clean(caption, cleaning), recipe.text.max_length))
            owner.append(k)
    lengths = np.array([len(ids) for ids in encoded], np.intp)
    ids = np.full((len(encoded), int(lengths.max())), vocabulary.pad, np.intp)
    for row, words in zip(ids, encoded, strict=True):
        row[: len(words)] = words
    picture = np.array(owner, np.intp)
    starts = np.searchsorted(picture, np.arange(len(names) + 1))
    of_picture = tuple(np.arange(a, b) for a, b in pairwise(starts))
    return Split(names, model.prepare(*rows_of(features, names, model)), ids, lengths, of_picture, picture)


def finite_rows(features: Features, names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Return the features of pictures, (n, F), refusing NaN and infinity by the picture's name."""
    rows = features.rows(names)
    wrong = [names[k] for k in np.flatnonzero(~np.isfinite(rows).all(axis=1))]
    if wrong:
        raise CaptioningError(f"{len(wrong)} pictures have NaN or infinite features, such as {wrong[0]}; encode again")
    return rows


@dataclass(frozen=True)
class _Grids:
    """The grids of some pictures, read a slice at a time."""

    features: Features
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, some: slice) -> np.ndarray[Any, Any]:
        return self.features.rows(self.names[some], "grid")


def rows_of(features: Features, names: tuple[str, ...], model: Captioner) -> tuple[np.ndarray[Any, Any], Grids | None]:
    """Return the vectors of pictures, (n, F), and their grids, (n, C, rows, columns), where the model looks at them."""
    return finite_rows(features, names), _Grids(features, names) if model.looks else None


def mean_loss(model: Captioner, split: Split) -> float:
    """Return the mean loss of a split in nats a word, without dropout."""
    total = 0.0
    for batch in split.batches(EVALUATED_TOGETHER):
        total += model.loss(batch) * batch.packing.rows
    return total / split.words

"""The usual Keras recipe: every prefix of every caption a padded sample of its own, targets one-hot.

The same model and the same captions as ours, on TensorFlow; a caption of n words is n samples of 34 steps, of which
Keras computes all and keeps the last. What takes time is named in samples here and in captions beside ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import cycle, islice
from typing import Any

import numpy as np

from benchmarks.peers.captioner import ours
from benchmarks.peers.corpus import Corpus, batches, find_corpus, fused, trainer
from benchmarks.record import has_fused
from benchmarks.rows import FUSED
from benchmarks.turns import Competitor, take_turns
from captioning.model import Batch
from captioning.train import Trainer

#: Captions a batch in the paper: three pictures of five. The bar: ours at least nine times as fast.
CAPTIONS, LONGEST, BAR, DIFFERENT = 15, 34, 1 / 9, 8


def is_there() -> bool:
    """Whether Keras and TensorFlow are installed."""
    return find_spec("keras") is not None and find_spec("tensorflow") is not None


def measure(rounds: int, quick: bool = False, corpus: Corpus | None = None) -> Iterator[dict[str, Any]]:
    """Yield a row for each cell."""
    corpus = corpus or find_corpus()
    for cell in ("LSTM",) if quick else ("LSTM", "GRU"):
        trained = trainer(corpus, cell)
        different = list(islice(batches(trained, CAPTIONS), DIFFERENT))
        sides = {"ours": trained} | ({FUSED: fused(trained)} if has_fused() else {})
        samples = [prefixes(batch, len(trained.vocabulary)) for batch in different]
        model = keras_model(trained, cell)
        found = {name: _turn(ours(each), different) for name, each in sides.items()}
        found["keras"] = _turn(lambda batch, model=model: model.train_on_batch(*batch), samples)
        seconds = take_turns(found, rounds, turn=0.5)
        yield {
            "work": "captioner, the usual Keras recipe",
            "cell": cell,
            "captions": CAPTIONS,
            "samples_a_batch": float(np.mean([len(targets) for _, targets in samples])),
            "bar": BAR,
            "data": corpus.dataset.name,
            "seconds": seconds,
        }


def _turn(step: Callable[[Any], Any], different: Sequence[Any]) -> Competitor:
    given = cycle(different)
    return Competitor(lambda: step(next(given)))


def prefixes(batch: Batch, words: int) -> tuple[tuple[Any, Any], Any]:
    """Return ((pictures, padded prefixes), one-hot next words) of a batch, as the usual generator yields them."""
    packing = batch.packing
    ids, targets = packing.unpack(np.asarray(batch.inputs)), packing.unpack(np.asarray(batch.targets))
    vectors, pictures, inputs, following = batch.vectors, [], [], []
    for k, length in enumerate(packing.lengths):
        for n in range(1, length + 1):
            pictures.append(vectors[k])
            inputs.append(np.pad(ids[:n, k], (LONGEST - n, 0)))
            following.append(targets[n - 1, k])
    return (np.stack(pictures), np.stack(inputs)), np.eye(words, dtype=np.float32)[following]


def keras_model(trainer: Trainer, cell: str) -> Any:
    """Return the paper's merge model, compiled."""
    import keras
    from keras import layers

    recipe, table = trainer.recipe, trainer.model.tensors()["embedding.E"]
    picture, words = keras.Input((trainer.source.size,)), keras.Input((LONGEST,))
    seen = layers.Dropout(recipe.model.picture_dropout)(picture)
    seen = layers.Dense(recipe.model.hidden, activation="relu")(seen)
    embedding = layers.Embedding(*table.shape, mask_zero=True, trainable=recipe.embedding.train)
    read = layers.Dropout(recipe.model.word_dropout)(embedding(words))
    read = getattr(layers, cell)(recipe.model.hidden)(read)
    dense = layers.Dense(recipe.model.dense, activation="relu")(layers.add([seen, read]))
    model = keras.Model([picture, words], layers.Dense(len(table), activation="softmax")(dense))
    embedding.set_weights([np.asarray(table)])
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(recipe.training.learning_rate))
    return model

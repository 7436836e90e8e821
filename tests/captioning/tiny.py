"""Tiny recipes, data sets and features, and the model's equations written out once more, one word at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.config import Recipe, load_recipe
from captioning.corpus import Split, build_split, build_vocabulary, rows_of
from captioning.data import Dataset
from captioning.model import Captioner
from captioning.train import Trainer
from captioning.vocabulary import Vocabulary
from encoders import Features

FEATURES, GRID = 5, (6, 2, 3)
CELLS = ("LSTM", "GRU", "GRU-before", "RNN")
_COLOURS, _THINGS = ("red", "blue", "green"), ("dog", "ball", "child", "boat")
_PLACES = ("", "on grass", "in the water", "by a tall house", "near a small and very old tree")


def tiny_recipe(**overrides: Any) -> Recipe:
    """The default recipe with tiny sizes, a constant rate and no dropout; overrides are written section__key=value."""
    small = {
        "text__min_count": 1, "embedding__size": 3, "model__hidden": 4, "model__dense": 4,
        "model__picture_dropout": 0.0, "model__word_dropout": 0.0, "model__output_dropout": 0.0,
        "training__pictures_per_batch": 2, "training__epochs": 2, "training__learning_rate": 0.01,
        "training__schedule": "constant", "training__early_stopping": "none",
        "decoding__max_length": 6, "decoding__beam": 2,
        "model__attention_size": 3, "model__grid_components": 4, "model__annotation": 3,
    }  # fmt: skip
    chosen = {key.replace("__", "."): value for key, value in {**small, **overrides}.items()}
    return load_recipe("default").with_overrides(chosen)


def tiny_dataset(train: int = 7, validation: int = 3, captions: int = 3, seed: int = 0) -> Dataset:
    """Pictures with 1 to `captions` captions each, of mixed lengths."""
    rng = np.random.default_rng(seed)
    splits = {"train": train, "validation": validation, "test": 2}
    names = {split: tuple(f"{split}{k}.jpg" for k in range(n)) for split, n in splits.items()}
    made = {name: _captions(rng, 1 + k % captions) for split in splits for k, name in enumerate(names[split])}
    return Dataset("tiny", made, names, None)


def _captions(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    draws = [(rng.choice(_COLOURS), rng.choice(_THINGS), rng.choice(_PLACES)) for _ in range(count)]
    return tuple(f"A {colour} {thing} {place} .".replace("  ", " ") for colour, thing, place in draws)


def tiny_features(dataset: Dataset, size: int = FEATURES, seed: int = 0, encoder: str = "encoder-of-tests") -> Features:
    """Random features, one row and one grid a captioned picture."""
    rng, n = np.random.default_rng(seed), len(dataset.captions)
    rows = rng.normal(1.0, 2.0, (n, size)).astype(np.float32)
    grids = rng.normal(1.0, 2.0, (n, *GRID)).astype(np.float32)
    return Features(tuple(dataset.captions), {"features": rows, "grid": grids}, encoder, "random features")


def tiny_trainer(folder: Path, resume: bool = False, **overrides: Any) -> Trainer:
    """A trainer of the tiny recipe on the tiny data set."""
    dataset = tiny_dataset()
    return Trainer(tiny_recipe(**overrides), dataset, tiny_features(dataset), folder, resume=resume)


def tiny_split(recipe: Recipe, dtype: Any = np.float64, **sizes: int) -> tuple[Captioner, Split, Vocabulary]:
    """A model whose parameters are spread far enough to matter, the training split and the vocabulary."""
    dataset = tiny_dataset(**sizes)
    features, vocabulary = tiny_features(dataset), build_vocabulary(dataset, recipe)
    model = Captioner(recipe, len(vocabulary), FEATURES, dtype=dtype, grid=GRID)
    scatter(model)
    model.fit(*rows_of(features, dataset.names("train"), model))
    return model, build_split(dataset, "train", recipe, vocabulary, features, model), vocabulary


def scatter(model: Captioner, deviation: float = 0.5, seed: int = 1) -> None:
    """Give every parameter and the frozen embedding random values, padding's row zero."""
    rng = np.random.default_rng(seed)
    model.params.flat[...] = rng.normal(0, deviation, model.params.size)
    embedding = table_of(model)
    embedding[...] = rng.normal(0, 1, embedding.shape)
    embedding[0] = 0


def table_of(model: Captioner) -> np.ndarray[Any, Any]:
    """The embedding, trained or frozen."""
    table: np.ndarray[Any, Any] = model.tensors()["embedding.E"]
    return table


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive_hidden(model: Captioner, kind: str, words: Sequence[int]) -> np.ndarray[Any, Any]:
    """h after reading `words`, by the cells' equations with vectors alone."""
    p = model.params.scope("rnn")
    h = np.zeros(p["U"].shape[1])
    c = h
    for x in table_of(model)[list(words)]:
        a, u = p["W"] @ x + p["b"], p["U"] @ h
        if kind == "RNN":
            h = np.tanh(a + u)
        elif kind == "LSTM":
            i, f, o, g = np.split(a + u, 4)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        else:
            recurrent = np.split(p["U"], 3)
            ar, az, an = np.split(a, 3)
            br, bz, bn = np.split(p["b_U"], 3) if kind == "GRU" else (0, 0, 0)
            r, z = _sigmoid(ar + recurrent[0] @ h + br), _sigmoid(az + recurrent[1] @ h + bz)
            recalled = r * (recurrent[2] @ h + bn) if kind == "GRU" else recurrent[2] @ (r * h)
            h = (1 - z) * np.tanh(an + recalled) + z * h
    return h


def naive_log_p(model: Captioner, kind: str, picture: np.ndarray[Any, Any], words: Sequence[int]) -> Any:
    """log-probabilities of the word after the prefix `words`, (V,), of one prepared picture (F,)."""
    p = model.params
    seen = np.maximum(p["picture.W"] @ picture + p["picture.b"], 0)
    dense = np.maximum(p["dense.W"] @ (seen + naive_hidden(model, kind, words)) + p["dense.b"], 0)
    z = p["words.W"] @ dense + p["words.b"]
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def captions_of(split: Split) -> list[tuple[np.ndarray[Any, Any], list[int]]]:
    """(prepared picture, word numbers with both markers) of every caption, unpadded."""
    return [
        (split.features.vectors[k], [int(i) for i in ids[:n]])
        for k, ids, n in zip(split.picture, split.ids, split.lengths, strict=True)
    ]


def results(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history without its times."""
    return [{k: v for k, v in record.items() if "second" not in k} for record in history]


def stop_at(epoch: int, words: int) -> Callable[[Any], None]:
    """A report that interrupts in the middle of an epoch, as Ctrl-C does."""

    def report(progress: Any) -> None:
        if progress.epoch == epoch and progress.words >= words:
            raise KeyboardInterrupt

    return report

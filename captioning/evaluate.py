"""A trained captioner on pictures that it has not seen: loss, captions, and every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from captioning.checkpoint import Checkpoint
from captioning.config import Decoding
from captioning.corpus import Split, build_split
from captioning.data import Dataset
from captioning.decode import caption_pictures
from captioning.metrics import COCO, CiderD, best_constant_caption, constant_row, evaluate, human_row
from captioning.model import Captioner
from captioning.text import SCORING, clean
from captioning.train import mean_loss, source_of
from encoders import Features

Scores = Mapping[str, Mapping[str, float]]
References = Mapping[str, Sequence[Sequence[str]]]


def decoder_name(decoding: Decoding) -> str:
    """Return what a report calls a decoder: 'greedy', or 'beam 3'."""
    return "greedy" if decoding.beam == 1 else f"beam {decoding.beam}"


def score(captions: Mapping[str, str], references: References) -> Scores:
    """Return every protocol's metrics of one caption a picture."""
    return evaluate({name: clean(text, SCORING) for name, text in captions.items()}, references)


@dataclass(frozen=True)
class Evaluator:
    """A model and a split, ready to be measured."""

    checkpoint: Checkpoint
    model: Captioner
    split: Split
    references: References

    @classmethod
    def of(cls, checkpoint: Checkpoint, dataset: Dataset, features: Features, split: str, device: str) -> Evaluator:
        """Build the model and its split; features that are not the model's own are refused, both hashes named."""
        checkpoint.refuse_features(source_of(features))
        model = checkpoint.model(device)
        arrays = build_split(dataset, split, checkpoint.recipe, checkpoint.vocabulary, features, model)
        return cls(checkpoint, model, arrays, dataset.references(split))

    def loss(self) -> float:
        """Return the loss in nats a word."""
        return mean_loss(self.model, self.split)

    def captions(self, decoding: Decoding, shuffled: int | None = None) -> dict[str, str]:
        """Return a caption for each picture; with `shuffled`, a seed, each from the features of another picture."""
        features = self.split.features
        if shuffled is not None:
            features = features[self.model.xp.asarray(derangement(len(features), shuffled))]
        return caption_pictures(self.model, self.split.names, features, self.checkpoint.vocabulary, decoding)

    def decoders(self) -> dict[str, Decoding]:
        """Return greedy, and the recipe's beam (3 where the recipe is greedy), by name."""
        own = self.checkpoint.recipe.decoding
        chosen = (replace(own, beam=1), replace(own, beam=max(own.beam, 3) if own.beam == 1 else own.beam))
        return {decoder_name(decoding): decoding for decoding in chosen}

    def report(self) -> dict[str, Any]:
        """Return loss, captions and metrics of each decoder, and each picture's CIDEr-D under the last one."""
        decoders, captions = {}, {}
        for name, decoding in self.decoders().items():
            captions = self.captions(decoding)
            decoders[name] = {"metrics": score(captions, self.references), "captions": captions}
        each = CiderD(self.references).scores({name: clean(text, SCORING) for name, text in captions.items()})
        return {
            "loss": self.loss(),
            "decoders": decoders,
            "per_picture": {name: {"CIDEr-D": 100 * value} for name, value in each.items()},
        }


def derangement(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return a random order of n things in which none stays in its place."""
    order = np.random.default_rng(seed).permutation(n)
    shifted = np.empty(n, np.intp)
    shifted[order] = np.roll(order, 1)  # one cycle through all of them
    return shifted


def scale_rows(dataset: Dataset, references: References) -> dict[str, dict[str, Any]]:
    """Return the rows that need no model: the best constant caption, and one human against the others.

    The constant caption is the training caption that scores best on the validation pictures.
    """
    candidates = [clean(caption, SCORING) for _, caption in dataset.pairs("train")]
    constant = best_constant_caption([c for c in candidates if c], dataset.references("validation"))
    rows: dict[str, dict[str, Any]] = {
        "best constant caption": {"metrics": constant_row(constant, references), "note": " ".join(constant)}
    }
    people = {name: own for name, own in references.items() if len(own) >= 2}
    if people:
        fewest = min(len(own) for own in people.values())
        rows[f"one human against the other {fewest - 1}"] = {"metrics": human_row(people), "note": "each in turn"}
    return rows


def headline(scores: Scores) -> str:
    """Return COCO's metrics in one line for the terminal."""
    return "  ".join(f"{name} {value:.1f}" for name, value in scores[COCO].items())

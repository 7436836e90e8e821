"""A trained captioner on pictures that it has not seen: loss, captions, and every metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from captioning.checkpoint import Checkpoint, source_of
from captioning.config import Decoding, Recipe
from captioning.corpus import Split, build_split, cleaning_of, mean_loss
from captioning.data import Dataset
from captioning.decode import Hypothesis, decode
from captioning.explain import Word, explain
from captioning.metrics import COCO, PROTOCOLS, CiderD, best_constant_caption, constant_row, evaluate, human_row
from captioning.metrics.diversity import DIVERSITY, Diversity
from captioning.metrics.meteor import meteor, meteor_label
from captioning.metrics.significance import intervals
from captioning.metrics.statistics import Statistics, coco_statistics
from captioning.model import Captioner
from captioning.text import SCORING, Cleaning, clean
from encoders import Features

# Pictures whose words are explained together: their logits stay some 20 MB.
_EXPLAINED_TOGETHER = 200
WITHOUT_A = ", without 'a'"
Scores = Mapping[str, Mapping[str, float]]
References = Mapping[str, Sequence[Sequence[str]]]


def decoder_name(decoding: Decoding) -> str:
    """Return what a report calls a decoder: 'greedy', or 'beam 3'."""
    return "greedy" if decoding.beam == 1 else f"beam {decoding.beam}"


class Scorer:
    """Scores captions of a split by every protocol, under the cleaning that is fair to a recipe.

    COCO's metrics are always taken with one-letter words kept, as everybody prints them. A recipe whose cleaning drops
    those words can never emit 'a', so its captions are scored a second time against references cleaned as it cleans,
    and so are the paper's two readings; the protocols' names and descriptions say which is which.
    """

    def __init__(self, dataset: Dataset, split: str, recipe: Recipe) -> None:
        own = cleaning_of(recipe)
        self.own = SCORING if own == SCORING or own.keep_one_letter else own
        self._sets = {"": (SCORING, dataset.references(split))}
        if self.own != SCORING:
            self._sets[WITHOUT_A] = (self.own, dataset.references(split, self.own))
        # Novel is what no training caption says; a recipe that drops 'a' is held to captions cleaned as it cleans.
        self._diversity = Diversity(clean(caption, self.own) for _, caption in dataset.pairs("train"))

    @property
    def protocols(self) -> dict[str, str]:
        """What each protocol computes, for people."""
        note = "; one-letter words such as 'a' are dropped from captions and references alike"
        kept = {COCO: PROTOCOLS[COCO] + "; the word 'a' is kept"}
        if self.own == SCORING:
            return kept | {name: text for name, text in PROTOCOLS.items() if name != COCO}
        return kept | {(name + WITHOUT_A if name == COCO else name): text + note for name, text in PROTOCOLS.items()}

    def score(self, captions: Mapping[str, str]) -> Scores:
        """Return every protocol's metrics of one caption a picture."""
        return self._merged(lambda cleaning, own: evaluate({n: clean(t, cleaning) for n, t in captions.items()}, own))

    def constant(self, caption: str) -> Scores:
        """Return the metrics of this one caption for every picture."""
        return self._merged(lambda cleaning, own: constant_row(clean(caption, cleaning), own))

    def human(self) -> Scores:
        """Return the metrics of each reference against the others, for pictures that have at least two."""
        return self._merged(lambda _, own: human_row({name: some for name, some in own.items() if len(some) >= 2}))

    def statistics(self, captions: Mapping[str, str]) -> Statistics:
        """Return what each picture adds to COCO's metrics, one-letter words kept: for intervals and paired tests."""
        return coco_statistics({name: clean(text, SCORING) for name, text in captions.items()}, self.references)

    def measure(self, captions: Mapping[str, str]) -> tuple[Statistics, dict[str, float | None]]:
        """Return the statistics with all further metrics that are means over the pictures, and the further metrics.

        Those are METEOR (None where it cannot be measured), distinct and novel captions, words used and length.
        """
        said = {name: clean(text, SCORING) for name, text in captions.items()}
        scores = meteor(said, self.references)
        each = ({} if scores is None else {"METEOR": scores}) | self._diversity.each(said)
        further = {"METEOR": None if scores is None else fmean(scores), **self._diversity.scores(said)}
        return coco_statistics(said, self.references).beside(each), further

    def per_picture(self, captions: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Return each picture's CIDEr-D, COCO's, times 100."""
        each = CiderD(self.references).scores({name: clean(text, SCORING) for name, text in captions.items()})
        return {name: {"CIDEr-D": 100 * value} for name, value in each.items()}

    @property
    def references(self) -> References:
        """The references with one-letter words kept."""
        return self._sets[""][1]

    def _merged(self, scored: Callable[[Cleaning, References], Scores]) -> Scores:
        merged: dict[str, Mapping[str, float]] = {}
        for suffix, (cleaning, references) in self._sets.items():
            for name, metrics in scored(cleaning, references).items():
                merged[name + suffix if name == COCO else name] = metrics
        return merged


@dataclass(frozen=True)
class Evaluator:
    """A model and a split, ready to be measured."""

    checkpoint: Checkpoint
    model: Captioner
    split: Split
    scorer: Scorer

    @classmethod
    def of(cls, checkpoint: Checkpoint, dataset: Dataset, features: Features, split: str, device: str) -> Evaluator:
        """Build the model and its split; features that are not the model's own are refused, both hashes named."""
        checkpoint.refuse_features(source_of(features, checkpoint.recipe))
        model = checkpoint.model(device)
        arrays = build_split(dataset, split, checkpoint.recipe, checkpoint.vocabulary, features, model)
        return cls(checkpoint, model, arrays, Scorer(dataset, split, checkpoint.recipe))

    def loss(self) -> float:
        """Return the loss in nats a word."""
        return mean_loss(self.model, self.split)

    def search(self, decoding: Decoding, shuffled: int | None = None) -> list[list[Hypothesis]]:
        """Return each picture's captions, best first; with `shuffled`, a seed, from another picture's features."""
        features = self.split.features
        if shuffled is not None:
            features = features[self.model.xp.asarray(derangement(len(features), shuffled))]
        return decode(self.model, features, self.checkpoint.vocabulary, decoding)

    def captions(self, decoding: Decoding, shuffled: int | None = None) -> dict[str, str]:
        """Return the best caption of each picture by name."""
        return {name: best for name, (best, *_) in self._texts(self.search(decoding, shuffled)).items()}

    def _texts(self, found: Sequence[Sequence[Hypothesis]]) -> dict[str, list[str]]:
        text = self.checkpoint.vocabulary.decode
        return {name: [text(h.words) for h in own] for name, own in zip(self.split.names, found, strict=True)}

    def _words(self, captions: Sequence[Hypothesis]) -> dict[str, list[list[Any]]]:
        """Return the words of a caption a picture: each with its probability and attention's weights, if there are."""
        found: list[list[Word]] = []
        for first in range(0, len(captions), _EXPLAINED_TOGETHER):
            some = slice(first, first + _EXPLAINED_TOGETHER)
            found += explain(self.model, self.split.features[some], captions[some], self.checkpoint.vocabulary)
        return {name: [_plain(word) for word in words] for name, words in zip(self.split.names, found, strict=True)}

    def decoders(self) -> dict[str, Decoding]:
        """Return greedy, and the recipe's beam (3 where the recipe is greedy), by name."""
        own = self.checkpoint.recipe.decoding
        chosen = (replace(own, beam=1), replace(own, beam=max(own.beam, 3) if own.beam == 1 else own.beam))
        return {decoder_name(decoding): decoding for decoding in chosen}

    def shuffled(self) -> Scores:
        """Return the metrics of the last decoder's captions of other pictures: low, if it looks at what it is shown."""
        return self.scorer.score(self.captions(list(self.decoders().values())[-1], shuffled=1))

    def report(self) -> dict[str, Any]:
        """Return loss, captions and metrics of each decoder; of the last, each picture's CIDEr-D, words and beam."""
        decoders, captions = {}, {}
        for name, decoding in self.decoders().items():
            found = self.search(decoding)
            texts = self._texts(found)
            captions = {picture: best for picture, (best, *_) in texts.items()}
            statistics, further = self.scorer.measure(captions)
            decoders[name] = {
                "metrics": self.scorer.score(captions),
                "intervals": intervals(statistics),
                "further": further,
                "captions": captions,
            }
        decoders[name]["words"] = self._words([best for best, *_ in found])
        scores = ([[round(h.log_probability, 4), round(h.score, 4)] for h in own] for own in found)
        decoders[name]["beams"] = {
            picture: [[text, *numbers] for text, numbers in zip(own, each, strict=True)]
            for (picture, own), each in zip(texts.items(), scores, strict=True)
        }
        return {"loss": self.loss(), "decoders": decoders, "per_picture": self.scorer.per_picture(captions)}


def _plain(word: Word) -> list[Any]:
    """A word as JSON keeps it; a weight below 0.00005 is as good as none."""
    weights = None if word.weights is None else np.round(word.weights.astype(np.float64), 4).tolist()
    return [word.word, round(word.probability, 4), weights]


def derangement(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return a random order of n things in which none stays in its place."""
    order = np.random.default_rng(seed).permutation(n)
    shifted = np.empty(n, np.intp)
    shifted[order] = np.roll(order, 1)  # one cycle through all of them
    return shifted


def scale_rows(dataset: Dataset, scorer: Scorer) -> dict[str, dict[str, Any]]:
    """Return the rows that need no model: the best constant caption, and one human against the others.

    The constant caption is the training caption that scores best on the validation pictures.
    """
    candidates = [clean(caption, SCORING) for _, caption in dataset.pairs("train")]
    constant = " ".join(best_constant_caption([c for c in candidates if c], dataset.references("validation")))
    rows: dict[str, dict[str, Any]] = {
        "best constant caption": {"metrics": scorer.constant(constant), "note": constant}
    }
    most = max(len(own) for own in scorer.references.values())
    if most >= 2:
        rows[f"one human against the other {most - 1}"] = {"metrics": scorer.human(), "note": "each in turn"}
    return rows


def about_further() -> dict[str, str]:
    """Return what each figure of `Scorer.further` is, for people."""
    return {"METEOR": meteor_label(), **DIVERSITY}


def headline(scores: Scores) -> str:
    """Return COCO's metrics in one line for the terminal."""
    return "  ".join(f"{name} {value:.1f}" for name, value in scores[COCO].items())


def further_line(further: Mapping[str, float | None], intervals: Mapping[str, tuple[float, float]]) -> str:
    """Return the figures beside COCO's in one line, with their intervals; one that was not measured is left out."""
    formats = {"words used": "{:.0f}", "distinct": "{:.1f} %", "novel": "{:.1f} %"}
    known = {name: value for name, value in further.items() if value is not None}
    ranges = {name: " ({:.1f} to {:.1f})".format(*intervals[name]) for name in known if name in intervals}
    return "  ".join(
        f"{name} {formats.get(name, '{:.1f}').format(value)}{ranges.get(name, '')}" for name, value in known.items()
    )

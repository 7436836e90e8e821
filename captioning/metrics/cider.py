"""CIDEr-D: agreement with the references, weighted by how telling a word sequence is.

Vedantam, Zitnick and Parikh, CVPR 2015, section 5 ("CIDEr-D"), as COCO computes it:

    g_n(c)        the n-gram counts of caption c, each times log(pictures / pictures that mention it)
    CIDEr-D_n     = mean over references s of  exp(-(l_c - l_s)² / 2σ²) · min(g_n(c), g_n(s)) · g_n(s)
                                               / (|g_n(c)| |g_n(s)|)
    CIDEr-D       = 10 · mean over n = 1..4 of CIDEr-D_n,   σ = 6
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captioning.errors import CaptioningError
from captioning.metrics.ngrams import MAX_N, Gram, ngram_counts

SIGMA = 6.0
Tokens = Sequence[str]


@dataclass(frozen=True)
class _Vector:
    """A caption's weighted n-gram counts, their norm for each order, and the caption's length."""

    weights: dict[Gram, float]
    norms: tuple[float, ...]
    length: int


class CiderD:
    """Scores candidates against one set of references, whose n-grams are counted and weighted once.

    references: the tokenised references of every picture. They are also the corpus of the document
        frequencies, so a picture's score depends on the others; with a single picture every score is 0.
    """

    def __init__(self, references: Mapping[str, Sequence[Tokens]]) -> None:
        counted = {name: [ngram_counts(words) for words in own] for name, own in references.items()}
        mentions = Counter(gram for own in counted.values() for gram in set().union(*own))
        self._unseen = math.log(len(references)) if references else 0.0
        self._idf = {gram: self._unseen - math.log(pictures) for gram, pictures in mentions.items()}
        self._references = {name: [self._vector(counts) for counts in own] for name, own in counted.items()}

    def scores(self, candidates: Mapping[str, Tokens]) -> dict[str, float]:
        """CIDEr-D of each candidate, from 0 to 10, under its picture's name."""
        if missing := [name for name in candidates if not self._references.get(name)]:
            raise CaptioningError(f"{missing[0]} has a candidate but no reference to be scored against")
        vectors = {name: self._vector(ngram_counts(words)) for name, words in candidates.items()}
        return {name: _score(vector, self._references[name]) for name, vector in vectors.items()}

    def mean(self, candidates: Mapping[str, Tokens]) -> float:
        """The corpus score, from 0 to 10: the mean over the candidates."""
        scores = self.scores(candidates)
        if not scores:
            raise CaptioningError("there is nothing to score: no candidate captions")
        return math.fsum(scores.values()) / len(scores)

    def _vector(self, counts: Counter[Gram]) -> _Vector:
        weights = {gram: count * self._idf.get(gram, self._unseen) for gram, count in counts.items()}
        squares = [0.0] * MAX_N
        length = 0
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight * weight
            if len(gram) == 1:
                length += counts[gram]
        return _Vector(weights, tuple(map(math.sqrt, squares)), length)


def _score(candidate: _Vector, references: Sequence[_Vector]) -> float:
    return 10 * math.fsum(_similarity(candidate, reference) for reference in references) / len(references)


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    """The mean over n of the clipped cosine, times the length penalty; 0 to 1."""
    products = [0.0] * MAX_N
    for gram, weight in candidate.weights.items():
        other = reference.weights.get(gram)
        if other is not None:
            products[len(gram) - 1] += min(weight, other) * other
    cosines = [
        product / (own * other)
        for product, own, other in zip(products, candidate.norms, reference.norms, strict=True)
        if product
    ]
    return sum(cosines) / MAX_N * math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))

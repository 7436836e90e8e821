"""CIDEr-D: agreement with the references, weighted by how telling a word sequence is.

Vedantam, Zitnick and Parikh, CVPR 2015 ("CIDEr-D"), as COCO computes it:

    g_n(c)        the n-gram counts of caption c, each times log(pictures / pictures that mention it)
    CIDEr-D_n     = mean over references s of  exp(-(l_c - l_s)² / 2σ²) · min(g_n(c), g_n(s)) · g_n(s)
                                               / (|g_n(c)| |g_n(s)|)
    CIDEr-D       = 10 · mean over n = 1..4 of CIDEr-D_n,   σ = 6
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from captioning.errors import CaptioningError
from captioning.metrics.ngrams import MAX_N, Counts, Integers, NgramTable, distinct, pair

SIGMA = 6.0
Tokens = Sequence[str]
References = Mapping[str, Sequence[Tokens]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class _Order:
    """The references' n-grams of one length.

    idf : (grams,) log(pictures / pictures that mention it). norms : (references,) of the weighted counts.
    keys : pairs of picture and n-gram, sorted; reference, weight : which of its references holds it, and g_n(s) there.
    """

    idf: Floats
    norms: Floats
    keys: Integers
    reference: Integers
    weight: Floats


class CiderD:
    """Scores candidates against one set of references, whose n-grams are counted and weighted once.

    references : the tokenised references of every picture.
    corpus : the references that document frequencies are counted over, by picture. If not given, `references`: then a
        picture's score depends on the others, and with a single picture every score is 0.
    """

    def __init__(self, references: References, corpus: References | None = None) -> None:
        self._picture = {name: k for k, name in enumerate(references)}
        self._count = np.array([len(own) for own in references.values()], np.int64)
        self._first = np.cumsum(self._count) - self._count
        captions = list(chain.from_iterable(references.values()))
        self._length = np.array([len(words) for words in captions], np.int64)
        others = [] if corpus is None else list(chain.from_iterable(corpus.values()))
        self._table = NgramTable([*captions, *others])
        counts = list(self._table.counts(captions))
        counted = references if corpus is None else corpus
        self._unseen = math.log(len(counted)) if counted else 0.0
        held = self._frequencies(counted, counts if corpus is None else self._table.counts(others))
        self._orders = self._weighted(len(captions), counts, held)

    def rewards(self, names: Sequence[str], captions: Sequence[Tokens]) -> Floats:
        """CIDEr-D of each caption, from 0 to 10, on the picture beside it: (n,). A picture may have many captions.

        This is the reward of self-critical training (Rennie et al., CVPR 2017), fast enough for every batch.
        """
        picture = self._pictures(names)
        count = self._count[picture]
        candidate = np.repeat(np.arange(len(captions)), count)  # of each pair of a candidate and a reference
        first = np.cumsum(count) - count
        reference = np.arange(len(candidate)) + np.repeat(self._first[picture] - first, count)
        cosines = np.zeros(len(candidate))
        for order, (owner, gram, often) in zip(self._orders, self._table.counts(captions), strict=True):
            weight = often * self._idf(order, gram)
            norm = np.sqrt(np.bincount(owner, weight**2, len(captions)))
            hit, entry = _matches(order.keys, pair(picture[owner], gram))
            products = np.minimum(weight[hit], order.weight[entry]) * order.weight[entry]
            places = first[owner[hit]] + order.reference[entry] - self._first[picture[owner[hit]]]
            dots = np.bincount(places, products, len(candidate))
            cosines += dots / np.where(dots > 0, norm[candidate] * order.norms[reference], 1.0)
        gap = np.array([len(words) for words in captions], np.int64)[candidate] - self._length[reference]
        similar = cosines / MAX_N * np.exp(-(gap**2) / (2 * SIGMA**2))
        return 10 * np.bincount(candidate, similar, len(captions)) / count

    def scores(self, candidates: Mapping[str, Tokens]) -> dict[str, float]:
        """CIDEr-D of each candidate, from 0 to 10, under its picture's name."""
        rewards = self.rewards(list(candidates), list(candidates.values()))
        return dict(zip(candidates, rewards.tolist(), strict=True))

    def mean(self, candidates: Mapping[str, Tokens]) -> float:
        """The corpus score, from 0 to 10: the mean over the candidates."""
        scores = self.scores(candidates)
        if not scores:
            raise CaptioningError("there is nothing to score: no candidate captions")
        return math.fsum(scores.values()) / len(scores)

    def _pictures(self, names: Sequence[str]) -> Integers:
        places = np.array([self._picture.get(name, -1) for name in names], np.int64)
        for name, place in zip(names, places, strict=True):
            if place < 0 or not self._count[place]:
                raise CaptioningError(f"{name} has a candidate but no reference to be scored against")
        return places

    def _frequencies(self, corpus: References, counts: Iterable[Counts]) -> list[Integers]:
        """For each order, in how many pictures of the corpus each n-gram stands; `counts` are of its captions."""
        owner = np.repeat(np.arange(len(corpus)), [len(own) for own in corpus.values()])
        return [
            np.bincount(distinct(pair(owner[caption], gram)) & 0xFFFFFFFF, minlength=size)
            for (caption, gram, _), size in zip(counts, self._table.sizes, strict=True)
        ]

    def _weighted(self, captions: int, counts: Iterable[Counts], frequencies: Iterable[Integers]) -> list[_Order]:
        picture = np.repeat(np.arange(len(self._count)), self._count)
        orders = []
        for (owner, gram, often), held in zip(counts, frequencies, strict=True):
            idf = self._unseen - np.log(np.maximum(held, 1))
            weight = often * idf[gram]
            norms = np.sqrt(np.bincount(owner, weight**2, captions))
            keys = pair(picture[owner], gram)
            order = np.argsort(keys)
            orders.append(_Order(idf, norms, keys[order], owner[order], weight[order]))
        return orders

    def _idf(self, order: _Order, gram: Integers) -> Floats:
        """The weight of one mention of each n-gram; one that no reference holds weighs as if in one picture."""
        weight = np.full(len(gram), self._unseen)
        known = gram < len(order.idf)
        weight[known] = order.idf[gram[known]]
        return weight


def _matches(keys: Integers, wanted: Integers) -> tuple[Integers, Integers]:
    """All (i, j) with keys[j] == wanted[i], as two arrays; `keys` are sorted and may repeat."""
    first = np.searchsorted(keys, wanted)
    count = np.searchsorted(keys, wanted, side="right") - first
    hit = np.repeat(np.arange(len(wanted)), count)
    return hit, np.arange(len(hit)) + np.repeat(first - (np.cumsum(count) - count), count)

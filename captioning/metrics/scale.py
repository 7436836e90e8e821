"""Rows that give the other rows a scale: one caption for every picture, and a person against the others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from captioning.errors import CaptioningError
from captioning.metrics.bleu import bleu_from_counts, closest_length, possible_matches
from captioning.metrics.ngrams import MAX_N, Gram, ngram_counts
from captioning.metrics.protocols import References, Scores, Tokens, evaluate


def constant_row(caption: Tokens, references: References) -> Scores:
    """Every protocol's metrics where each picture gets this same caption."""
    return evaluate(dict.fromkeys(references, caption), references)


def best_constant_caption(captions: Iterable[Tokens], references: References) -> tuple[str, ...]:
    """The one of some captions that reaches the highest corpus BLEU-4 when every picture gets it.

    Choose it on pictures that are not the scored ones: on the validation split where the test split is
    scored. It is exact: how many pictures hold an n-gram at
    least k times is counted once, and a caption's matches are a sum of such counts.
    """
    holders = _holders(references)
    lengths = [[len(words) for words in own] for own in references.values()]
    closest: dict[int, int] = {}

    def counts(words: tuple[str, ...]) -> list[int]:
        if len(words) not in closest:
            closest[len(words)] = sum(closest_length(len(words), own) for own in lengths)
        matched = [0] * MAX_N
        for gram, count in ngram_counts(words).items():
            matched[len(gram) - 1] += sum(holders[gram, k] for k in range(1, count + 1))
        possible = [possible_matches(len(words), n) * len(references) for n in range(1, MAX_N + 1)]
        return [*matched, *possible, len(words) * len(references), closest[len(words)]]

    unique = sorted({tuple(words) for words in captions})
    if not unique or not references:
        raise CaptioningError("the best constant caption needs captions to choose from, and references")
    scores = bleu_from_counts(np.array([counts(words) for words in unique], np.float64))[:, -1]
    return unique[int(scores.argmax())]


def human_row(references: References) -> Scores:
    """One person against the others: each picture's k-th reference scored on the rest, averaged over k.

    Every picture needs at least two references. k runs as far as the picture with the fewest has one.
    """
    fewest = min((len(own) for own in references.values()), default=0)
    if fewest < 2:
        raise CaptioningError("the human row needs at least two references for every picture")
    folds = [
        evaluate({name: own[k] for name, own in references.items()}, _without(k, references)) for k in range(fewest)
    ]
    return {
        protocol: {metric: fmean(fold[protocol][metric] for fold in folds) for metric in metrics}
        for protocol, metrics in folds[0].items()
    }


def _without(k: int, references: References) -> dict[str, list[Tokens]]:
    return {name: [*own[:k], *own[k + 1 :]] for name, own in references.items()}


def _holders(references: References) -> Counter[tuple[Gram, int]]:
    """For (n-gram, k): the number of pictures with a reference that holds the n-gram at least k times."""
    holders: Counter[tuple[Gram, int]] = Counter()
    for own in references.values():
        holders.update({pair for words in own for pair in _at_least(words)})
    return holders


def _at_least(words: Sequence[str]) -> Iterable[tuple[Gram, int]]:
    return ((gram, k) for gram, count in ngram_counts(words).items() for k in range(1, count + 1))

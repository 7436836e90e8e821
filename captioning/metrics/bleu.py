"""BLEU: how many n-grams of a caption occur in its references (Papineni et al., ACL 2002).

    BLEU-N = BP · (p_1 · ... · p_N)^(1/N),   BP = min(1, exp(1 - r / c))

p_n is the share of the candidates' n-grams that some reference of the same picture holds, each counted at
most as often as in one reference; c is the candidates' length and r the references', taking for each
picture the reference closest in length (the shorter of two equally close), as COCO does.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from captioning.metrics.ngrams import MAX_N, Gram, ngram_counts

Tokens = Sequence[str]
Floats = np.ndarray[Any, np.dtype[np.float64]]
COUNTS = 2 * MAX_N + 2
METHOD1_EPSILON = 0.1


def corpus_bleu(pairs: Iterable[tuple[Tokens, Sequence[Tokens]]]) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4, from 0 to 1, of (candidate, references) pairs, by COCO's definition.

    Counts are summed over the corpus before they are divided. Where no n-gram of some order matches,
    BLEU of that order and above is exactly 0 (COCO's code adds 1e-15 there).
    """
    scores: list[float] = bleu_from_counts(bleu_counts(pairs).sum(axis=0)).tolist()
    return tuple(scores)


def bleu_counts(pairs: Iterable[tuple[Tokens, Sequence[Tokens]]]) -> Floats:
    """What each pair adds to a corpus: matched and possible n-grams of each order, own and closest length; (n, 10)."""
    rows = []
    for candidate, references in pairs:
        matched = clipped_matches(ngram_counts(candidate), [ngram_counts(reference) for reference in references])
        possible = [possible_matches(len(candidate), n) for n in range(1, MAX_N + 1)]
        closest = closest_length(len(candidate), [len(reference) for reference in references])
        rows.append([*matched, *possible, len(candidate), closest])
    return np.array(rows, np.float64).reshape(-1, COUNTS)


def bleu_from_counts(counts: Floats) -> Floats:
    """BLEU-1 to BLEU-4 (..., 4) of summed counts (..., 10) as `bleu_counts` gives them."""
    matched, possible, lengths = counts[..., :MAX_N], counts[..., MAX_N : 2 * MAX_N], counts[..., 2 * MAX_N :]
    with np.errstate(divide="ignore"):
        logs = np.log(matched / np.maximum(possible, 1))
    means = np.cumsum(logs, axis=-1) / np.arange(1, MAX_N + 1)
    length, closest = np.maximum(lengths[..., :1], 1), lengths[..., 1:]
    scores: Floats = np.exp(means + np.minimum(1 - closest / length, 0))
    return scores


def sentence_bleu(candidate: Tokens, references: Sequence[Tokens]) -> list[tuple[float, float]]:
    """BLEU-4, from 0 to 1, of one caption against each reference alone: (unsmoothed, smoothed).

    Unsmoothed, a caption without a match of some order scores 0. Smoothed, that order counts 0.1 matches
    (nltk's `method1`; Chen and Cherry, WMT 2014), and a caption shorter than the order counts one possible
    n-gram. A caption that shares no word scores 0 either way.
    """
    counts = ngram_counts(candidate)
    scores = []
    for reference in references:
        matched = clipped_matches(counts, [ngram_counts(reference)])
        smoothed = _smoothed_bleu(matched, len(candidate), len(reference)) if matched[0] else 0.0
        scores.append((smoothed if all(matched) else 0.0, smoothed))
    return scores


def clipped_matches(candidate: Counter[Gram], references: Sequence[Counter[Gram]]) -> list[int]:
    """For each order, the candidate's n-grams that occur in a reference, at most as often as in one."""
    matched = [0] * MAX_N
    for gram, count in candidate.items():
        most = max([reference.get(gram, 0) for reference in references])
        matched[len(gram) - 1] += min(count, most)
    return matched


def possible_matches(length: int, n: int) -> int:
    """The number of n-grams of order n in a caption of some length."""
    return max(length - n + 1, 0)


def closest_length(length: int, references: Sequence[int]) -> int:
    """The reference length closest to a candidate's, the shorter one of two."""
    return min(references, key=lambda other: (abs(other - length), other))


def brevity_penalty(length: int, reference: int) -> float:
    """1 for a candidate at least as long as its reference, exp(1 - reference / length) for a shorter one."""
    return 1.0 if length >= reference else math.exp(1 - reference / length)


def _smoothed_bleu(matched: Sequence[int], length: int, reference: int) -> float:
    precisions = (
        (matches or METHOD1_EPSILON) / max(possible_matches(length, n), 1) for n, matches in enumerate(matched, start=1)
    )
    return brevity_penalty(length, reference) * math.prod(precisions) ** (1 / MAX_N)

"""BLEU: how many n-grams of a caption occur in its references (Papineni et al., ACL 2002).

    BLEU-N = BP · (p_1 · ... · p_N)^(1/N),   BP = min(1, exp(1 - r / c))

p_n is the share of the candidates' n-grams that some reference of the same picture holds, each counted at
most as often as in one reference; c is the candidates' length and r the references', taking for each
picture the reference closest in length (the shorter of two equally close), as COCO does.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from captioning.metrics.ngrams import MAX_N, ngram_counts

Tokens = Sequence[str]
Counts = npt.NDArray[np.int64]
METHOD1_EPSILON = 0.1


def corpus_bleu(pairs: Iterable[tuple[Tokens, Sequence[Tokens]]]) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4, from 0 to 1, of (candidate, references) pairs, by COCO's definition.

    Counts are summed over the corpus before they are divided. Where no n-gram of some order matches,
    BLEU of that order and above is exactly 0 (COCO's code adds 1e-15 there).
    """
    matched = np.zeros(MAX_N, dtype=np.int64)
    possible = np.zeros(MAX_N, dtype=np.int64)
    length = closest = 0
    for candidate, references in pairs:
        matched += clipped_matches(candidate, references)
        possible += possible_matches(len(candidate))
        length += len(candidate)
        closest += closest_length(len(candidate), [len(reference) for reference in references])
    return bleu_from_counts(matched, possible, length, closest)


def bleu_from_counts(matched: Counts, possible: Counts, length: int, closest: int) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 of summed counts: matched and possible n-grams, candidates' and references' length."""
    if not length:
        return (0.0,) * MAX_N
    penalty = brevity_penalty(length, closest)
    scores = []
    log_sum = 0.0
    for n in range(MAX_N):
        log_sum += math.log(matched[n] / possible[n]) if matched[n] else -math.inf
        scores.append(penalty * math.exp(log_sum / (n + 1)))
    return tuple(scores)


def sentence_bleu(candidate: Tokens, reference: Tokens, *, smoothed: bool) -> float:
    """BLEU-4, from 0 to 1, of one caption against one reference.

    With `smoothed`, an order without a match counts 0.1 matches (nltk's `method1`; Chen and Cherry, WMT
    2014), and a caption shorter than the order counts one possible n-gram. A caption that shares no word
    scores 0 either way.
    """
    matched = clipped_matches(candidate, [reference])
    if not matched[0]:
        return 0.0
    if not smoothed and not matched.all():
        return 0.0
    possible = np.maximum(possible_matches(len(candidate)), 1)
    precisions = np.where(matched > 0, matched, METHOD1_EPSILON) / possible
    return brevity_penalty(len(candidate), len(reference)) * math.exp(float(np.log(precisions).mean()))


def clipped_matches(candidate: Tokens, references: Sequence[Tokens]) -> Counts:
    """For each order, the candidate's n-grams that occur in a reference, at most as often as in one."""
    counted = [ngram_counts(reference) for reference in references]
    matched = [0] * MAX_N
    for gram, count in ngram_counts(candidate).items():
        most = max(counts.get(gram, 0) for counts in counted)
        matched[len(gram) - 1] += min(count, most)
    return np.array(matched)


def possible_matches(length: int) -> Counts:
    """The number of n-grams of each order in a caption of some length."""
    return np.maximum(length - np.arange(MAX_N), 0)


def closest_length(length: int, references: Sequence[int]) -> int:
    """The reference length closest to a candidate's, the shorter one of two."""
    return min(references, key=lambda other: (abs(other - length), other))


def brevity_penalty(length: int, reference: int) -> float:
    """1 for a candidate at least as long as its reference, exp(1 - reference / length) for a shorter one."""
    return 1.0 if length >= reference else math.exp(1 - reference / length)

"""What each picture adds to COCO's metrics, so that a metric of any sample of pictures is a sum and a formula.

ROUGE-L and CIDEr-D are means over the pictures. BLEU is not: it is a formula of counts that are summed first, so a
sample of pictures needs the counts of each picture, not its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captioning.metrics.bleu import COUNTS, Floats, bleu_counts, bleu_from_counts
from captioning.metrics.cider import CiderD
from captioning.metrics.ngrams import MAX_N
from captioning.metrics.rouge import rouge_l

MEANS = ("ROUGE-L", "CIDEr-D")
METRICS = (*(f"BLEU-{n}" for n in range(1, MAX_N + 1)), *MEANS)


@dataclass(frozen=True)
class Statistics:
    """Of n pictures: BLEU's counts, ROUGE-L, CIDEr-D (both times 100) and the number 1, in the columns of (n, 13)."""

    names: tuple[str, ...]
    rows: Floats

    def scores(self) -> dict[str, float]:
        """COCO's metrics of all the pictures, times 100."""
        return {name: float(value) for name, value in zip(METRICS, metrics_of(self.rows.sum(axis=0)), strict=True)}


def coco_statistics(
    candidates: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Sequence[str]]]
) -> Statistics:
    """The statistics of one tokenised caption a picture."""
    pairs = [(words, references[name]) for name, words in candidates.items()]
    rouge = [100 * rouge_l(words, own) for words, own in pairs]
    cider = 100 * CiderD(references).rewards(list(candidates), list(candidates.values()))
    return Statistics(tuple(candidates), np.column_stack([bleu_counts(pairs), rouge, cider, np.ones(len(pairs))]))


def pooled(runs: Sequence[Statistics]) -> Statistics:
    """The mean over several runs on the same pictures: of ROUGE-L and CIDEr-D the metric's, of BLEU the counts'."""
    first = runs[0]
    if any(run.names != first.names for run in runs):
        raise ValueError("runs that are pooled must have captioned the same pictures in the same order")
    return Statistics(first.names, np.mean([run.rows for run in runs], axis=0))


def metrics_of(sums: Floats) -> Floats:
    """COCO's metrics (..., 6), times 100, of summed statistics (..., 13)."""
    means = sums[..., COUNTS:-1] / sums[..., -1:]
    return np.concatenate([100 * bleu_from_counts(sums[..., :COUNTS]), means], axis=-1)

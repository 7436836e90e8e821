"""What each picture adds to COCO's metrics, so that a metric of any sample of pictures is a sum and a formula.

ROUGE-L and CIDEr-D are means over the pictures. BLEU is not: it is a formula of counts that are summed first, so a
sample of pictures needs the counts of each picture, not its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from captioning.metrics.bleu import COUNTS, Floats, bleu_counts, bleu_from_counts
from captioning.metrics.cider import CiderD
from captioning.metrics.ngrams import MAX_N
from captioning.metrics.rouge import rouge_l

MEANS = ("ROUGE-L", "CIDEr-D")
METRICS = (*(f"BLEU-{n}" for n in range(1, MAX_N + 1)), *MEANS)


@dataclass(frozen=True)
class Statistics:
    """Of n pictures: BLEU's counts, ROUGE-L, CIDEr-D (both times 100) and the number 1, in the columns of (n, 13).

    metrics : what comes of them; others that are means over the pictures may follow COCO's, a column each.
    """

    names: tuple[str, ...]
    rows: Floats
    metrics: tuple[str, ...] = METRICS

    def beside(self, means: Mapping[str, Sequence[float]]) -> Statistics:
        """Return these statistics and further metrics, each the mean of a number a picture."""
        columns = [np.asarray(values, np.float64) for values in means.values()]
        rows = np.column_stack([self.rows[:, :-1], *columns, self.rows[:, -1]])
        return Statistics(self.names, rows, (*self.metrics, *means))

    def scores(self) -> dict[str, float]:
        """The metrics of all the pictures, COCO's times 100."""
        return {name: float(value) for name, value in zip(self.metrics, metrics_of(self.rows.sum(axis=0)), strict=True)}


def coco_statistics(
    candidates: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[Sequence[str]]]
) -> Statistics:
    """The statistics of one tokenised caption a picture."""
    pairs = [(words, references[name]) for name, words in candidates.items()]
    rouge = [100 * rouge_l(words, own) for words, own in pairs]
    cider = 100 * CiderD(references).rewards(list(candidates), list(candidates.values()))
    return Statistics(tuple(candidates), np.column_stack([bleu_counts(pairs), rouge, cider, np.ones(len(pairs))]))


def pooled(runs: Sequence[Statistics]) -> Statistics:
    """The mean over several runs on the same pictures: of BLEU the counts', of all else the metric's."""
    first = runs[0]
    if any(run.names != first.names for run in runs):
        raise ValueError("runs that are pooled must have captioned the same pictures in the same order")
    return replace(first, rows=np.mean([run.rows for run in runs], axis=0))


def metrics_of(sums: Floats) -> Floats:
    """The metrics of summed statistics: of (..., 13) COCO's (..., 6), times 100."""
    means = sums[..., COUNTS:-1] / sums[..., -1:]
    return np.concatenate([100 * bleu_from_counts(sums[..., :COUNTS]), means], axis=-1)

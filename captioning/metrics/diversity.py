"""What BLEU and CIDEr-D do not see: whether a captioner has words of its own, or says the same of everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

Tokens = Sequence[str]

DIVERSITY = {
    "distinct": "different captions, % of all captions",
    "novel": "captions that no training picture has, % of all captions",
    "words used": "different words in all captions together",
    "length": "words a caption, mean",
}
"""What each figure is, for people."""


class Diversity:
    """Counts what candidates say, beside the captions of the training pictures, cleaned as the candidates are."""

    def __init__(self, training: Iterable[Tokens]) -> None:
        self._known = {tuple(words) for words in training}

    def each(self, candidates: Mapping[str, Tokens]) -> dict[str, list[float]]:
        """Those figures that are means over the captions, of each caption."""
        said = candidates.values()
        new = [100.0 * (tuple(words) not in self._known) for words in said]
        return {"novel": new, "length": [float(len(words)) for words in said]}

    def scores(self, candidates: Mapping[str, Tokens]) -> dict[str, float]:
        """The figures of `DIVERSITY`, of at least one caption."""
        said, each = [tuple(words) for words in candidates.values()], self.each(candidates)
        return {
            "distinct": 100 * len(set(said)) / len(said),
            "novel": fmean(each["novel"]),
            "words used": len({word for words in said for word in words}),
            "length": fmean(each["length"]),
        }

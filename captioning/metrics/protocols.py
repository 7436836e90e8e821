"""The three ways of scoring that the report names beside every number.

COCO's scores are times 100, as they are usually printed; the readings of the paper run from 0 to 1, as it prints them.

Captions that are compared come from the same cleaning (`captioning.text.SCORING`), candidates and
references alike.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from captioning.errors import CaptioningError
from captioning.metrics.bleu import sentence_bleu
from captioning.metrics.rouge import rouge_l_f1
from captioning.metrics.statistics import coco_statistics

Tokens = Sequence[str]
Candidates = Mapping[str, Tokens]
References = Mapping[str, Sequence[Tokens]]
Scores = dict[str, dict[str, float]]

COCO = "COCO"
PAPER_SMOOTHED = "sentence BLEU, smoothed"
PAPER_PLAIN = "sentence BLEU, unsmoothed"

PROTOCOLS = {
    COCO: "COCO's definitions: corpus BLEU with the closest reference length, ROUGE-L with beta 1.2, CIDEr-D",
    PAPER_SMOOTHED: "a reading of the paper's averages: mean over pictures and references of the sentence "
    "BLEU-4 against that one reference, smoothed by nltk's method1; ROUGE-L F1 of the best reference",
    PAPER_PLAIN: "a reading of the paper's averages: mean over pictures and references of the sentence "
    "BLEU-4 against that one reference, unsmoothed; ROUGE-L F1 averaged over the references",
}
"""What each protocol computes, for people."""


def evaluate(candidates: Candidates, references: References) -> Scores:
    """Every protocol's metrics of one tokenised caption a picture.

    COCO's BLEU and ROUGE-L lie between 0 and 100, its CIDEr-D between 0 and 1000; the paper's between 0 and 1.
    """
    check_captions(candidates, references)
    return {COCO: coco_scores(candidates, references)} | paper_scores(candidates, references)


def coco_scores(candidates: Candidates, references: References) -> dict[str, float]:
    """BLEU-1..4, ROUGE-L and CIDEr-D by COCO's definitions, times 100."""
    if not candidates:
        raise CaptioningError("there is nothing to score: no candidate captions")
    return coco_statistics(candidates, references).scores()


def paper_scores(candidates: Candidates, references: References) -> Scores:
    """Both readings of the paper's averages, each with its BLEU-4 and ROUGE-L, times 100."""
    plain, smoothed, mean_f1, best_f1 = [], [], [], []
    for name, words in candidates.items():
        bleu = sentence_bleu(words, references[name])
        plain.append(fmean(score for score, _ in bleu))
        smoothed.append(fmean(score for _, score in bleu))
        f1 = [rouge_l_f1(words, other) for other in references[name]]
        mean_f1.append(fmean(f1))
        best_f1.append(max(f1))
    return {
        PAPER_SMOOTHED: {"BLEU-4": fmean(smoothed), "ROUGE-L": fmean(best_f1)},
        PAPER_PLAIN: {"BLEU-4": fmean(plain), "ROUGE-L": fmean(mean_f1)},
    }


def check_captions(candidates: Candidates, references: References) -> None:
    """Refuses candidates and references that do not belong together, naming a picture."""
    if not candidates:
        raise CaptioningError("there is nothing to score: no candidate captions")
    if missing := candidates.keys() ^ references.keys():
        raise CaptioningError(
            f"candidates and references must be of the same pictures; {len(missing)} have only one of the two, "
            f"such as {min(missing)}"
        )
    for name, own in references.items():
        if not own:
            raise CaptioningError(f"{name} has no reference caption to be scored against")
        if any(isinstance(words, str) for words in (candidates[name], own, *own)):
            raise CaptioningError(f"captions are scored as lists of words, but {name} has a plain string")

"""Caption metrics on word lists: BLEU, ROUGE-L, CIDEr-D, and the protocols that combine them."""

from captioning.metrics.cider import CiderD
from captioning.metrics.protocols import COCO, PAPER_PLAIN, PAPER_SMOOTHED, PROTOCOLS, coco_scores, evaluate
from captioning.metrics.scale import best_constant_caption, constant_row, human_row

__all__ = [
    "COCO",
    "PAPER_PLAIN",
    "PAPER_SMOOTHED",
    "PROTOCOLS",
    "CiderD",
    "best_constant_caption",
    "coco_scores",
    "constant_row",
    "evaluate",
    "human_row",
]

"""ROUGE-L: the longest common subsequence of a caption and a reference (Lin, ACL workshop 2004).

P = LCS / len(candidate),   R = LCS / len(reference),   F = (1 + beta²) P R / (R + beta² P)
"""

from collections.abc import Sequence

Tokens = Sequence[str]
COCO_BETA = 1.2


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L, from 0 to 1, by COCO's definition: beta 1.2, the largest P and the largest R of any reference."""
    common = [lcs_length(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(shared / len(reference) for shared, reference in zip(common, references, strict=True) if shared)
    return _f_score(precision, recall, COCO_BETA)


def rouge_l_f1(candidate: Tokens, reference: Tokens) -> float:
    """ROUGE-L, from 0 to 1, against one reference with beta 1."""
    shared = lcs_length(candidate, reference)
    return _f_score(shared / len(candidate), shared / len(reference), 1.0) if shared else 0.0


def lcs_length(first: Tokens, second: Tokens) -> int:
    """The length of the longest common subsequence, words in order but not necessarily adjacent.

    A row of the usual table is one integer whose zero bits mark where the row increases, so that a whole
    row costs one addition (Hyyrö, AWOCA 2004).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        here = row & places.get(word, 0)
        row = ((row + here) | (row - here)) & everywhere
    return len(first) - row.bit_count()


def _f_score(precision: float, recall: float, beta: float) -> float:
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)

"""Word sequences of one to four words, which BLEU and CIDEr-D count."""

from collections import Counter
from collections.abc import Sequence

MAX_N = 4
Gram = tuple[str, ...]


def ngram_counts(tokens: Sequence[str], max_n: int = MAX_N) -> Counter[Gram]:
    """How often each n-gram of 1 to `max_n` words occurs."""
    counts: Counter[Gram] = Counter()
    for n in range(1, max_n + 1):
        counts.update(zip(*(tokens[i:] for i in range(n)), strict=False))
    return counts

"""Word sequences of one to four words, which BLEU and CIDEr-D count."""

from collections import Counter
from collections.abc import Sequence

MAX_N = 4
Gram = tuple[str, ...]


def ngram_counts(tokens: Sequence[str]) -> Counter[Gram]:
    """How often each n-gram of 1 to 4 words occurs."""
    words = tuple(tokens)
    return Counter([words[i : i + n] for n in range(1, MAX_N + 1) for i in range(len(words) - n + 1)])

"""Word sequences of one to four words, which BLEU and CIDEr-D count."""

from collections import Counter
from collections.abc import Sequence

MAX_N = 4
Gram = tuple[str, ...]


def ngram_counts(tokens: Sequence[str], max_n: int = MAX_N) -> Counter[Gram]:
    """How often each n-gram of 1 to `max_n` words occurs."""
    words = tuple(tokens)
    return Counter(words[i : i + n] for n in range(1, max_n + 1) for i in range(len(words) - n + 1))

"""Word sequences of one to four words, which BLEU and CIDEr-D count: by hand for one caption, as arrays for many."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

MAX_N = 4
Gram = tuple[str, ...]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Counts = tuple[Integers, Integers, Integers]


def ngram_counts(tokens: Sequence[str]) -> Counter[Gram]:
    """How often each n-gram of 1 to 4 words occurs."""
    words = tuple(tokens)
    return Counter([words[i : i + n] for n in range(1, MAX_N + 1) for i in range(len(words) - n + 1)])


def pair(first: Integers, second: Integers) -> Integers:
    """Two numbers below 2³¹ as one, which sorts by the first and then by the second."""
    return first << 32 | second


def distinct(numbers: Integers) -> Integers:
    """The different numbers, sorted. `np.unique` of NumPy 2.3 hashes first, which takes six times as long here."""
    ordered = np.sort(numbers)
    found: Integers = ordered[_starts(ordered)]
    return found


def _starts(ordered: Integers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a sorted array has a number for the first time."""
    starts = np.ones(len(ordered), bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


class NgramTable:
    """A number for every n-gram of some captions: order n counts from 0 to `sizes[n - 1]`, not included.

    An n-gram is the pair of its first n - 1 words, already a number, and its last word; so all n-grams of any number
    of captions are found by four sorted searches, and two n-grams have one number only if they are the same words.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        self._words: dict[str, int] = {}
        self._known: list[Integers] = [np.empty(0, np.int64)] * MAX_N
        self._known = [distinct(keys) for _, keys, _ in self._orders(captions, self._words)]
        self.sizes = [len(known) for known in self._known]

    def counts(self, captions: Sequence[Sequence[str]]) -> Iterator[Counts]:
        """For each order: caption, n-gram and how often the one holds the other, sorted by caption and n-gram.

        N-grams that the table has not seen get numbers from `sizes[n - 1]` on, which hold for this call only.
        """
        for owner, _, numbers in self._orders(captions, dict(self._words)):
            pairs = np.sort(pair(owner, numbers))
            first = np.flatnonzero(_starts(pairs))
            yield pairs[first] >> 32, pairs[first] & 0xFFFFFFFF, np.diff(first, append=len(pairs))

    def _orders(self, captions: Sequence[Sequence[str]], words: dict[str, int]) -> Iterator[Counts]:
        """For each order: caption, key and number of every n-gram in order of place; unknown words enter `words`."""
        lengths = np.fromiter(map(len, captions), np.int64, len(captions))
        ids = [words.setdefault(word, len(words)) for word in chain.from_iterable(captions)]
        flat, owner = np.array(ids, np.int64), np.repeat(np.arange(len(captions)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))  # words from here to the caption's end
        start, before = np.arange(len(flat)), np.zeros(len(flat), np.int64)
        for n in range(1, MAX_N + 1):
            room = left[start] >= n
            start, before = start[room], before[room]
            keys = pair(before, flat[start + n - 1])
            before = _numbered(keys, self._known[n - 1])
            yield owner[start], keys, before


def _numbered(keys: Integers, known: Integers) -> Integers:
    """The place of each key among the sorted known ones; unknown keys count on from there."""
    place = np.searchsorted(known, keys)
    unknown = np.ones(len(keys), bool)
    inside = place < len(known)
    unknown[inside] = known[place[inside]] != keys[inside]
    strange = keys[unknown]
    place[unknown] = len(known) + np.searchsorted(distinct(strange), strange)
    return place

"""Which words may come next, and which are taken: the steps that beam search and drawing share."""

from __future__ import annotations

import numpy as np

from captioning.config import Decoding
from captioning.vocabulary import Vocabulary
from rnncore.array import Array, array_module
from rnncore.losses import log_softmax, rows_together

Integers = np.ndarray


def forbid(log_p: Array, vocabulary: Vocabulary, so_far: Integers, decoding: Decoding) -> None:
    """Set to minus infinity, in log_p (R, V), what may not follow the words so far, (R, t) on the host.

    Padding, start and unknown never come, the end not as the first word; nor does what would complete a sequence of
    `decoding.no_repeat` words that the caption has already.
    """
    first = (vocabulary.end,) if so_far.shape[1] == 0 else ()
    for never in (*vocabulary.never_emitted, *first):
        log_p[:, never] = -np.inf
    n, length = decoding.no_repeat, so_far.shape[1]
    if not n:
        return
    xp, last = array_module(log_p), so_far[:, length - n + 1 :] if n > 1 else so_far[:, :0]
    for start in range(length - n + 1):
        rows = np.flatnonzero((so_far[:, start : start + n - 1] == last).all(1))
        log_p[xp.asarray(rows), xp.asarray(so_far[rows, start + n - 1])] = -np.inf


def top(scores: Array, k: int) -> tuple[Array, Array]:
    """Return the k largest of each row of `scores` (R, V), falling, and where they are; the first of equals.

    They are taken out of `scores`, in whose place is minus infinity then, but for the last.

    For the small k of a beam, k passes of argmax are several times faster than a partition of the row.
    """
    xp = array_module(scores)
    values, places = xp.empty((len(scores), k), scores.dtype), xp.empty((len(scores), k), np.intp)
    some = rows_together(scores)
    for start in range(0, len(scores), some):
        part = scores[start : start + some]
        rows = xp.arange(len(part))
        for j in range(k):
            place = part.argmax(axis=1)
            places[start : start + some, j], values[start : start + some, j] = place, part[rows, place]
            if j + 1 < k:
                part[rows, place] = -np.inf
    return values, places


def sharpened(log_p: Array, decoding: Decoding) -> Array:
    """Return the log-probabilities (R, V) that words are drawn by: temperature, then top-k, then nucleus."""
    xp = array_module(log_p)
    if decoding.temperature != 1:
        log_p = log_softmax(log_p / log_p.dtype.type(decoding.temperature))
    if 0 < decoding.top_k < log_p.shape[1]:
        least = -xp.partition(-log_p, decoding.top_k - 1, axis=1)[:, decoding.top_k - 1, None]
        log_p = log_softmax(xp.where(log_p < least, -xp.inf, log_p).astype(log_p.dtype))
    if decoding.nucleus < 1:
        falling = -xp.sort(-log_p, axis=1)
        before = xp.cumsum(xp.exp(falling), axis=1) - xp.exp(falling)
        least = xp.where(before < decoding.nucleus, falling, xp.inf).min(1, keepdims=True)
        log_p = xp.where(log_p < least, -xp.inf, log_p).astype(log_p.dtype)
    return log_p


def drawn(log_p: Array, uniform: Array) -> Array:
    """Return a word for each row (R, V), by one number in [0, 1) a row: the inverse of the distribution function."""
    xp = array_module(log_p)
    total = xp.cumsum(xp.exp(log_p.astype(np.float64)), axis=1)
    found = (total <= (uniform * total[:, -1])[:, None]).sum(1)
    last = log_p.shape[1] - 1 - xp.argmax(log_p[:, ::-1] > -xp.inf, axis=1)  # rounding may pass the last possible word
    return xp.minimum(found, last)

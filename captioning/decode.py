"""Captions from a trained model: beam search, batched over pictures, one step of the network a word.

The state of every hypothesis is carried along, so no prefix is ever run again. A beam of 1 is greedy decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captioning.batch import Pictures, State
from captioning.config import Decoding
from captioning.model import Captioner
from captioning.vocabulary import Vocabulary
from rnncore.array import Array, array_module, to_host

# Pictures decoded together: enough for full products, few enough that all log-probabilities stay some 20 MB.
_TOGETHER = 500


@dataclass(frozen=True)
class Hypothesis:
    """One caption of a picture.

    words : word numbers, without markers.
    log_probability : of all its words, and of its end unless the length cap came first, in nats.
    score : what hypotheses are ranked by, log_probability / length ** length_normalisation, the end counted.
    """

    words: tuple[int, ...]
    log_probability: float
    score: float


def beam_search(
    model: Captioner, features: Pictures, vocabulary: Vocabulary, decoding: Decoding
) -> list[list[Hypothesis]]:
    """Return the `decoding.beam` best captions of each picture, best first.

    At every step the hypotheses of a picture, finished ones among them, compete by log-probability; the search ends
    when all that are left are finished, or at `decoding.max_length` words. Padding, start and unknown are never
    emitted, nor is the end as the first word: a caption has words, however little the model has learnt.

    features : of n pictures, prepared.
    """
    out: list[list[Hypothesis]] = []
    for first in range(0, len(features), _TOGETHER):
        out += _Beams(model, features[first : first + _TOGETHER], vocabulary, decoding).run()
    return out


def caption_pictures(
    model: Captioner, names: Sequence[str], features: Pictures, vocabulary: Vocabulary, decoding: Decoding
) -> dict[str, str]:
    """Return the best caption of each picture by name; features are prepared."""
    found = beam_search(model, features, vocabulary, decoding)
    return {name: vocabulary.decode(best[0].words) for name, best in zip(names, found, strict=True)}


class _Beams:
    """The hypotheses of some pictures: P pictures, K hypotheses each, row k of picture p at p·K + k."""

    def __init__(self, model: Captioner, features: Pictures, vocabulary: Vocabulary, decoding: Decoding) -> None:
        self.model, self.vocabulary, self.decoding = model, vocabulary, decoding
        P, K = len(features), decoding.beam
        self.words = np.full((P, K, decoding.max_length + 1), vocabulary.end, np.intp)
        self.score = np.full((P, K), -np.inf)
        self.score[:, 0] = 0.0  # all K begin alike, so only one may multiply
        self.finished = np.zeros((P, K), bool)
        self.active = np.arange(P)
        self.state: State = model.start(features).select(model.xp.repeat(model.xp.arange(P), K))
        self.last = np.full(P * K, vocabulary.start, np.intp)

    def run(self) -> list[list[Hypothesis]]:
        """Advance until every picture is done, and return their hypotheses, best first."""
        for length in range(self.decoding.max_length):
            if not len(self.active):
                break
            self._advance(length)
        return [self._ranked(p) for p in range(len(self.words))]

    def _advance(self, length: int) -> None:
        """Add a word to every hypothesis of the active pictures, and keep the K best of each."""
        K, active = self.decoding.beam, self.active
        log_p, state = self.model.step(self.state, self.model.xp.asarray(self.last))
        first = (self.vocabulary.end,) if length == 0 else ()
        for never in (*self.vocabulary.never_emitted, *first):
            log_p[:, never] = -np.inf
        best_p, best_word = (to_host(a).reshape(len(active), K, K) for a in top(log_p, K))

        finished = self.finished[active]
        best_p = np.where(finished[:, :, None], -np.inf, best_p.astype(np.float64))
        best_p[..., 0][finished] = 0.0  # a finished hypothesis stays as it is, once
        best_word = np.where(finished[:, :, None], self.vocabulary.end, best_word)
        total = (self.score[active][:, :, None] + best_p).reshape(len(active), K * K)
        self.score[active], choice = top(total, K)

        parent, rows = choice // K, np.arange(len(active))[:, None]
        word = best_word.reshape(len(active), K * K)[rows, choice]
        words = self.words[active[:, None], parent]
        words[:, :, length] = word
        self.words[active] = words
        self.finished[active] = word == self.vocabulary.end
        self._continue(state, rows * K + parent, word)

    def _continue(self, state: State, source: np.ndarray, word: np.ndarray) -> None:
        """Carry on with the rows `source`, leaving out pictures whose hypotheses are all finished."""
        going = ~self.finished[self.active].all(1)
        self.active = self.active[going]
        self.state = state.select(self.model.xp.asarray(source[going].ravel()))
        self.last = word[going].ravel()

    def _ranked(self, p: int) -> list[Hypothesis]:
        found = []
        for words, score in zip(self.words[p], self.score[p], strict=True):
            if np.isfinite(score):
                ends = np.flatnonzero(words == self.vocabulary.end)[0]
                power = float(ends + 1) ** self.decoding.length_normalisation
                found.append(Hypothesis(tuple(int(w) for w in words[:ends]), float(score), float(score / power)))
        return sorted(found, key=lambda h: -h.score)


def top(scores: Array, k: int) -> tuple[Array, Array]:
    """Return the k largest of each row of `scores` (R, V), falling, and where they are; the first of equals.

    For the small k of a beam, k passes of argmax are several times faster than a partition of the row.
    """
    xp = array_module(scores)
    rows = xp.arange(len(scores))
    left = scores.copy() if k > 1 else scores
    values, places = xp.empty((len(scores), k), scores.dtype), xp.empty((len(scores), k), np.intp)
    for j in range(k):
        places[:, j] = left.argmax(axis=1)
        values[:, j] = left[rows, places[:, j]]
        if j + 1 < k:
            left[rows, places[:, j]] = -np.inf
    return values, places

"""Captions from a trained model: beam search and drawing, batched over pictures, one step of the network a word.

The state of every hypothesis is carried along, so no prefix is ever run again. A beam of 1 is greedy decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np

from captioning.choice import drawn, forbid, sharpened, top
from captioning.config import Decoding
from captioning.vocabulary import Vocabulary
from rnncore.array import Array, to_host
from rnncore.losses import log_softmax

# Pictures decoded together: enough for full products, few enough that all log-probabilities stay some 20 MB.
_TOGETHER = 500


class Prepared(Protocol):
    """Prepared pictures, `captioning.batch.Pictures` or those of an ensemble."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Self: ...


class Where(Protocol):
    """Where the decoding of some captions stands."""

    def select(self, rows: Array) -> Self: ...


class Speaker(Protocol):
    """What can be decoded: a `Captioner`, or an `Ensemble` of some."""

    xp: ModuleType

    def start(self, pictures: Any) -> Any: ...

    def step(self, state: Any, words: Array) -> tuple[Array, Any]: ...


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


def decode(model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding) -> list[list[Hypothesis]]:
    """Return `decoding.beam` captions of each prepared picture, best first: found by beam search, or drawn.

    Padding, start and unknown are never emitted, nor is the end as the first word: a caption has words, however little
    the model has learnt.
    """
    if decoding.sample:
        return draw(model, pictures, vocabulary, decoding, np.random.default_rng(decoding.seed))
    return beam_search(model, pictures, vocabulary, decoding)


def beam_search(
    model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding
) -> list[list[Hypothesis]]:
    """Return the `decoding.beam` best captions of each picture, best first.

    At every step the hypotheses of a picture, finished ones among them, compete by log-probability; the search ends
    when all that are left are finished, or at `decoding.max_length` words. With several `groups` each competes within
    its own, and pays `diversity` for each word that a group before it has taken at this step, in what is taken, not in
    its log-probability.

    Source: A. Vijayakumar et al., Diverse beam search for improved description of complex scenes, AAAI 2018, section 4.
    """
    out: list[list[Hypothesis]] = []
    for first in range(0, len(pictures), _TOGETHER):
        out += _Beams(model, pictures[first : first + _TOGETHER], vocabulary, decoding).run()
    return out


def draw(
    model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding, rng: np.random.Generator
) -> list[list[Hypothesis]]:
    """Return `decoding.beam` captions of each picture whose words are drawn by `rng`, best first.

    `temperature`, `top_k` and `nucleus` say what is drawn from; a caption's log-probability is the model's own.
    """
    out: list[list[Hypothesis]] = []
    for first in range(0, len(pictures), _TOGETHER):
        out += _Draws(model, pictures[first : first + _TOGETHER], vocabulary, decoding).run(rng)
    return out


def caption_pictures(
    model: Speaker, names: Sequence[str], features: Prepared, vocabulary: Vocabulary, decoding: Decoding
) -> dict[str, str]:
    """Return the best caption of each picture by name; features are prepared."""
    found = decode(model, features, vocabulary, decoding)
    return {name: vocabulary.decode(best[0].words) for name, best in zip(names, found, strict=True)}


class _Hypotheses:
    """The hypotheses of some pictures: P pictures, K hypotheses each, row k of picture p at p·K + k."""

    def __init__(self, model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding) -> None:
        self.model, self.vocabulary, self.decoding = model, vocabulary, decoding
        P, K = len(pictures), decoding.beam
        self.words = np.full((P, K, decoding.max_length + 1), vocabulary.end, np.intp)
        self.score = np.zeros((P, K))
        self.finished = np.zeros((P, K), bool)
        self.state: Any = model.start(pictures).select(model.xp.repeat(model.xp.arange(P), K))
        self.last = np.full(P * K, vocabulary.start, np.intp)

    def ranked(self) -> list[list[Hypothesis]]:
        """Return the hypotheses of each picture, best first."""
        return [self._of_picture(p) for p in range(len(self.words))]

    def _of_picture(self, p: int) -> list[Hypothesis]:
        found = []
        for words, score in zip(self.words[p], self.score[p], strict=True):
            if np.isfinite(score):
                ends = np.flatnonzero(words == self.vocabulary.end)[0]
                power = float(ends + 1) ** self.decoding.length_normalisation
                found.append(Hypothesis(tuple(int(w) for w in words[:ends]), float(score), float(score / power)))
        return sorted(found, key=lambda h: -h.score)


class _Beams(_Hypotheses):
    """Beam search over them: at every step the best of each picture, group by group."""

    def __init__(self, model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding) -> None:
        super().__init__(model, pictures, vocabulary, decoding)
        self.size = decoding.beam // decoding.groups
        alike = np.arange(decoding.beam) % self.size > 0
        self.score[:, alike] = -np.inf  # all of a group begin alike, so only one may multiply
        self.active = np.arange(len(pictures))

    def run(self) -> list[list[Hypothesis]]:
        """Advance until every picture is done, and return their hypotheses, best first."""
        for length in range(self.decoding.max_length):
            if not len(self.active):
                break
            self._advance(length)
        return self.ranked()

    def _advance(self, length: int) -> None:
        """Add a word to every hypothesis of the active pictures, and keep the best of each group."""
        A, K, active = len(self.active), self.decoding.beam, self.active
        log_p, state = self.model.step(self.state, self.model.xp.asarray(self.last))
        forbid(log_p, self.vocabulary, self.words[active, :, :length].reshape(A * K, length), self.decoding)
        log_p = log_p.reshape(A, K, -1)
        parent, word = np.empty((A, K), np.intp), np.empty((A, K), np.intp)
        score = np.empty((A, K))
        for first in range(0, K, self.size):
            here = slice(first, first + self.size)
            score[:, here], choice, word[:, here] = self._best(log_p[:, here], here, word[:, :first])
            parent[:, here] = first + choice
        self.score[active] = score

        words = self.words[active[:, None], parent]
        words[:, :, length] = word
        self.words[active] = words
        self.finished[active] = word == self.vocabulary.end
        self._continue(state, np.arange(A)[:, None] * K + parent, word)

    def _best(self, log_p: Array, here: slice, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the scores of the best of a group, which of its hypotheses they come from, and their words.

        log_p : (A, size, V) of the group's own. taken : (A, ...) the words that groups before it have taken.
        """
        A, size, xp, end = len(log_p), self.size, self.model.xp, self.vocabulary.end
        for words in taken.T:
            still = np.flatnonzero(words != end)  # a caption that ends, or has ended, costs nobody anything
            log_p[xp.asarray(still), :, xp.asarray(words[still])] -= self.decoding.diversity
        best_p, best_word = (to_host(a).reshape(A, size, size) for a in top(log_p.reshape(A * size, -1), size))
        times = (best_word[..., None] == taken[:, None, None, :]).sum(-1) * (best_word != end)

        finished = self.finished[self.active, here]
        best_p = np.where(finished[:, :, None], -np.inf, best_p.astype(np.float64))
        best_p[..., 0][finished] = 0.0  # a finished hypothesis stays as it is, once
        best_word = np.where(finished[:, :, None], end, best_word)
        cost = np.where(finished[:, :, None], 0.0, self.decoding.diversity * times)
        total, choice = top((self.score[self.active, here][:, :, None] + best_p).reshape(A, -1), size)
        rows = np.arange(A)[:, None]
        return total + cost.reshape(A, -1)[rows, choice], choice // size, best_word.reshape(A, -1)[rows, choice]

    def _continue(self, state: Any, source: np.ndarray, word: np.ndarray) -> None:
        """Carry on with the rows `source`, leaving out pictures whose hypotheses are all finished."""
        going = ~self.finished[self.active].all(1)
        self.active = self.active[going]
        self.state = state.select(self.model.xp.asarray(source[going].ravel()))
        self.last = word[going].ravel()


class _Draws(_Hypotheses):
    """Drawing: every hypothesis goes its own way."""

    def run(self, rng: np.random.Generator) -> list[list[Hypothesis]]:
        """Draw until every caption has ended, and return them, best first."""
        xp, (P, K, _) = self.model.xp, self.words.shape
        words, score, going = self.words.reshape(P * K, -1), self.score.reshape(-1), np.arange(P * K)
        for length in range(self.decoding.max_length):
            if not len(going):
                break
            log_p, state = self.model.step(self.state, xp.asarray(self.last))
            own = log_p.copy()
            forbid(log_p, self.vocabulary, words[going, :length], self.decoding)
            uniform = rng.random(P * K)[going]  # of all, so that no caption's draws depend on when others end
            word = drawn(sharpened(log_softmax(log_p), self.decoding), xp.asarray(uniform))
            score[going] += to_host(own[xp.arange(len(going)), word])
            self.last = words[going, length] = to_host(word)
            rows = np.flatnonzero(self.last != self.vocabulary.end)
            self.state, going, self.last = state.select(xp.asarray(rows)), going[rows], self.last[rows]
        return self.ranked()

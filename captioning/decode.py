"""Captions from a trained model: beam search and drawing, batched over pictures, one step of the network a word.

The state of every hypothesis is carried along, so no prefix is ever run again. A beam of 1 is greedy decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np

from captioning.choice import drawn, forbid, sharpened, top
from captioning.config import Decoding
from captioning.vocabulary import Vocabulary
from rnncore.array import Array, to_host
from rnncore.losses import log_softmax

# Hypotheses that grow together: enough for full products, few enough that all log-probabilities stay some 20 MB with
# 3,000 words. Of twice as many more begin alike, which saves work where the network sees no picture.
_TOGETHER = 1500


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

    @property
    def looks(self) -> bool: ...

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
    parts = _parts(pictures, decoding.beam, _TOGETHER if model.looks else 2 * _TOGETHER)
    return [found for part in parts for found in _Beams(model, part, vocabulary, decoding).run()]


def draw(
    model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding, rng: np.random.Generator
) -> list[list[Hypothesis]]:
    """Return `decoding.beam` captions of each picture whose words are drawn by `rng`, best first.

    `temperature`, `top_k` and `nucleus` say what is drawn from; a caption's log-probability is the model's own.
    """
    parts = _parts(pictures, decoding.beam, _TOGETHER)
    return [found for part in parts for found in _Draws(model, part, vocabulary, decoding).run(rng)]


def _parts(pictures: Prepared, hypotheses: int, together: int) -> Iterator[Prepared]:
    """Yield the pictures that are decoded together, with so many hypotheses each."""
    count = max(1, together // hypotheses)
    for first in range(0, len(pictures), count):
        yield pictures[first : first + count]


def caption_pictures(
    model: Speaker, names: Sequence[str], features: Prepared, vocabulary: Vocabulary, decoding: Decoding
) -> dict[str, str]:
    """Return the best caption of each picture by name; features are prepared."""
    found = decode(model, features, vocabulary, decoding)
    return {name: vocabulary.decode(best[0].words) for name, best in zip(names, found, strict=True)}


class _Hypotheses:
    """The hypotheses of some pictures: P pictures, K hypotheses each.

    words (P, K, max_length + 1) : filled up with the end. score (P, K) : log-probabilities.
    going (P, K) : those that still grow. Only these have a row in `state` and `last`, picture by picture.
    """

    def __init__(
        self, model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding, going: np.ndarray
    ) -> None:
        self.model, self.vocabulary, self.decoding = model, vocabulary, decoding
        self.going = np.tile(going, (len(pictures), 1))
        self.score = np.where(self.going, 0.0, -np.inf)
        self.words = np.full((*self.going.shape, decoding.max_length + 1), vocabulary.end, np.intp)
        self.state: Any = model.start(pictures).select(model.xp.asarray(self.going.nonzero()[0]))
        self.last = np.full(self.going.sum(), vocabulary.start, np.intp)

    def _continue(self, state: Any, rows: np.ndarray, words: np.ndarray) -> None:
        """Let the hypotheses of these rows of `state` grow on, from the words that they have got."""
        all_as_they_are = len(rows) == len(self.last) and bool((rows == np.arange(len(rows))).all())
        self.state = state if all_as_they_are else state.select(self.model.xp.asarray(rows))
        self.last = words

    def ranked(self) -> list[list[Hypothesis]]:
        """Return the hypotheses of each picture, best first."""
        ends = (self.words == self.vocabulary.end).argmax(2)
        rank = self.score / (ends + 1.0) ** self.decoding.length_normalisation
        order = np.argsort(-rank, axis=1, kind="stable")
        ends, score, rank = (np.take_along_axis(a, order, axis=1) for a in (ends, self.score, rank))
        words = np.take_along_axis(self.words, order[..., None], axis=1)
        said = words[np.arange(words.shape[2]) < ends[..., None]].tolist()  # those of all hypotheses, on end
        rows = zip(*(a.tolist() for a in (ends.cumsum().reshape(ends.shape), ends, score, rank)), strict=True)
        return [
            [Hypothesis(tuple(said[stop - n : stop]), p, r) for stop, n, p, r in zip(*row, strict=True) if p > -np.inf]
            for row in rows
        ]


class _Beams(_Hypotheses):
    """Beam search over them: at every step the best of each picture, group by group."""

    def __init__(self, model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding) -> None:
        self.size = decoding.beam // decoding.groups
        first = np.arange(decoding.beam) % self.size == 0  # all of a group begin alike, so only one may multiply
        super().__init__(model, pictures, vocabulary, decoding, first)

    def run(self) -> list[list[Hypothesis]]:
        """Advance until every picture is done, and return their hypotheses, best first."""
        for length in range(self.decoding.max_length):
            if not self.going.any():
                break
            self._advance(length)
        return self.ranked()

    def _advance(self, length: int) -> None:
        """Add a word to every hypothesis that grows, and keep the best of each group."""
        log_p, state = self.model.step(self.state, self.model.xp.asarray(self.last))
        forbid(log_p, self.vocabulary, self.words[self.going, :length], self.decoding)
        active = np.flatnonzero(self.going.any(1))
        going, before = self.going[active], self.score[active]
        parent, word = np.empty(going.shape, np.intp), np.empty(going.shape, np.intp)
        score, each = np.empty(going.shape), np.arange(len(active))[:, None]
        for first in range(0, self.decoding.beam, self.size):
            here = slice(first, first + self.size)
            rows = log_p if self.decoding.groups == 1 else log_p[self.model.xp.asarray(_in_group(going, here))]
            gain, cost, words = self._ways(rows, going[:, here], word[:, :first])
            total, choice = top((before[:, here, None] + gain).reshape(len(active), -1), self.size)
            score[:, here], word[:, here] = total + cost[each, choice], words[each, choice]
            parent[:, here] = first + choice // self.size

        row = going.cumsum().reshape(going.shape) - 1  # of each hypothesis that was going
        words = self.words[active[:, None], parent]
        words[:, :, length] = word
        self.words[active], self.score[active] = words, score
        self.going[active] = still = (word != self.vocabulary.end) & (score > -np.inf)
        self._continue(state, row[each, parent][still], word[still])

    def _ways(self, log_p: Array, going: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how hypotheses of a group may go on: what each way adds to its score, what it paid, and its word.

        log_p : (R, V) of those that are `going`, (A, size). taken : (A, ...) the words that groups before have taken.
        The first is (A, size, size), the others (A, size * size). A finished hypothesis stays as it is, once.
        """
        (A, size), xp, end = going.shape, self.model.xp, self.vocabulary.end
        picture = going.nonzero()[0]
        for words in taken.T:
            rows = np.flatnonzero(words[picture] != end)  # a caption that has ended costs nobody anything
            log_p[xp.asarray(rows), xp.asarray(words[picture[rows]])] -= self.decoding.diversity
        gain, word = np.full((A, size, size), -np.inf), np.full((A, size, size), end)
        gain[..., 0] = 0.0
        gain[going], word[going] = (to_host(a) for a in top(log_p, size))
        times = (word[..., None] == taken[:, None, None, :]).sum(-1) * (word != end)
        return gain, (self.decoding.diversity * times).reshape(A, -1), word.reshape(A, -1)


def _in_group(going: np.ndarray, here: slice) -> np.ndarray:
    """Return the rows of the hypotheses `going`, (A, K), that belong to a group."""
    member = np.zeros(going.shape, bool)
    member[:, here] = True
    return np.flatnonzero(member[going])


class _Draws(_Hypotheses):
    """Drawing: every hypothesis goes its own way."""

    def __init__(self, model: Speaker, pictures: Prepared, vocabulary: Vocabulary, decoding: Decoding) -> None:
        super().__init__(model, pictures, vocabulary, decoding, np.ones(decoding.beam, bool))

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
            words[going, length] = chosen = to_host(word)
            rows = np.flatnonzero(chosen != self.vocabulary.end)
            going = going[rows]
            self._continue(state, rows, chosen[rows])
        return self.ranked()

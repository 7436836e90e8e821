"""Greedy decoding and beam search, held to plain searches that run the whole prefix again for every word."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import captioning.stepping
from captioning import decode
from captioning.batch import Pictures
from captioning.choice import top
from captioning.config import Decoding
from captioning.decode import Hypothesis, beam_search, caption_pictures
from captioning.model import Captioner
from captioning.stepping import State
from captioning.vocabulary import Vocabulary
from tests.captioning.tiny import CELLS, FEATURES, naive_log_p, scatter, tiny_recipe

# Seeds whose models give captions of several lengths.
SEEDS = {"LSTM": 6, "GRU": 6, "GRU-before": 6, "RNN": 2}
LogP = Callable[[tuple[int, ...]], Any]


@pytest.fixture(autouse=True)
def captions_that_begin_alike_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the few captions of these tests too; the last that grow are fewer still."""
    monkeypatch.setattr(captioning.stepping, "_FEW", 5)


def small(words: str, cell: str = "GRU", unknown: bool = True) -> tuple[Captioner, Vocabulary, Any]:
    """A model of some words and 16 pictures."""
    vocabulary = Vocabulary.build([words.split()], 1, unknown)
    recipe = tiny_recipe(model__cell=cell, model__hidden=12, model__dense=12)
    model = Captioner(recipe, len(vocabulary), FEATURES, dtype=np.float64)
    seed = SEEDS[cell]
    scatter(model, deviation=0.7, seed=seed)
    return model, vocabulary, Pictures(np.random.default_rng(seed).normal(size=(16, FEATURES)))


def next_words(model: Captioner, cell: str, picture: Any, vocabulary: Vocabulary) -> LogP:
    """log-probabilities after a prefix without markers, forbidden words at minus infinity."""

    def log_p(words: tuple[int, ...]) -> Any:
        out = naive_log_p(model, cell, picture, [vocabulary.start, *words])
        out[list(vocabulary.never_emitted)] = -np.inf
        if not words:
            out[vocabulary.end] = -np.inf
        return out

    return log_p


def naive_greedy(log_p: LogP, end: int, longest: int) -> tuple[int, ...]:
    words: tuple[int, ...] = ()
    while len(words) < longest:
        word = int(np.argmax(log_p(words)))
        if word == end:
            break
        words += (word,)
    return words


def naive_beam(log_p: LogP, end: int, decoding: Decoding) -> list[Hypothesis]:
    """Beam search on tuples: (log-probability, words), a finished caption carrying its end as last word."""
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for _ in range(decoding.max_length):
        grown = []
        for total, words in beam:
            if words[-1:] == (end,):
                grown.append((total, words))
            else:
                grown += [(total + p, (*words, w)) for w, p in enumerate(log_p(words)) if p > -np.inf]
        beam = sorted(grown, reverse=True)[: decoding.beam]
    plain = [(total, words[:-1] if words[-1] == end else words) for total, words in beam]
    power = decoding.length_normalisation
    found = [Hypothesis(words, float(p), float(p / (len(words) + 1) ** power)) for p, words in plain]
    return sorted(found, key=lambda h: -h.score)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.words for h in found] == [h.words for h in expected]
    for field in ("log_probability", "score"):
        values = [[getattr(h, field) for h in side] for side in (found, expected)]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_beam_of_one_is_greedy(cell: str) -> None:
    model, vocabulary, pictures = small("a b c d e f", cell)
    found = beam_search(model, pictures, vocabulary, Decoding(1, 7, 0.0))
    expected = [naive_greedy(next_words(model, cell, p, vocabulary), vocabulary.end, 7) for p in pictures.vectors]
    assert [[h.words for h in best] for best in found] == [[words] for words in expected]
    assert len({len(words) for words in expected}) > 2


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("beam", "cell"), [(2, "LSTM"), (3, "GRU"), (5, "GRU-before"), (4, "RNN")])
def test_beam_search_is_the_plain_search_of_each_picture(beam: int, cell: str, power: float) -> None:
    model, vocabulary, pictures = small("a b c d e f", cell)
    decoding = Decoding(beam, 6, power)
    found = beam_search(model, pictures, vocabulary, decoding)
    assert len(found) == len(pictures)
    for best, picture in zip(found, pictures.vectors, strict=True):
        log_p = next_words(model, cell, picture, vocabulary)
        assert_same(best, naive_beam(log_p, vocabulary.end, decoding))


def test_length_normalisation_changes_the_order() -> None:
    model, vocabulary, pictures = small("a b c d e f", "LSTM")
    plain, normalised = (
        [best[0].words for best in beam_search(model, pictures, vocabulary, Decoding(4, 6, power))]
        for power in (0.0, 1.0)
    )
    assert plain != normalised
    assert sum(map(len, plain)) < sum(map(len, normalised))


@pytest.mark.parametrize("unknown", [True, False])
def test_a_beam_wide_enough_finds_every_caption(unknown: bool) -> None:
    model, vocabulary, pictures = small("a b c", "LSTM", unknown)
    words = [k for k in range(len(vocabulary)) if k not in (*vocabulary.never_emitted, vocabulary.end)]
    longest = 3
    (found,) = beam_search(model, pictures[:1], vocabulary, Decoding(50, longest, 0.0))
    log_p = next_words(model, "LSTM", pictures.vectors[0], vocabulary)
    every = {}
    for length in range(1, longest + 1):
        for caption in product(words, repeat=length):
            whole = caption if length == longest else (*caption, vocabulary.end)
            every[caption] = sum(float(log_p(whole[:t])[w]) for t, w in enumerate(whole))
    assert len(every) == 3 + 9 + 27 == len(found)
    expected = sorted(every.items(), key=lambda item: -item[1])
    assert_same(found, [Hypothesis(caption, p, p) for caption, p in expected])


@pytest.mark.parametrize("beam", [1, 3])
def test_a_batch_gives_what_each_picture_gives(beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, vocabulary, pictures = small("a b c d e f")
    decoding = Decoding(beam, 6, 0.5)
    whole = beam_search(model, pictures, vocabulary, decoding)
    single = [beam_search(model, picture[None], vocabulary, decoding)[0] for picture in pictures]
    monkeypatch.setattr(decode, "_TOGETHER", 4)
    pieces = beam_search(model, pictures, vocabulary, decoding)
    for a, b, c in zip(whole, single, pieces, strict=True):
        assert_same(a, b)
        assert_same(a, c)


@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize("beam", [1, 4])
def test_padding_start_and_unknown_are_never_emitted(beam: int, unknown: bool) -> None:
    model, vocabulary, pictures = small("a b c d", unknown=unknown)
    model.params["words.b"][list(vocabulary.never_emitted)] += 50
    found = beam_search(model, pictures, vocabulary, Decoding(beam, 6, 0.0))
    forbidden = {*vocabulary.never_emitted, vocabulary.end}
    assert all(h.words for best in found for h in best)
    assert not any(forbidden & set(h.words) for best in found for h in best)


def test_captions_that_never_end_stop_at_the_cap() -> None:
    model, vocabulary, pictures = small("a b c d")
    model.params["words.b"][vocabulary.end] -= 100
    found = beam_search(model, pictures, vocabulary, Decoding(3, 5, 0.0))
    assert {len(h.words) for best in found for h in best} == {5}


def counted_steps(model: Captioner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many hypotheses each step of the network advances, filled while decoding."""
    steps: list[int] = []
    step = model.step

    def counted(state: State, words: Any) -> tuple[Any, State]:
        steps.append(len(words))
        return step(state, words)

    monkeypatch.setattr(model, "step", counted)
    return steps


@pytest.mark.parametrize("beam", [1, 3])
def test_a_model_that_would_say_nothing_says_its_likeliest_word(beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, vocabulary, pictures = small("a b c d")
    model.params["words.b"][vocabulary.end] += 100
    steps = counted_steps(model, monkeypatch)
    found = beam_search(model, pictures, vocabulary, Decoding(beam, 9, 0.0))
    words = [k for k in range(len(vocabulary)) if k not in (*vocabulary.never_emitted, vocabulary.end)]
    for best, picture in zip(found, pictures.vectors, strict=True):
        first = next_words(model, "GRU", picture, vocabulary)(())
        assert best[0].words == (max(words, key=lambda word: first[word]),)
    assert steps == [len(pictures), len(pictures) * beam]  # before the first word all hypotheses of a picture are one


def test_pictures_that_are_done_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, vocabulary, pictures = small("a b c d e f")
    steps = counted_steps(model, monkeypatch)
    found = beam_search(model, pictures, vocabulary, Decoding(1, 7, 0.0))
    lengths = [min(len(best[0].words) + 1, 7) for best in found]
    assert steps == [sum(n > t for n in lengths) for t in range(max(lengths))]


@pytest.mark.parametrize("groups", [1, 2])
def test_only_hypotheses_that_grow_are_run(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caption of as many words as a search may have at most has not ended: it would be run again."""
    model, vocabulary, pictures = small("a b c d e f")
    steps = counted_steps(model, monkeypatch)
    decoding = Decoding(4, 7, 0.0, groups=groups)
    expected = []
    for longest in range(1, decoding.max_length + 1):
        before = beam_search(model, pictures, vocabulary, replace(decoding, max_length=longest))
        expected.append(sum(len(h.words) == longest for best in before for h in best))
    steps.clear()
    beam_search(model, pictures, vocabulary, decoding)
    assert steps == [len(pictures) * groups, *(n for n in expected[:-1] if n)]
    assert len(set(steps)) > 3


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_best_come_sorted_and_differ(power: float) -> None:
    model, vocabulary, pictures = small("a b c d")
    for best in beam_search(model, pictures, vocabulary, Decoding(6, 5, power)):
        scores = [h.score for h in best]
        assert len(best) == 6 == len({h.words for h in best})
        assert scores == sorted(scores, reverse=True)
        assert all(h.log_probability < 0 for h in best)


def test_captions_by_name() -> None:
    model, vocabulary, pictures = small("a b c d")
    names = [f"{k}.jpg" for k in range(len(pictures))]
    decoding = Decoding(3, 5, 0.0)
    captions = caption_pictures(model, names, pictures, vocabulary, decoding)
    best = [found[0].words for found in beam_search(model, pictures, vocabulary, decoding)]
    assert list(captions) == names
    assert [c.split() for c in captions.values()] == [[vocabulary.words[w] for w in words] for words in best]
    assert caption_pictures(model, [], pictures[:0], vocabulary, decoding) == {}


def test_top_takes_the_first_of_equals() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [-np.inf, 0.0, -np.inf, -1.0]])
    kept = scores.copy()
    values, places = top(scores.copy(), 3)
    np.testing.assert_array_equal(values, [[3, 3, 2], [5, 5, 5], [0, -1, -np.inf]])
    np.testing.assert_array_equal(places[:2], [[1, 2, 3], [0, 1, 2]])
    np.testing.assert_array_equal(places[2, :2], [1, 3])
    np.testing.assert_array_equal(scores, kept)
    assert top(scores, 1)[1].tolist() == [[1], [0], [1]]


def test_top_is_a_sort() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    values, places = top(scores.copy(), 7)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, order, 1))
    assert values.dtype == np.float32

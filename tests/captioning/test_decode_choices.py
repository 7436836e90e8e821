"""Drawing words, diverse beams, sequences that may not repeat: each held to its definition on tiny models."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from captioning.choice import drawn, sharpened
from captioning.config import Decoding
from captioning.decode import beam_search, decode
from captioning.errors import CaptioningError
from tests.captioning.test_decode import next_words, small

DRAWN = Decoding(4, 6, 0.0, sample=True, seed=3)


def test_draws_follow_the_probabilities_of_the_model() -> None:
    model, vocabulary, pictures = small("a b c")
    many = replace(DRAWN, beam=3000, max_length=2)
    (found,) = decode(model, pictures[:1], vocabulary, many)
    log_p = next_words(model, "GRU", pictures.vectors[0], vocabulary)
    first = np.exp(log_p(()))
    first[vocabulary.end] = 0  # a caption has words
    counts = Counter(h.words[0] for h in found)
    for word, p in enumerate(first / first.sum()):
        assert counts[word] / 3000 == pytest.approx(p, abs=0.04)


def test_the_log_probability_of_a_draw_is_the_models_own() -> None:
    model, vocabulary, pictures = small("a b c d")
    odd = replace(DRAWN, temperature=0.7, top_k=3)
    for own, picture in zip(decode(model, pictures, vocabulary, odd), pictures.vectors, strict=True):
        log_p = next_words(model, "GRU", picture, vocabulary)
        for h in own:
            said = h.words if len(h.words) == 6 else (*h.words, vocabulary.end)
            expected = sum(float(log_p(said[:t])[w]) for t, w in enumerate(said))
            assert h.log_probability == pytest.approx(expected, rel=1e-10)


def test_equal_seeds_draw_equal_captions_whatever_is_decoded_beside_them() -> None:
    model, vocabulary, pictures = small("a b c d e f")
    one, again, other = (decode(model, pictures, vocabulary, replace(DRAWN, seed=seed)) for seed in (3, 3, 4))
    assert one == again != other
    assert decode(model, pictures[:5], vocabulary, DRAWN)[0] != []


def test_top_1_is_greedy() -> None:
    model, vocabulary, pictures = small("a b c d e f")
    greedy = beam_search(model, pictures, vocabulary, Decoding(1, 6, 0.0))
    for settings in ({"top_k": 1}, {"nucleus": 1e-9}, {"temperature": 1e-3}):
        found = decode(model, pictures, vocabulary, replace(DRAWN, beam=1, **settings))
        assert [own[0].words for own in found] == [own[0].words for own in greedy], settings


def test_what_is_drawn_from() -> None:
    log_p = np.log(np.array([[0.4, 0.1, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]]))
    kept = {
        "top_k": np.exp(sharpened(log_p, replace(DRAWN, top_k=2))),
        "nucleus": np.exp(sharpened(log_p, replace(DRAWN, nucleus=0.65))),
        "temperature": np.exp(sharpened(log_p, replace(DRAWN, temperature=0.5))),
    }
    np.testing.assert_allclose(kept["top_k"], [[4 / 7, 0, 3 / 7, 0], [0, 0, 3 / 7, 4 / 7]])
    np.testing.assert_array_equal(kept["nucleus"] > 0, [[True, False, True, False], [False, False, True, True]])
    np.testing.assert_allclose(kept["temperature"][0], np.array([16, 1, 9, 4]) / 30)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_what_cannot_be_is_never_drawn(uniform: float) -> None:
    log_p = np.array([[-np.inf, -1.0, -np.inf, -1.0, -np.inf]] * 3)
    assert set(drawn(log_p, np.full(3, uniform)).tolist()) <= {1, 3}


def repeats(words: tuple[int, ...], n: int) -> bool:
    grams = [words[k : k + n] for k in range(len(words) - n + 1)]
    return len(set(grams)) < len(grams)


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_sequences_do_not_repeat(n: int, sample: bool) -> None:
    model, vocabulary, pictures = small("a b c")
    model.params["words.b"][vocabulary.end] -= 3
    plain = Decoding(3, 12, 0.0, sample=sample)
    free, bound = (decode(model, pictures, vocabulary, replace(plain, no_repeat=k)) for k in (0, n))
    assert any(repeats(h.words, n) for own in free for h in own)
    assert not any(repeats(h.words, n) for own in bound for h in own)


def naive_diverse(log_p: Any, end: int, decoding: Decoding) -> list[tuple[int, ...]]:
    """Diverse beam search on tuples, group by group at every step."""
    size = decoding.beam // decoding.groups
    beams: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(decoding.groups)]
    for _ in range(decoding.max_length):
        taken: Counter[int] = Counter()
        for g, beam in enumerate(beams):
            grown = []
            for total, words in beam:
                if words[-1:] == (end,):
                    grown.append((total, total, words))
                    continue
                p = log_p(words)
                for w in range(len(p)):
                    if p[w] > -np.inf and not (w == end and not words):
                        cost = decoding.diversity * taken[w] * (w != end)
                        grown.append((total + p[w] - cost, total + p[w], (*words, w)))
            best = sorted(grown, reverse=True)[:size]
            beams[g] = [(total, words) for _, total, words in best]
            taken.update(words[-1] for _, words in beams[g])
    plain = [(total, words[:-1] if words[-1] == end else words) for beam in beams for total, words in beam]
    return [words for _, words in sorted(plain, key=lambda pair: -pair[0])]


@pytest.mark.parametrize(("beam", "groups"), [(4, 2), (3, 3), (6, 2)])
def test_diverse_beam_search_is_the_plain_one_of_each_picture(beam: int, groups: int) -> None:
    model, vocabulary, pictures = small("a b c d e f")
    decoding = Decoding(beam, 5, 0.0, groups=groups, diversity=0.8)
    for own, picture in zip(beam_search(model, pictures, vocabulary, decoding), pictures.vectors, strict=True):
        log_p = next_words(model, "GRU", picture, vocabulary)
        assert [h.words for h in own] == naive_diverse(log_p, vocabulary.end, decoding)


def test_diversity_finds_more_different_captions() -> None:
    model, vocabulary, pictures = small("a b c d e f")
    firsts = []
    for groups in (1, 4):
        found = beam_search(model, pictures, vocabulary, Decoding(4, 6, 0.0, groups=groups, diversity=2.0))
        firsts.append(sum(len({h.words[0] for h in own}) for own in found))
    assert firsts[1] > firsts[0]


def test_a_beam_must_divide_into_its_groups() -> None:
    with pytest.raises(CaptioningError, match=r"a multiple of decoding\.groups, not 3 of 2"):
        Decoding(3, 5, 0.0, groups=2)

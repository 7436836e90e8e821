"""Cleaning: the paper's counts on the real captions, and the rules one by one."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.data import load_dataset
from captioning.text import PAPER, SCORING, STOP_WORDS, Cleaning, clean


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A child in a pink dress .", ["child", "in", "pink", "dress"]),
        ("The dog's T-shirt, wet!", ["the", "dogs", "tshirt", "wet"]),
        ("2 men and 3rd woman", ["men", "and", "woman"]),
        ("a_b c", ["ab"]),
        ("cafe\u0301 \u2019twas \u201cfun\u201d", ["café", "twas", "fun"]),
        ("startseq a dog endseq", ["dog"]),
        ("A", []),
        ("", []),
    ],
)
def test_the_papers_cleaning(caption: str, words: list[str]) -> None:
    assert clean(caption, PAPER) == words


def test_one_letter_words_are_kept_on_request() -> None:
    assert clean("A man in a T shirt .", SCORING) == ["a", "man", "in", "a", "t", "shirt"]


def test_stop_words_go_only_on_request() -> None:
    caption = "The dog isn't on the beach"
    assert clean(caption, PAPER) == ["the", "dog", "isnt", "on", "the", "beach"]
    assert clean(caption, Cleaning(keep_one_letter=False, remove_stop_words=True)) == ["dog", "beach"]


def test_stop_words_are_as_cleaning_leaves_them() -> None:
    assert all(word.isalpha() and word.islower() for word in STOP_WORDS)


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_is_cleaning_once(caption: str) -> None:
    words = clean(caption, SCORING)
    assert all(word.isalpha() for word in words)
    assert clean(" ".join(words), SCORING) == words


@settings(deadline=None)
@given(st.text(alphabet=string.printable))
def test_on_ascii_punctuation_means_string_punctuation(caption: str) -> None:
    bare = caption.lower().translate(str.maketrans("", "", string.punctuation))
    expected = [w for w in bare.split() if w.isalpha() and len(w) > 1 and w not in ("startseq", "endseq")]
    assert clean(caption, PAPER) == expected


@pytest.mark.data
def test_unique_words_of_all_captions(real_data: Path) -> None:
    captions = load_dataset(real_data / "flickr8k").captions
    words = {word for own in captions.values() for caption in own for word in clean(caption, PAPER)}
    assert sum(len(own) for own in captions.values()) == 40_460
    assert len(words) == 8_763


@pytest.mark.data
def test_removing_stop_words_does_not_reach_the_papers_count(real_data: Path) -> None:
    captions = load_dataset(real_data / "flickr8k").captions
    cleaning = Cleaning(keep_one_letter=False, remove_stop_words=True)
    words = {word for own in captions.values() for caption in own for word in clean(caption, cleaning)}
    assert len(words) < 8_763

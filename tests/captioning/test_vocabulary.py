"""Vocabularies: the real counts, the order, encoding and decoding, and refused files."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.text import PAPER, clean
from captioning.vocabulary import Vocabulary

CAPTIONS = [["dog", "runs"], ["dog", "sits"], ["cat", "runs", "runs"]]
words = st.lists(st.sampled_from(["dog", "cat", "runs", "sits"]), max_size=8)


@pytest.fixture(scope="module")
def training(real_data: Path) -> list[list[str]]:
    return [clean(caption, PAPER) for _, caption in load_dataset(real_data / "flickr8k").pairs("train")]


@pytest.mark.data
def test_types_in_the_training_captions(training: list[list[str]]) -> None:
    assert len(training) == 30_000
    assert len(Vocabulary.build(training, 1)) == 7_578 + 1


@pytest.mark.data
def test_vocabulary_longest_caption_and_samples(training: list[list[str]]) -> None:
    vocabulary = Vocabulary.build(training, 10)
    assert len(vocabulary) == 1_651 + 1
    assert max(len(caption) + 2 for caption in training) == 34
    assert sum(len(vocabulary.encode(caption)) - 1 for caption in training) == 292_328
    assert vocabulary.words[:3] == ("<pad>", "endseq", "startseq")


def test_order_is_by_count_then_alphabet() -> None:
    assert Vocabulary.build(CAPTIONS, 1).words == ("<pad>", "endseq", "runs", "startseq", "dog", "cat", "sits")
    assert Vocabulary.build(CAPTIONS, 2, unknown=True).words[:2] == ("<pad>", "<unk>")


def test_order_of_captions_does_not_matter() -> None:
    assert Vocabulary.build(CAPTIONS, 1).hash == Vocabulary.build(CAPTIONS[::-1], 1).hash


def test_unknown_words_are_dropped_or_marked() -> None:
    dropping = Vocabulary.build(CAPTIONS, 2)
    marking = Vocabulary.build(CAPTIONS, 2, unknown=True)
    assert [dropping.words[i] for i in dropping.encode(["cat", "runs"])] == ["startseq", "runs", "endseq"]
    assert [marking.words[i] for i in marking.encode(["cat", "runs"])] == ["startseq", "<unk>", "runs", "endseq"]
    assert dropping.unknown is None
    assert dropping.never_emitted == (0, dropping.start)
    assert marking.never_emitted == (0, marking.start, 1)


def test_markers_stay_when_a_caption_is_cut() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, 1)
    cut = vocabulary.encode(["dog", "runs", "sits"], max_length=4)
    assert [vocabulary.words[i] for i in cut] == ["startseq", "dog", "runs", "endseq"]
    assert vocabulary.encode(["dog"], max_length=2) == [vocabulary.start, vocabulary.end]
    with pytest.raises(CaptioningError, match="at least 2, not 1"):
        vocabulary.encode(["dog"], max_length=1)


@settings(deadline=None)
@given(words)
def test_decoding_undoes_encoding(tokens: list[str]) -> None:
    vocabulary = Vocabulary.build(CAPTIONS, 1)
    numbers = vocabulary.encode(tokens)
    assert vocabulary.decode([0, *numbers, 0, 0, vocabulary.index["dog"]]) == " ".join(tokens)


def test_decoding_refuses_numbers_outside() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, 1)
    for number in (-1, len(vocabulary)):
        with pytest.raises(CaptioningError, match=f"{number} is outside a vocabulary of 7 words"):
            vocabulary.decode([number])


def test_captions_must_come_without_markers() -> None:
    with pytest.raises(CaptioningError, match="startseq"):
        Vocabulary.build([["startseq", "dog"]], 1)
    with pytest.raises(CaptioningError, match="there are none"):
        Vocabulary.build([], 1)


def test_json_keeps_words_and_hash() -> None:
    vocabulary = Vocabulary.build([*CAPTIONS, ["café"]], 1, unknown=True)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again == vocabulary
    assert again.hash == vocabulary.hash
    assert len(vocabulary.hash) == 64
    assert Vocabulary.build(CAPTIONS, 1).hash != vocabulary.hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "list of strings"),
        ('{"words": [1]}', "list of strings"),
        (json.dumps({"words": ["dog", "startseq", "endseq"]}), "begins with '<pad>'"),
        (json.dumps({"words": ["<pad>", "startseq"]}), "endseq"),
        (json.dumps({"words": ["<pad>", "startseq", "endseq", "dog", "dog"]}), "twice here: dog"),
    ],
)
def test_damaged_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(CaptioningError, match=message):
        Vocabulary.from_json(text)

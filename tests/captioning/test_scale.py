"""The rows that give scores a scale: the known figures on the real test pictures, and small cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import corpus_bleu as nltk_corpus_bleu

from captioning.data import Dataset, load_dataset
from captioning.errors import CaptioningError
from captioning.metrics import COCO, best_constant_caption, constant_row, evaluate, human_row
from captioning.metrics.bleu import corpus_bleu
from captioning.text import SCORING, clean

CONSTANT = "a man in a blue shirt standing in front of a building"
HEADLINE = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D")


@pytest.fixture(scope="module")
def data(real_data: Path) -> Dataset:
    return load_dataset(real_data / "flickr8k")


@pytest.mark.data
def test_the_constant_caption_on_the_test_pictures(data: Dataset) -> None:
    scores = constant_row(CONSTANT.split(), data.references("test"))[COCO]
    assert [scores[metric] for metric in HEADLINE] == pytest.approx([40.4, 8.7, 32.9, 8.4], abs=0.1)


@pytest.mark.data
def test_one_human_against_the_other_four(data: Dataset) -> None:
    scores = human_row(data.references("test"))[COCO]
    assert [scores[metric] for metric in HEADLINE] == pytest.approx([64.7, 21.4, 49.5, 82.1], abs=0.1)


@pytest.mark.data
def test_bleu_of_a_human_is_nltks(data: Dataset) -> None:
    references = data.references("test")
    long = {name: own for name, own in references.items() if len(own[0]) >= 4}
    pairs = [(own[0], own[1:]) for own in long.values()]
    theirs = [nltk_corpus_bleu([r for _, r in pairs], [c for c, _ in pairs], [1 / n] * n) for n in range(1, 5)]
    assert corpus_bleu(pairs) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.data
def test_the_best_constant_caption_of_the_validation_pictures(data: Dataset) -> None:
    captions = [clean(caption, SCORING) for _, caption in data.pairs("train")]
    assert " ".join(best_constant_caption(captions, data.references("validation"))) == CONSTANT


REFERENCES = {
    "1": [["a", "man", "runs", "on", "a", "man"], ["a", "man", "sits", "on", "a", "bench"]],
    "2": [["a", "dog", "runs", "on", "a", "beach"], ["the", "dog", "runs", "on", "a", "beach"]],
    "3": [["a", "dog", "sits", "on", "a", "bench"], ["a", "man", "sits", "on", "a", "bench", "too"]],
}


captions = st.lists(st.sampled_from(["a", "dog", "runs"]), min_size=1, max_size=8)
corpora = st.lists(st.lists(captions, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(captions, min_size=1, max_size=6), corpora)
def test_the_best_constant_caption_beats_every_other(choice: list[list[str]], corpus: list[Any]) -> None:
    def bleu_4(words: Sequence[str]) -> float:
        return corpus_bleu([(words, own) for own in corpus])[-1]

    best = best_constant_caption(choice, {str(i): own for i, own in enumerate(corpus)})
    assert list(best) in choice
    assert bleu_4(best) == pytest.approx(max(bleu_4(words) for words in choice))


def test_each_reference_is_scored_on_the_others() -> None:
    first = evaluate({n: own[0] for n, own in REFERENCES.items()}, {n: own[1:] for n, own in REFERENCES.items()})
    second = evaluate({n: own[1] for n, own in REFERENCES.items()}, {n: own[:1] for n, own in REFERENCES.items()})
    for protocol, metrics in human_row(REFERENCES).items():
        for metric, score in metrics.items():
            assert score == pytest.approx((first[protocol][metric] + second[protocol][metric]) / 2)


def test_the_human_row_takes_as_many_as_every_picture_has() -> None:
    uneven = REFERENCES | {"1": [*REFERENCES["1"], ["a", "third"]]}
    assert human_row(uneven)[COCO] != human_row(REFERENCES)[COCO]
    with pytest.raises(CaptioningError, match="at least two references"):
        human_row({"1": [["a"]]})


def test_nothing_to_choose_from_is_refused() -> None:
    for captions, references in (([], REFERENCES), ([["a"]], {})):
        with pytest.raises(CaptioningError, match="needs captions to choose from"):
            best_constant_caption(captions, references)

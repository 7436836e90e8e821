"""METEOR beside nltk's own, absent where its data are, and what a captioner says apart from scores."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nltk.corpus import wordnet
from nltk.translate.meteor_score import meteor_score

from captioning.metrics import meteor as module
from captioning.metrics.diversity import DIVERSITY, Diversity
from captioning.metrics.meteor import meteor, meteor_label

REFERENCES = {
    "1": [["a", "dog", "runs", "over", "the", "grass"], ["the", "brown", "hound", "is", "running"]],
    "2": [["two", "men", "sit", "on", "a", "bench"], ["people", "sitting", "in", "a", "park"]],
}
CANDIDATES = {
    "1": ["the", "puppy", "ran", "over", "a", "lawn"],
    "2": ["two", "persons", "are", "sitting", "on", "benches"],
}


@pytest.fixture(autouse=True)
def _tools_found_anew() -> Iterator[None]:
    module._tools.cache_clear()
    yield
    module._tools.cache_clear()


class _WordNet:
    """A reader of a WordNet of three synsets."""

    sets = (("dog", "hound", "puppy"), ("grass", "lawn"), ("person", "persons", "people"))

    def get_version(self) -> str:
        return "made for this test"

    def synsets(self, word: str) -> list[Any]:
        return [module._Synset(names) for names in self.sets if word in names]


def test_meteor_is_nltks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wordnet", _WordNet())
    expected = [meteor_score(REFERENCES[n], words, wordnet=_WordNet()) for n, words in CANDIDATES.items()]
    assert meteor(CANDIDATES, REFERENCES) == pytest.approx([100 * score for score in expected], rel=1e-12)
    assert meteor({"1": ["xylophone"]}, REFERENCES) == [0]
    assert "WordNet made for this test" in meteor_label()
    assert "nltk 3" in meteor_label()


def test_synonyms_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wordnet", _WordNet())
    with_synonyms = meteor(CANDIDATES, REFERENCES)
    monkeypatch.setattr(_WordNet, "sets", ())
    module._tools.cache_clear()
    assert np.mean(with_synonyms) > np.mean(meteor(CANDIDATES, REFERENCES)) + 1


@pytest.mark.parametrize("error", [LookupError("no data"), FileNotFoundError("no lexnames")])
def test_meteor_without_wordnet_is_absent_and_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        def get_version(self) -> str:
            raise error

    monkeypatch.setattr(module, "wordnet", Absent())
    assert meteor(CANDIDATES, REFERENCES) is None
    assert meteor_label().startswith("not measured: nltk finds no WordNet data here, or not all; `python -m nltk.down")


def test_meteor_with_the_real_wordnet() -> None:
    try:
        wordnet.get_version()
    except (LookupError, OSError):
        pytest.skip(f"nltk has no WordNet data here: {module.REMEDY}")
    expected = [meteor_score(REFERENCES[n], words) for n, words in CANDIDATES.items()]
    assert meteor(CANDIDATES, REFERENCES) == pytest.approx([100 * score for score in expected], rel=1e-12)


def test_what_is_said_is_counted() -> None:
    said = {"1": ["a", "dog"], "2": ["a", "dog"], "3": ["a", "dog"], "4": []}
    found = Diversity([["a", "dog"], ["a", "cat"]]).scores(said)
    assert found == {"distinct": 50.0, "novel": 25.0, "words used": 2, "length": 6 / 4}
    assert set(found) == set(DIVERSITY)

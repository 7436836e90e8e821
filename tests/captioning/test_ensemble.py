"""Several captioners as one, and why each word was said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.config import Decoding
from captioning.corpus import build_split, mean_loss
from captioning.decode import beam_search
from captioning.ensemble import Ensemble, open_checkpoint
from captioning.errors import CaptioningError
from captioning.explain import explain
from tests.captioning.tiny import GRID, scatter, tiny_dataset, tiny_features, tiny_recipe, tiny_split, tiny_trainer

LOOKING: dict[str, Any] = {"model__picture": "init", "model__attention": "additive"}


def two() -> tuple[Ensemble, Any, Any]:
    """An ensemble of two kinds of captioner, its training split and the vocabulary."""
    recipe = tiny_recipe()
    one, _, vocabulary = tiny_split(recipe)
    other, _, _ = tiny_split(tiny_recipe(**LOOKING))
    scatter(other, seed=9)
    ensemble, data = Ensemble([one, other]), tiny_dataset()
    model: Any = ensemble
    return ensemble, build_split(data, "train", recipe, vocabulary, tiny_features(data), model), vocabulary


def test_probabilities_are_the_mean_of_the_members() -> None:
    ensemble, split, vocabulary = two()
    words, rows = np.full(3, vocabulary.start), np.array([2, 0, 0])
    log_p, state = ensemble.step(ensemble.start(split.features).select(np.arange(3)), words)
    second, _ = ensemble.step(state.select(rows), np.array([4, 5, 6]))
    expected: Any = 0
    then: Any = 0
    for member, own in zip(ensemble.members, split.features.of, strict=True):
        first, after = member.step(member.start(own).select(np.arange(3)), words)
        expected = expected + np.exp(first) / 2
        also, _ = member.step(after.select(rows), np.array([4, 5, 6]))
        then = then + np.exp(also) / 2
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-12)
    np.testing.assert_allclose(np.exp(second), then, rtol=1e-12)


def test_one_captioner_twice_is_itself() -> None:
    model, split, vocabulary = tiny_split(tiny_recipe())
    twice: Any = Ensemble([model, model])
    features = tiny_features(tiny_dataset())
    both = build_split(tiny_dataset(), "train", tiny_recipe(), vocabulary, features, twice)
    assert mean_loss(twice, both) == pytest.approx(mean_loss(model, split), rel=1e-12)
    one = beam_search(model, split.features, vocabulary, Decoding(3, 6, 0.7))
    other = beam_search(twice, both.features, vocabulary, Decoding(3, 6, 0.7))
    assert [[h.words for h in own] for own in one] == [[h.words for h in own] for own in other]


def test_a_folder_of_runs_is_their_ensemble(tmp_path: Path) -> None:
    for seed in (0, 1):
        tiny_trainer(tmp_path / f"run{seed}", training__seed=seed, **(LOOKING if seed else {})).run()
    stored = open_checkpoint(tmp_path)
    model = stored.model()
    assert isinstance(model, Ensemble)
    assert [member.looks for member in model.members] == [False, True]
    assert open_checkpoint(tmp_path / "run0").model().params.size == model.members[0].params.size
    tiny_trainer(tmp_path / "run2", text__min_count=3).run()
    with pytest.raises(CaptioningError, match="an ensemble needs one vocabulary"):
        open_checkpoint(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CaptioningError, match=r"empty/checkpoint\.safetensors: no such checkpoint"):
        open_checkpoint(empty)


@pytest.mark.parametrize("entry", ["init", "pre"])
def test_words_are_explained_by_their_probabilities_and_maps(entry: str) -> None:
    model, split, vocabulary = tiny_split(tiny_recipe(model__picture=entry, model__attention="additive"))
    found = [own[0] for own in beam_search(model, split.features, vocabulary, Decoding(3, 9, 0.0))]
    told = explain(model, split.features, found, vocabulary)
    for caption, words in zip(found, told, strict=True):
        assert [word.word for word in words][:-1] == [vocabulary.words[w] for w in caption.words]
        assert len(caption.words) == 9 or sum(np.log(w.probability) for w in words) == pytest.approx(
            caption.log_probability, rel=1e-10
        )
        for word in words:
            assert word.weights is not None
            assert word.weights.shape == GRID[1:]
            assert word.weights.sum() == pytest.approx(1)


def test_an_ensemble_explains_by_its_means() -> None:
    ensemble, split, vocabulary = two()
    found = [own[0] for own in beam_search(ensemble, split.features, vocabulary, Decoding(2, 9, 0.0))]
    for caption, words in zip(found, explain(ensemble, split.features, found, vocabulary), strict=True):
        assert len(caption.words) == 9 or sum(np.log(w.probability) for w in words) == pytest.approx(
            caption.log_probability, rel=1e-10
        )
        assert words[0].weights is not None

"""Every way to put a captioner together: its gradients as a whole, its steps, and what is refused."""

from typing import Any

import numpy as np
import pytest

import captioning.stepping
from captioning.entry import ENTRIES
from captioning.errors import CaptioningError
from captioning.model import Captioner
from captioning.stepping import Steps
from rnncore.gradcheck import GradientError
from tests.captioning.test_model import checked, few_words
from tests.captioning.tiny import tiny_recipe, tiny_split

TOLERANCE = 1e-6  # the worst found is 2e-7, of a query whose gradient is so small that rounding shows
NOISE: dict[str, Any] = {
    "model__picture_dropout": 0.3, "model__word_dropout": 0.3, "model__output_dropout": 0.3,
    "model__layer_dropout": 0.3, "model__recurrent_dropout": 0.3, "training__label_smoothing": 0.1,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    **{entry: {"model__picture": entry} for entry in ENTRIES},
    **{f"{entry}, LSTM, two layers": {"model__picture": entry, "model__cell": "LSTM", "model__layers": 2}
       for entry in ENTRIES},
    **{f"{entry}, attention": {"model__picture": entry, "model__attention": "additive"} for entry in ENTRIES},
    "gated attention, LSTM, two layers": {
        "model__picture": "init", "model__attention": "gated", "model__cell": "LSTM", "model__layers": 2,
    },
    "par, frozen words": {"model__picture": "par", "embedding__train": False},
    "pre, frozen words": {"model__picture": "pre", "embedding__train": False},
    "no dense layer": {"model__picture": "init", "model__dense": 0},
    "dense tanh": {"model__dense_activation": "tanh"},
    "tied": {"model__picture": "init", "model__dense": 3, "model__tied": True, "model__dense_activation": "none"},
    "tied without dense": {"embedding__size": 4, "model__dense": 0, "model__tied": True},
    "tied, frozen words": {"model__dense": 3, "model__tied": True, "embedding__train": False},
    "projection": {"model__picture": "init", "model__cell": "LSTM-projection"},
    "layer normalisation": {"model__picture": "init", "model__cell": "LSTM-layernorm"},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_every_way(way: str) -> None:
    model, batch = few_words(seed=1 if way in ("init", "pre, frozen words") else 3, **WAYS[way])
    print(way, checked(model, batch, tolerance=TOLERANCE))


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("way", ["init", "pre", "merge-concatenate, LSTM, two layers", "par, attention", "tied"])
def test_gradients_under_noise_and_smoothing(way: str, variational: bool) -> None:
    model, batch = few_words(seed=3, **NOISE, **WAYS[way], model__variational_dropout=variational)
    assert model.loss_and_gradients(batch) != model.loss_and_gradients(batch)
    print(way, checked(model, batch, train=True, tolerance=TOLERANCE))


@pytest.mark.parametrize("cell", ["GRU", "LSTM", "RNN"])
def test_gradients_of_doubly_stochastic_attention(cell: str) -> None:
    ways = {"model__picture": "init", "model__attention": "gated", "model__cell": cell}
    model, batch = few_words(seed=3, **NOISE, **ways, model__attention_penalty=1.0)
    print(cell, checked(model, batch, train=True, tolerance=TOLERANCE))


def test_the_check_catches_a_missing_gradient_of_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = few_words(seed=3, model__attention="additive", model__attention_penalty=1.0)
    unevenness = model._unevenness
    monkeypatch.setattr(model, "_unevenness", lambda train: (unevenness(train)[0], None))
    with pytest.raises(GradientError):
        checked(model, batch, train=True, tolerance=TOLERANCE)


@pytest.mark.parametrize("way", WAYS)
def test_steps_are_the_whole_pass(way: str) -> None:
    model, split, _ = tiny_split(tiny_recipe(**WAYS[way]))
    batch = split.batch(np.arange(len(split.lengths)))
    logits = model.logits(batch).copy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    state = model.start(batch.pictures).select(batch.owner)
    offsets = batch.packing.offsets
    for t, running in enumerate(batch.packing.batch_sizes):
        here = slice(offsets[t], offsets[t + 1])
        found, state = model.step(state.select(np.arange(running)), batch.inputs[here])
        np.testing.assert_allclose(found, log_p[here], atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_captions_that_begin_alike_are_one_to_a_network_that_sees_no_picture(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, split, _ = tiny_split(tiny_recipe(**WAYS[way]))
    words = np.random.default_rng(0).integers(4, 7, (3, 18))
    orders = [np.random.default_rng(t).permutation(18) for t in range(3)]  # in which captions go on after a word
    found: dict[int, list[np.ndarray]] = {}
    rows: list[int] = []
    run = Steps.__call__

    def counted(self: Steps, x: np.ndarray, states: Any, row: Any, owner: Any) -> Any:
        rows.append(len(x))
        return run(self, x, states, row, owner)

    for few in (0, 18):
        monkeypatch.setattr(captioning.stepping, "_FEW", few)
        state, different = model.start(split.features[:3]).select(np.arange(18) % 3), []
        prefixes: list[tuple[int, ...]] = [()] * 18
        monkeypatch.setattr(Steps, "__call__", counted)
        rows.clear()
        found[few] = []
        for read, order in zip(words, orders, strict=True):
            log_p, state = model.step(state, read)
            found[few].append(log_p.copy())
            prefixes = [(*before, word) for before, word in zip(prefixes, read.tolist(), strict=True)]
            different.append(len(set(prefixes)))
            state, prefixes = state.select(order), [prefixes[k] for k in order]
        sees = model.looks or not WAYS[way].get("model__picture", "merge-add").startswith("merge")
        assert rows == (different if few == 0 and not sees else [18] * 3)
    assert different[0] == 3
    assert different[1] == 9
    for shared, alone in zip(*found.values(), strict=True):
        np.testing.assert_allclose(shared, alone, atol=1e-13)


@pytest.mark.parametrize("way", WAYS)
def test_two_decodings_at_once_do_not_disturb_each_other(way: str) -> None:
    words = np.random.default_rng(0).integers(4, 7, (2, 3, 20))

    def begun() -> tuple[Captioner, list[Any]]:
        model, split, _ = tiny_split(tiny_recipe(**WAYS[way]))
        return model, [split.features[first : first + 2] for first in (0, 2)]

    alone = []
    for which, read in enumerate(words):
        model, pictures = begun()
        state = model.start(pictures[which]).select(np.arange(20) % 2)
        for each in read:
            log_p, state = model.step(state, each)
            alone.append(log_p)
    model, pictures = begun()
    states = [model.start(some).select(np.arange(20) % 2) for some in pictures]
    found: list[list[np.ndarray]] = [[], []]
    for t in range(3):
        for which in (0, 1):
            log_p, states[which] = model.step(states[which], words[which, t])
            found[which].append(log_p)
    for one, other in zip(alone, found[0] + found[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("few", [0, 32])
@pytest.mark.parametrize("way", ["merge-add", "init", "par, attention"])
def test_a_step_refuses_what_are_no_words_of_its_captions(way: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning.stepping, "_FEW", few)
    model, split, vocabulary = tiny_split(tiny_recipe(**WAYS[way]))
    state = model.step(model.start(split.features[:3]).select(np.arange(12) % 3), np.full(12, 4))[1]
    size = len(vocabulary)
    for wrong in (-1, size, np.iinfo(np.int64).max):
        with pytest.raises(IndexError, match=rf"words: {wrong} is outside \[0, {size}\)"):
            model.step(state, np.array([5] * 11 + [wrong]))
    with pytest.raises(TypeError, match="words: expected an array of integers, got list"):
        model.step(state, [4] * 12)
    for count in (1, 11, 13):
        with pytest.raises(ValueError, match=r"words: expected .*B=12"):
            model.step(state, np.full(count, 4))
    found, _ = model.step(state, np.full(12, 5, np.uint8))
    np.testing.assert_array_equal(found, model.step(state, np.full(12, 5))[0])


def test_a_step_of_captions_of_which_none_begin_alike_goes_on_where_the_network_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(captioning.stepping, "_FEW", 0)
    model, split, _ = tiny_split(tiny_recipe())
    state = model.start(split.features[:3])
    for words in ([4, 5, 6], [6, 5, 4]):
        _, state = model.step(state, np.array(words))
    assert state.different(np.array([4, 4, 4]))[1] is None
    assert state.select(np.array([0, 2, 2])).different(np.array([4, 4, 4]))[1] is not None


@pytest.mark.parametrize("way", ["init", "par, attention", "pre", "tied", "gated attention, LSTM, two layers"])
def test_float32_stays_float32(way: str) -> None:
    model, split, _ = tiny_split(tiny_recipe(**NOISE, **WAYS[way]), np.float32)
    batch = split.batch(np.arange(5))
    model.loss_and_gradients(batch)
    log_p, state = model.step(model.start(split.features), split.ids[split.picture[: len(split.names)], 0])
    arrays = [*model.tensors().values(), model.grads.flat, model.logits(batch), log_p, state.picture]
    arrays += [s for layer in state.cells for s in layer]
    arrays += [trace.output for trace in model.network.traces if trace is not None]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_the_picture_reaches_the_words_in_every_way() -> None:
    for way, settings in WAYS.items():
        model, split, _ = tiny_split(tiny_recipe(**settings))
        words = split.ids[:3, 0]
        one, _ = model.step(model.start(split.features[:3]), words)
        other, _ = model.step(model.start(split.features[np.array([1, 2, 0])]), words)
        assert np.abs(one - other).max() > 1e-3, way


def test_tying_needs_equal_sizes() -> None:
    with pytest.raises(CaptioningError, match=r"embedding.size is 3, but 4 come there; set model.dense = 3"):
        Captioner(tiny_recipe(model__tied=True), 9, 5)


def test_attention_needs_a_grid() -> None:
    with pytest.raises(CaptioningError, match="--output grid"):
        Captioner(tiny_recipe(model__attention="additive"), 9, 5)

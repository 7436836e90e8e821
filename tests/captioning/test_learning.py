"""What training can do besides the plain likelihood: averages, the model's own words, reward, a start from a model."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.averaging import Averaging
from captioning.checkpoint import load_checkpoint
from captioning.choice import forbid, sharpened
from captioning.decode import Hypothesis
from captioning.errors import CaptioningError
from captioning.learning import Likelihood, SelfCritical, policy_loss
from captioning.metrics import CiderD
from captioning.text import END
from captioning.train import Trainer
from rnncore.losses import log_softmax
from rnncore.params import Params
from tests.captioning.test_training import assert_equal_runs
from tests.captioning.tiny import tiny_dataset, tiny_features, tiny_recipe, tiny_split, tiny_trainer
from tests.rnncore.differences import assert_gradient

EVERYTHING: dict[str, Any] = {
    "model__picture": "init", "model__attention": "gated", "model__recurrent_dropout": 0.2,
    "model__variational_dropout": True, "model__word_dropout": 0.3, "model__picture_dropout": 0.3,
    "training__label_smoothing": 0.1, "training__scheduled_sampling": 0.5, "training__averaging": "ema",
    "training__averaging_decay": 0.9, "training__learning_rate": 0.1,
}  # fmt: skip
REWARD: dict[str, Any] = {"training__objective": "self-critical", "training__samples": 3}


@pytest.mark.parametrize(
    "settings", [EVERYTHING, {**EVERYTHING, "training__averaging": "swa"}, REWARD, {**REWARD, **EVERYTHING}]
)
def test_resuming_is_the_uninterrupted_run_to_the_last_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = tiny_trainer(tmp_path / "whole", **settings, training__epochs=3)
    whole.run()
    settings = {**settings, "training__epochs": 3}
    first = tiny_trainer(tmp_path / "cut", **settings)
    first._epoch(lambda progress: None)
    resumed = tiny_trainer(tmp_path / "cut", resume=True, **settings)
    assert len(resumed.history) == 1
    resumed.run()
    assert_equal_runs(resumed, whole)
    assert resumed.average.mean.flat.tobytes() == whole.average.mean.flat.tobytes()


def averaged(kind: str, since: int, values: list[float]) -> list[float]:
    """The average after each of some epochs of one step each, in which the weight becomes the next value."""
    settings = tiny_recipe(training__averaging=kind, training__averaging_decay=0.5, training__averaging_from=since)
    params = Params({"w": (1,)}, np.float64)
    average, found = Averaging(settings.training, params), []
    for epoch, value in enumerate(values, start=1):
        params["w"][0] = value
        average.after_step(epoch)
        average.after_epoch(epoch)
        found.append(float(average.mean["w"][0]))
    return found


def test_averages_are_those_of_their_definitions() -> None:
    assert averaged("none", 1, [4, 2, 0]) == [4, 2, 0]
    assert averaged("swa", 1, [4, 2, 0]) == [4, 3, 2]
    assert averaged("swa", 2, [4, 2, 0]) == [4, 2, 1]
    decay = [min(0.5, (1 + n) / (10 + n)) for n in (1, 2)]
    one = decay[0] * 4 + (1 - decay[0]) * 2
    assert averaged("ema", 2, [4, 2, 0]) == pytest.approx([4, one, decay[1] * one])


def test_the_average_is_what_is_kept_and_the_weights_go_on(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, training__averaging="ema", training__averaging_decay=0.9)
    trainer.run()
    assert np.abs(trainer.model.params.flat - trainer.average.mean.flat).max() > 1e-3
    kept = load_checkpoint(tmp_path / "checkpoint.safetensors").model()
    if trainer.best_epoch == len(trainer.history):
        np.testing.assert_array_equal(kept.params.flat, trainer.average.mean.flat)
    before = trainer.model.params.flat.copy()
    with trainer.average.in_place():
        np.testing.assert_array_equal(trainer.model.params.flat, trainer.average.mean.flat)
    np.testing.assert_array_equal(trainer.model.params.flat, before)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_scheduled_sampling_replaces_its_share_of_the_words_but_the_first(share: float) -> None:
    model, split, _ = tiny_split(tiny_recipe(), train=40)
    objective = Likelihood(model, split, tiny_recipe())
    batch = split.batch(np.arange(len(split.lengths)))
    model.params["words.b"][7] += 50  # the model's own word is always 7
    mixed = objective.mixed(batch, share, np.random.default_rng(0))
    later = np.arange(batch.packing.rows) >= batch.packing.batch
    np.testing.assert_array_equal(mixed.inputs[~later], batch.inputs[~later])
    np.testing.assert_array_equal(mixed.targets, batch.targets)
    changed = mixed.inputs != batch.inputs
    assert set(mixed.inputs[changed].tolist()) <= {7}
    assert (mixed.inputs[later] == 7).mean() == pytest.approx(
        share + (1 - share) * (batch.inputs[later] == 7).mean(), abs=0.15
    )


def test_the_gradient_of_the_policy_loss() -> None:
    rng = np.random.default_rng(0)
    logits, targets, advantage = rng.normal(size=(6, 5)), rng.integers(0, 5, 6), rng.normal(size=6)
    _, gradient = policy_loss(logits, targets, advantage)
    assert_gradient(lambda: policy_loss(logits, targets, advantage)[0], logits, gradient)


def self_critical(**settings: Any) -> tuple[SelfCritical, Any]:
    recipe = tiny_recipe(**REWARD, **settings)
    model, split, vocabulary = tiny_split(recipe)
    return SelfCritical(model, split, recipe, vocabulary, tiny_dataset().references("train")), split


def test_rewards_are_cider_d_with_the_end_as_a_word() -> None:
    objective, split = self_critical()
    said = [Hypothesis(tuple(int(w) for w in split.ids[k][1:4]), 0.0, 0.0) for k in (0, 1)]
    found = objective.rewards(np.array([0, 2]), [[said[0]], [said[1]]])
    own = {name: [[*words, END] for words in some] for name, some in tiny_dataset().references("train").items()}
    words = [[objective.vocabulary.words[w] for w in h.words] + [END] for h in said]
    names = [split.names[0], split.names[2]]
    np.testing.assert_allclose(found[:, 0], CiderD(own).rewards(names, words))


def test_the_gradient_is_that_of_reinforce() -> None:
    """With the draws held, differences of the weighted log-probabilities."""
    objective, split = self_critical(text__min_count=3)
    pictures = np.array([1, 4])
    rng = np.random.default_rng(5)
    captions = [
        Hypothesis(tuple(int(w) for w in split.ids[k][1:n]), 0.0, 0.0) for k, n in ((0, 3), (1, 4), (2, 3), (3, 5))
    ]
    advantage = rng.normal(size=4)
    batch, rows = objective.batch(pictures, captions, advantage)
    model = objective.model

    def loss() -> float:
        return policy_loss(model.logits(batch), batch.targets, rows)[0]

    model.loss_and_gradients(batch, train=False, objective=lambda logits: policy_loss(logits, batch.targets, rows))
    for name in ("rnn.U", "words.W", "picture.b"):
        assert_gradient(loss, model.params[name], model.grads[name].copy())
    share = -float(
        sum(a * p for a, p in zip(advantage, _log_p(model, split, pictures, captions, objective), strict=True))
    )
    assert loss() == pytest.approx(share / batch.packing.rows)


def _log_p(model: Any, split: Any, pictures: Any, captions: list[Hypothesis], objective: SelfCritical) -> list[float]:
    """Each caption's log-probability, its end counted, one word at a time."""
    found = []
    for k, caption in enumerate(captions):
        state = model.start(split.features[pictures[[k // 2]]])
        total, last = 0.0, objective.vocabulary.start
        for word in (*caption.words, objective.vocabulary.end):
            log_p, state = model.step(state, np.array([last]))
            total, last = total + float(log_p[0, word]), word
        found.append(total)
    return found


def everything_that_can_be_said(objective: SelfCritical) -> list[Hypothesis]:
    """All captions of at most `max_length` words, in no order."""
    vocabulary, longest = objective.vocabulary, objective.drawing.max_length
    sayable = set(range(len(vocabulary))) - {*vocabulary.never_emitted, vocabulary.end}
    said = [words for n in range(1, longest + 1) for words in product(sorted(sayable), repeat=n)]
    return [Hypothesis(words, 0.0, 0.0) for words in said]


def chances(objective: SelfCritical, pictures: Any, captions: list[Hypothesis]) -> np.ndarray:
    """The probability with which each caption is drawn for the picture, one word at a time."""
    model, vocabulary, drawing = objective.model, objective.vocabulary, objective.drawing
    rows, longest = model.xp.zeros(len(captions), np.intp), drawing.max_length
    words = np.full((len(captions), longest + 1), vocabulary.end)
    for row, caption in zip(words, captions, strict=True):
        row[: len(caption.words)] = caption.words
    state, last = model.start(objective.split.features[pictures]).select(rows), np.full(len(rows), vocabulary.start)
    going, total = np.ones(len(captions), bool), np.zeros(len(captions))
    for t in range(longest):
        log_p, state = model.step(state, last)
        forbid(log_p, vocabulary, words[:, :t], drawing)
        log_p = sharpened(log_softmax(log_p), drawing)
        total[going] += log_p[going, words[going, t]]
        last = words[:, t]
        going &= last != vocabulary.end
    return np.exp(total)


def test_the_gradient_is_that_of_the_expected_reward_of_what_is_drawn() -> None:
    """Over everything that can be said, with noise and a temperature in the recipe; nothing is left to chance."""
    noise = {"model__picture_dropout": 0.5, "model__word_dropout": 0.5, "model__output_dropout": 0.5}
    wanted = {"text__min_count": 5, "training__temperature": 0.5, "training__label_smoothing": 0.1}
    objective, _ = self_critical(**noise, **wanted, decoding__max_length=3)
    picture, captions = np.array([2]), everything_that_can_be_said(objective)
    rewards = objective.rewards(picture, [captions])[0]

    def expected() -> float:
        return float(chances(objective, picture, captions) @ rewards)

    assert chances(objective, picture, captions).sum() == pytest.approx(1)
    batch, rows = objective.batch(picture, captions, chances(objective, picture, captions) * rewards)
    objective.reinforce(batch, rows)
    model = objective.model
    for name in ("rnn.U", "words.b", "picture.b"):
        assert_gradient(lambda: -expected() / batch.packing.rows, model.params[name], model.grads[name].copy())


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_reward_rises_by_training_for_it(baseline: str, tmp_path: Path) -> None:
    settings = {**REWARD, "training__samples": 8, "training__epochs": 25, "training__learning_rate": 0.02}
    trainer = tiny_trainer(tmp_path, **settings, training__baseline=baseline, decoding__max_length=8)
    trainer.run()
    rewards = [-record["train_loss"] for record in trainer.history]
    assert np.mean(rewards[-3:]) > 1.5 * np.mean(rewards[:3]), rewards


def test_training_starts_from_a_model(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path / "first")
    first.run()
    start = load_checkpoint(tmp_path / "first" / "checkpoint.safetensors")
    data, recipe = tiny_dataset(), tiny_recipe(**REWARD, model__word_dropout=0.2)
    trainer = Trainer(recipe, data, tiny_features(data), tmp_path / "then", start=start)
    np.testing.assert_array_equal(trainer.model.params.flat, first.best.flat)
    np.testing.assert_array_equal(trainer.model.constants.flat, first.model.constants.flat)
    other = replace(recipe, model=replace(recipe.model, hidden=5))
    with pytest.raises(CaptioningError, match=r"its model.hidden is 4, the recipe's 5"):
        Trainer(other, data, tiny_features(data), tmp_path / "other", start=start)

"""The captioner: its gradients, its equations, its sizes, its precision and its first values."""

from typing import Any

import numpy as np
import pytest

from captioning.config import load_recipe
from captioning.errors import CaptioningError
from captioning.model import Batch, Captioner
from rnncore import sequence
from rnncore.gradcheck import GradientError, check_function
from rnncore.optim import Adam
from tests.captioning.tiny import CELLS, captions_of, naive_log_p, scatter, table_of, tiny_recipe, tiny_split

TOLERANCE = 1e-8  # the worst found is 8e-10


def checked(model: Captioner, batch: Batch, train: bool = False, tolerance: float = TOLERANCE) -> Any:
    """The worst relative error over every parameter; with `train`, the masks are drawn alike each time."""
    noise = model.noise()

    def loss() -> float:
        model.set_noise(noise)
        return model.loss_and_gradients(batch) if train else model.loss(batch)

    model.grads.flat[...] = np.nan
    model.loss_and_gradients(batch, train)
    gradients = {name: g.copy() for name, g in model.grads.items()}
    return check_function(loss, model.params, gradients, tolerance, step=1e-4)


def few_words(seed: int = 1, **overrides: Any) -> tuple[Captioner, Batch]:
    """A model with few parameters, since each costs four passes, and a batch of seven captions, some of them cut.

    seed : of the parameters, such that no ReLU stands within a step of its kink.
    """
    recipe = tiny_recipe(text__min_count=3, text__max_length=7, **overrides)
    model, split, _ = tiny_split(recipe, train=4)
    scatter(model, seed=seed)
    return model, split.batch(np.arange(len(split.lengths)))


@pytest.mark.parametrize(
    ("cell", "trained", "standardise"),
    [*((cell, True, True) for cell in CELLS), ("LSTM", False, True), ("GRU", False, False)],
)
def test_gradients_of_every_parameter(cell: str, trained: bool, standardise: bool) -> None:
    model, batch = few_words(model__cell=cell, embedding__train=trained, model__standardise_features=standardise)
    assert ("embedding.E" in model.params) is trained
    print(cell, checked(model, batch))


@pytest.mark.parametrize(("cell", "trained"), [("LSTM", True), ("GRU", True), ("GRU", False)])
def test_gradients_with_dropout_whose_masks_are_kept(cell: str, trained: bool) -> None:
    model, batch = few_words(
        model__cell=cell, embedding__train=trained,
        model__picture_dropout=0.5, model__word_dropout=0.3, model__output_dropout=0.4,
    )  # fmt: skip
    without = model.loss_and_gradients(batch, train=False)
    assert model.loss_and_gradients(batch) != without
    print(cell, checked(model, batch, train=True))


def test_the_check_catches_masks_that_change() -> None:
    model, batch = few_words(model__word_dropout=0.5)
    model.loss_and_gradients(batch)
    with pytest.raises(GradientError):
        check_function(lambda: model.loss_and_gradients(batch), model.params, model.grads.copy(), TOLERANCE)


@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_is_that_of_the_equations(cell: str) -> None:
    model, split, _ = tiny_split(tiny_recipe(model__cell=cell))
    losses = [
        -naive_log_p(model, cell, picture, ids[:t])[ids[t]]
        for picture, ids in captions_of(split)
        for t in range(1, len(ids))
    ]
    batch = split.batch(np.arange(len(split.lengths)))
    assert batch.packing.rows == len(losses) == split.words
    assert model.loss(batch) == pytest.approx(np.mean(losses), rel=1e-13)
    assert model.loss_and_gradients(batch, train=False) == pytest.approx(np.mean(losses), rel=1e-13)


def sample_gradients(model: Captioner, picture: Any, prefix: list[int], word: int, steps: int) -> dict[str, Any]:
    """Gradients of one (picture, padded prefix) -> next word sample, where the network gives its last state alone."""
    p, rnn, table, cell = model.params, model.params.scope("rnn"), table_of(model), model.parts.cells[0]
    padded = np.array(prefix + [0] * (steps - len(prefix)))
    trace = sequence.forward(cell, rnn, table[padded][:, None], lengths=[len(prefix)])
    seen = np.maximum(p["picture.W"] @ picture + p["picture.b"], 0)
    merged = seen + trace.last[0][0]
    dense = np.maximum(p["dense.W"] @ merged + p["dense.b"], 0)
    z = p["words.W"] @ dense + p["words.b"]
    dz = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    dz[word] -= 1
    ddense = (p["words.W"].T @ dz) * (dense > 0)
    dmerged = p["dense.W"].T @ ddense
    dpicture = dmerged * (seen > 0)
    dlast = [dmerged[None], *(None for _ in cell.state[1:])]
    back = sequence.backward(cell, rnn, trace, None, dlast)
    assert back.x is not None
    dE = np.zeros_like(table)
    np.add.at(dE, padded, back.x[:, 0])
    out = {f"rnn.{name}": g for name, g in back.params.items()}
    out |= {"words.W": np.outer(dz, dense), "words.b": dz, "dense.W": np.outer(ddense, merged), "dense.b": ddense}
    return out | {"picture.W": np.outer(dpicture, picture), "picture.b": dpicture, "embedding.E": dE}


@pytest.mark.parametrize("cell", CELLS)
def test_once_over_a_caption_is_the_sum_over_its_prefixes(cell: str) -> None:
    model, split, _ = tiny_split(tiny_recipe(model__cell=cell))
    steps = split.ids.shape[1]
    total = {name: np.zeros_like(a) for name, a in model.params.items()}
    samples = 0
    for picture, ids in captions_of(split):
        for t in range(1, len(ids)):
            for name, g in sample_gradients(model, picture, ids[:t], ids[t], steps).items():
                total[name] += g
            samples += 1
    model.loss_and_gradients(split.batch(np.arange(len(split.lengths))), train=False)
    assert samples == split.words
    for name, g in model.grads.items():
        assert np.abs(total[name]).max() > 1e-3, name
        np.testing.assert_allclose(g * samples, total[name], rtol=0, atol=1e-12 * samples, err_msg=name)


@pytest.mark.parametrize(("cell", "recurrent"), [("LSTM", 467_968), ("GRU-before", 350_976), ("GRU", 351_744)])
def test_parameter_counts_of_the_paper(cell: str, recurrent: int) -> None:
    recipe = load_recipe("paper").with_overrides({"model.cell": cell})
    counts = Captioner(recipe, 1652, 2048, np.zeros((1652, 200), np.float32)).parameter_counts()
    assert counts["rnn"] == recurrent
    assert counts["total"] == 1_813_268 - 467_968 + recurrent
    assert counts["embedding"] == 330_400
    assert counts["total"] == sum(n for part, n in counts.items() if part != "total")


def test_equal_seeds_give_two_cells_equal_other_parts() -> None:
    lstm, gru, other = (
        Captioner(tiny_recipe(model__cell=cell, training__seed=seed), 9, 5)
        for cell, seed in (("LSTM", 3), ("GRU", 3), ("GRU", 4))
    )
    shared = [name for name in lstm.params if not name.startswith("rnn.")]
    assert len(shared) == 7
    for name in shared:
        np.testing.assert_array_equal(lstm.params[name], gru.params[name])
        assert name.endswith(".b") or not np.array_equal(gru.params[name], other.params[name]), name
    draws = [lstm.params[f"{part}.W"].ravel()[:8] for part in ("picture", "dense", "words")]
    for one, two in ((0, 1), (1, 2), (0, 2)):  # no two parts draw the same numbers, each to its own scale
        assert np.ptp(draws[one] / draws[two]) > 0.1


def test_the_embedding_begins_alike_trained_or_frozen() -> None:
    trained, frozen = (Captioner(tiny_recipe(embedding__train=t), 9, 5) for t in (True, False))
    np.testing.assert_array_equal(table_of(trained), table_of(frozen))
    assert not table_of(trained)[0].any()
    assert "embedding.E" not in frozen.grads


def test_vectors_that_do_not_fit_are_refused() -> None:
    recipe = tiny_recipe(embedding__vectors="glove")
    with pytest.raises(CaptioningError, match=r"\(9, 3\), got none"):
        Captioner(recipe, 9, 5)
    with pytest.raises(CaptioningError, match=r"\(9, 3\), got an array of shape \(9, 2\)"):
        Captioner(recipe, 9, 5, np.zeros((9, 2)))
    vectors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_array_equal(table_of(Captioner(recipe, 9, 5, vectors)), vectors)


def test_features_are_standardised_by_the_training_pictures() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(3, 2, (20, 5)).astype(np.float32)
    raw[:, 2] = 7  # a feature that never changes must not divide by zero
    model = Captioner(tiny_recipe(), 9, 5)
    np.testing.assert_array_equal(model.prepare(raw).vectors, raw)
    model.fit(raw)
    prepared = model.prepare(raw).vectors
    np.testing.assert_allclose(prepared.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(prepared.std(0), [1, 1, 0, 1, 1], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(model__cell=cell, model__picture_dropout=0.5, model__word_dropout=0.3)
    model, split, _ = tiny_split(recipe, np.float32)
    passed: list[Any] = []
    backward = model._backward

    def spy(batch: Batch, seen: Any, dlogits: Any, dweights: Any) -> None:
        passed.extend([*(a for a in seen if a is not None), dlogits, batch.vectors])
        backward(batch, seen, dlogits, dweights)

    monkeypatch.setattr(model, "_backward", spy)
    optimiser = Adam(model.params)
    for batch in split.batches(2, np.random.default_rng(0)):
        model.loss_and_gradients(batch)
        optimiser.step(model.grads.flat)
    trace = model.network.traces[0]
    assert trace is not None
    state = model.start(split.features)
    log_p, after = model.step(state, split.ids[split.picture[: len(split.names)], 0])
    moments = [optimiser.state_dict()[slot] for slot in optimiser.slots]
    arrays = [*passed, *model.tensors().values(), model.grads.flat, *moments, trace.output]
    arrays += [log_p, state.picture, *state.cells[0], *after.cells[0]]
    assert len(passed) >= 8
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize("cell", CELLS)
def test_steps_give_what_the_equations_give(cell: str) -> None:
    model, split, vocabulary = tiny_split(tiny_recipe(model__cell=cell))
    pictures = split.features.vectors[:3]
    state = model.start(split.features[:3])
    first, state = model.step(state, np.full(3, vocabulary.start))
    words = np.array([4, 5, 6])
    going_on, _ = model.step(state, words)
    second, _ = model.step(state.select(np.array([2, 0, 0])), words)
    np.testing.assert_array_equal(model.step(state, words)[0], going_on)  # a state may be gone on from again
    for row, picture in enumerate((2, 0, 0)):
        prefix = [vocabulary.start, int(words[row])]
        expected = naive_log_p(model, cell, pictures[picture], prefix)
        np.testing.assert_allclose(second[row], expected, atol=1e-13)
    np.testing.assert_allclose(first[1], naive_log_p(model, cell, pictures[1], [vocabulary.start]), atol=1e-13)


def test_dropout_masks_follow_the_seed() -> None:
    def losses(seed: int) -> list[float]:
        recipe = tiny_recipe(training__seed=seed, model__picture_dropout=0.5, model__output_dropout=0.5)
        model, split, _ = tiny_split(recipe)  # whose parameters do not depend on the seed
        batch = split.batch(np.arange(5))
        return [model.loss_and_gradients(batch) for _ in range(3)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert len(set(losses(1))) == 3


@pytest.mark.parametrize("place", ["picture", "words", "output"])
def test_each_dropout_is_of_its_own_rate_and_rests_outside_training(place: str) -> None:
    model, split, _ = tiny_split(tiny_recipe(**{f"model__{place.removesuffix('s')}_dropout": 0.5}))
    plain, _, _ = tiny_split(tiny_recipe())
    batch = split.batch(np.arange(len(split.lengths)))
    assert model.loss(batch) == plain.loss(batch) == model.loss_and_gradients(batch, train=False)
    assert model.loss_and_gradients(batch) != plain.loss_and_gradients(batch)
    assert model.dropout[place].rate == 0.5

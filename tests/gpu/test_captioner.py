"""The captioner on the GPU: the losses and captions of the host, and no step that waits for the device in between."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.averaging import Averaging
from captioning.batch import Batch
from captioning.decode import beam_search
from captioning.entry import ENTRIES
from captioning.errors import CaptioningError
from captioning.train import Trainer
from rnncore import Params, clip_global_norm, to_host
from rnncore.array import module_for
from tests.captioning.tiny import results, tiny_dataset, tiny_features, tiny_recipe

NOISE = {"model__picture_dropout": 0.5, "model__word_dropout": 0.3, "model__output_dropout": 0.5}


def trainer(folder: Path, device: str, resume: bool = False, **overrides: Any) -> Trainer:
    dataset = tiny_dataset()
    return Trainer(
        tiny_recipe(**NOISE, **overrides), dataset, tiny_features(dataset), folder, resume=resume, device=device
    )


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "GRU-before", "RNN"])
def test_training_gives_the_losses_of_the_host(gpu: str, tmp_path: Path, cell: str) -> None:
    settings = {"model__cell": cell, "embedding__train": True, "training__clip_norm": 1.0}
    runs = [trainer(tmp_path / device, device, **settings) for device in ("cpu", "cuda")]
    for run in runs:
        run.run()
    host, there = (results(run.history) for run in runs)
    for one, other in zip(host, there, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert other["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5)
    np.testing.assert_allclose(to_host(runs[1].model.params.flat), runs[0].model.params.flat, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"model__layers": 2, "model__layer_dropout": 0.3, "model__recurrent_dropout": 0.2},
        {"model__variational_dropout": True, "training__label_smoothing": 0.1, "training__averaging": "ema"},
        {"training__scheduled_sampling": 0.5, "training__averaging": "swa", "training__optimiser": "adamw"},
        {"training__optimiser": "sgd", "model__dense": 0},
        *({"model__picture": entry} for entry in ENTRIES),
    ],
    ids=str,
)
def test_every_part_gives_the_losses_of_the_host(gpu: str, tmp_path: Path, settings: dict[str, Any]) -> None:
    found = []
    for device in ("cpu", "cuda"):
        run = trainer(tmp_path / device, device, embedding__train=True, **settings)
        run.run()
        found.append([(r["train_loss"], r["validation_loss"]) for r in run.history])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_fused_cells_by_name_give_the_losses_of_the_host(kernels: str, tmp_path: Path, cell: str) -> None:
    found = []
    for device, name in (("cpu", cell), ("cuda", f"rnncore.kernels:Fused{cell}")):
        run = trainer(tmp_path / device, device, model__cell=name, model__layers=2, embedding__train=True)
        run.run()
        captions = beam_search(run.model, run.validation.features, run.vocabulary, run.recipe.decoding)
        found.append(([(r["train_loss"], r["validation_loss"]) for r in run.history], captions))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    for host, there in zip(found[0][1], found[1][1], strict=True):
        assert [h.words for h in there] == [h.words for h in host]


def test_a_run_goes_on_from_its_checkpoint_on_either_device(gpu: str, tmp_path: Path) -> None:
    constant: dict[str, Any] = {"training__schedule": "constant"}  # which does not depend on the number of epochs
    for first, second in (("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")):
        folder = tmp_path / f"{first}-{second}"
        trainer(folder, first, training__epochs=1, **constant).run()
        resumed = trainer(folder, second, resume=True, training__epochs=2, **constant)
        resumed.run()
        whole = trainer(tmp_path / "whole" / folder.name, second, training__epochs=2, **constant)
        whole.run()
        assert resumed.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=1e-5)


@pytest.mark.parametrize("beam", [1, 3])
def test_captions_are_those_of_the_host(gpu: str, tmp_path: Path, beam: int) -> None:
    runs = [trainer(tmp_path / device, device, decoding__beam=beam) for device in ("cpu", "cuda")]
    found = []
    for run in runs:
        features = run.validation.features
        found.append(beam_search(run.model, features, run.vocabulary, run.recipe.decoding))
    for one, other in zip(*found, strict=True):
        assert [h.words for h in one] == [h.words for h in other]
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], rtol=1e-5)


def learn(run: Trainer, batch: Batch) -> None:
    """One step of training on a batch that is there already."""
    run.model.loss_and_gradients(batch)
    if run.settings.clip_norm:
        clip_global_norm(run.model.grads, run.settings.clip_norm)
    run.optimiser.step(run.model.grads.flat)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "GRU-before", "RNN"])
def test_a_step_reads_two_numbers_and_sends_no_layout_twice(counted: Any, tmp_path: Path, cell: str) -> None:
    run = trainer(tmp_path, "cuda", model__cell=cell, embedding__train=True, training__clip_norm=1.0)
    batch = run.train_split.batch(np.arange(len(run.train_split.lengths)))
    learn(run, batch)
    counted.clear()
    learn(run, batch)
    assert (counted["reads"], counted["bytes read"]) == (2, 8)  # the loss and the gradient's norm, in float32
    assert counted["uploads"] == 3  # the random bytes of the three dropout masks, and nothing else
    assert counted["bytes uploaded"] <= 2 * (batch.vectors.size + batch.packing.rows * 8) + 3 * 8


def test_a_step_without_noise_or_clipping_reads_the_loss_alone(counted: Any, tmp_path: Path) -> None:
    quiet = dict.fromkeys(NOISE, 0.0)
    dataset = tiny_dataset()
    recipe = tiny_recipe(**quiet, embedding__train=True, training__clip_norm=0.0)
    run = Trainer(recipe, dataset, tiny_features(dataset), tmp_path, device="cuda")
    batch = run.train_split.batch(np.arange(len(run.train_split.lengths)))
    learn(run, batch)
    counted.clear()
    learn(run, batch)
    assert (counted["reads"], counted["uploads"]) == (1, 0)


def test_the_log_says_how_much_of_the_device_was_taken(gpu: str, tmp_path: Path) -> None:
    run = trainer(tmp_path / "cuda", "cuda", training__epochs=1)
    run.run()
    assert run.history[0]["device_bytes"] > 0
    host = trainer(tmp_path / "cpu", "cpu", training__epochs=1)
    host.run()
    assert "device_bytes" not in host.history[0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_batch_too_large_for_memory_names_itself_and_the_remedy(
    gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    run = trainer(tmp_path, device, training__pictures_per_batch=3)
    batches = list(run.train_split.picture_batches(3, np.random.default_rng([run.settings.seed, 1])))
    learnt: list[Any] = []

    def gradients(pictures: Any, *rest: Any) -> tuple[float, int]:
        learnt.append(pictures)
        if len(learnt) == 2:
            raise MemoryError("out of memory allocating 2,147,483,648 bytes")
        return 1.0, 1

    monkeypatch.setattr(run.objective, "gradients", gradients)
    with pytest.raises(CaptioningError) as caught:
        run.run()
    words = run.train_split.words_of(batches[1])
    assert f"out of memory at epoch 1, batch 2: {len(batches[1])} pictures, {words} words; lower" in str(caught.value)
    assert "training.pictures_per_batch (now 3); no epoch was finished" in str(caught.value)


def test_fused_cells_come_to_rest_on_a_graph_for_each_longest_caption(
    counted: Any, kernels: str, tmp_path: Path
) -> None:
    """Batches whose lengths never come twice are one launch forward and one back."""
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    run = trainer(tmp_path, "cuda", model__cell="rnncore.kernels:FusedGRU", embedding__train=True)
    graphs, lengths = run.model.parts.cells[0].graphs, run.train_split.lengths
    longest = np.flatnonzero(lengths == lengths.max())
    others = np.flatnonzero(lengths < lengths.max())
    seen = set()
    for k in range(4):
        batch = run.train_split.batch(np.append(np.roll(others, k)[:4], longest[0]))
        seen.add(batch.packing.batch_sizes)
        counted.clear()
        learn(run, batch)
        assert counted["graphs"] == (2 if k else 0)
    assert len(graphs) == 2
    assert len(seen) > 1


def test_an_average_takes_as_many_launches_for_many_weights_as_for_few(counted: Any) -> None:
    launches = []
    for size in (10, 200_000):
        params = Params({"w": (size,)}, np.float32, module_for("cuda"))
        average = Averaging(tiny_recipe(training__averaging="swa", training__averaging_from=1).training, params)
        average.after_epoch(1)
        params.flat[...] = 3
        counted.clear()
        average.after_epoch(2)
        launches.append(counted["launches"])
        np.testing.assert_array_equal(to_host(average.mean.flat), np.full(size, 1.5, np.float32))
    assert launches == [3, 3]

"""Training: exact resumption, interruption, early stopping, schedules, and errors that lose nothing."""

import json
import math
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.corpus import mean_loss
from captioning.decode import caption_pictures
from captioning.errors import CaptioningError
from captioning.glove import load_glove
from captioning.text import SCORING, clean
from captioning.train import Trainer
from encoders import Features, MissingFeatures
from rnncore.losses import NonFiniteLoss
from tests.captioning.tiny import results, stop_at, tiny_dataset, tiny_features, tiny_recipe, tiny_trainer

ROOT = Path(__file__).resolve().parents[2]
# Everything that must survive a resumption: moments, masks, clipping, the plateau's memory, the best epoch.
FULL: dict[str, Any] = {
    "model__picture_dropout": 0.5, "model__word_dropout": 0.3, "model__output_dropout": 0.4,
    "training__clip_norm": 0.5, "training__schedule": "plateau", "training__schedule_factor": 0.5,
    "training__learning_rate": 0.3, "training__early_stopping": "CIDEr-D", "training__patience": 9,
}  # fmt: skip


def state_of(trainer: Trainer) -> dict[str, bytes]:
    """Everything that a further epoch depends on, as bytes."""
    moments = trainer.optimiser.state_dict()
    return {
        "params": trainer.model.params.flat.tobytes(),
        "best": trainer.best.flat.tobytes(),
        "constants": trainer.model.constants.flat.tobytes(),
        **{slot: moments[slot].tobytes() for slot in trainer.optimiser.slots},
    }


def assert_equal_runs(one: Trainer, other: Trainer) -> None:
    assert results(one.history) == results(other.history)
    assert one.best_epoch == other.best_epoch
    assert state_of(one) == state_of(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Four epochs of FULL without interruption."""
    trainer = tiny_trainer(tmp_path_factory.mktemp("whole"), **FULL, training__epochs=4)
    trainer.run()
    return trainer


def test_the_uninterrupted_run_uses_all_that_resuming_must_restore(whole: Trainer) -> None:
    assert len({record["learning_rate"] for record in whole.history}) > 1
    assert len(whole.history) == 4 != whole.best_epoch
    assert whole.best.flat.tobytes() != whole.model.params.flat.tobytes()


def test_equal_seeds_give_equal_runs_and_others_do_not(whole: Trainer, tmp_path: Path) -> None:
    again = tiny_trainer(tmp_path / "again", **FULL, training__epochs=4)
    again.run()
    assert_equal_runs(again, whole)
    other = tiny_trainer(tmp_path / "other", **FULL, training__epochs=4, training__seed=1)
    other.run()
    assert results(other.history)[0]["train_loss"] != results(whole.history)[0]["train_loss"]


@pytest.mark.parametrize("first", [1, 2, 3])
def test_resuming_is_the_uninterrupted_run_to_the_last_bit(whole: Trainer, tmp_path: Path, first: int) -> None:
    tiny_trainer(tmp_path, **FULL, training__epochs=first).run()
    resumed = tiny_trainer(tmp_path, resume=True, **FULL, training__epochs=4)
    assert len(resumed.history) == first
    resumed.run()
    assert_equal_runs(resumed, whole)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_every_optimiser_and_schedule_resumes(tmp_path: Path, optimiser: str, schedule: str) -> None:
    chosen: dict[str, Any] = {
        "training__optimiser": optimiser,
        "training__schedule": schedule,
        "model__word_dropout": 0.5,
    }
    chosen |= {"training__weight_decay": 0.1} if optimiser == "adamw" else {}
    straight = tiny_trainer(tmp_path / "straight", training__epochs=4, **chosen)
    straight.run()
    broken = tiny_trainer(tmp_path / "broken", training__epochs=4, **chosen)
    with pytest.raises(KeyboardInterrupt):
        broken.run(stop_at(epoch=3, words=20))
    resumed = tiny_trainer(tmp_path / "broken", resume=True, training__epochs=4, **chosen)
    assert len(resumed.history) == 2
    resumed.run()
    assert_equal_runs(resumed, straight)


def test_the_frozen_vectors_of_a_resumed_run_are_those_of_its_checkpoint(tmp_path: Path) -> None:
    recipe = tiny_recipe(embedding__vectors="glove", embedding__train=False, training__epochs=1)
    longer = recipe.with_overrides({"training.epochs": 2})
    data = tiny_dataset()
    files = [tmp_path / name for name in ("one.txt", "two.txt")]
    for k, file in enumerate(files, start=1):
        file.write_text(f"red {k} 2 3\ndog 4 {k} 6\n")
    trainer = Trainer(recipe, data, tiny_features(data), tmp_path / "run", files[0])
    vectors = load_glove(files[0], trainer.vocabulary.words, 3).matrix
    np.testing.assert_array_equal(trainer.model.constants["embedding.E"], vectors)
    assert trainer.vectors_found == 2
    trainer.run()
    resumed = Trainer(longer, data, tiny_features(data), tmp_path / "run", files[1], resume=True)
    np.testing.assert_array_equal(resumed.model.constants["embedding.E"], vectors)
    with pytest.raises(CaptioningError, match="--glove FILE"):
        Trainer(recipe, data, tiny_features(data), tmp_path / "other")


CHILD = """
import json, sys, time
from pathlib import Path
from tests.captioning.tiny import tiny_trainer

def report(progress):
    if progress.epoch == 3 and progress.words > 20:
        print("in the middle", flush=True)
        time.sleep(600)

trainer = tiny_trainer(Path(sys.argv[1]), **json.loads(sys.argv[2]))
trainer.run(report)
"""


def test_kill_9_in_the_middle_of_an_epoch_then_resume(whole: Trainer, tmp_path: Path) -> None:
    settings = json.dumps({**FULL, "training__epochs": 4})
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), settings], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "in the middle\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    resumed = tiny_trainer(tmp_path, resume=True, **FULL, training__epochs=4)
    assert len(resumed.history) == 2
    resumed.run()
    assert_equal_runs(resumed, whole)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    path = tiny_trainer(tmp_path, training__epochs=1).run()
    before, log = path.read_bytes(), (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(CaptioningError, match="is there already: give --resume") as caught:
        tiny_trainer(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match="no such checkpoint"):
        tiny_trainer(tmp_path, resume=True)


def test_a_finished_run_resumed_stays_as_it_is(tmp_path: Path) -> None:
    path = tiny_trainer(tmp_path, training__epochs=1).run()
    before = path.read_bytes()
    assert tiny_trainer(tmp_path, resume=True, training__epochs=1).run() == path
    assert path.read_bytes() == before


def test_the_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    tiny_trainer(tmp_path, training__epochs=2).run()
    log.write_text(log.read_text() + '{"epoch": 3, "half a li')  # as after a power cut
    trainer = tiny_trainer(tmp_path, resume=True, training__epochs=3)
    trainer.run()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == trainer.history
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    expected = {"epoch", "train_loss", "validation_loss", "validation", "gates", "learning_rate"}
    assert set(lines[0]) == expected | {"words_per_second", "train_seconds", "seconds"}


def test_progress_counts_every_word(tmp_path: Path) -> None:
    seen: list[Any] = []
    trainer = tiny_trainer(tmp_path, training__epochs=2)
    trainer.run(seen.append)
    assert len(seen) == 2 * 4  # 7 pictures, 2 a batch
    for epoch in (1, 2):
        mine = [p for p in seen if p.epoch == epoch]
        assert mine[-1].words == mine[-1].all_words == trainer.train_split.words
        assert all(a.words < b.words and a.seconds <= b.seconds for a, b in pairwise(mine))
        assert mine[-1].loss == trainer.history[epoch - 1]["train_loss"]


def test_the_train_loss_is_the_mean_over_words(tmp_path: Path) -> None:
    """With a learning rate too small to matter the epoch's mean is that of the parameters as they are."""
    trainer = tiny_trainer(tmp_path, training__epochs=1, training__learning_rate=1e-30)
    trainer.run()
    assert trainer.history[0]["train_loss"] == pytest.approx(mean_loss(trainer.model, trainer.train_split), rel=1e-5)
    assert trainer.history[0]["validation_loss"] == mean_loss(trainer.model, trainer.validation)
    per_batch = [trainer.model.loss(batch) for batch in trainer.train_split.batches(2)]
    assert np.mean(per_batch) != pytest.approx(trainer.history[0]["train_loss"], rel=1e-5)


def spoil(trainer: Trainer, epoch: int, batch: int) -> None:
    """Run with a report that puts NaN into the parameters after a batch."""
    batches = iter(range(1, 10_000))

    def report(progress: Any) -> None:
        if progress.epoch == epoch and next(batches) == batch:
            trainer.model.params["words.b"][2] = math.nan

    trainer.run(report)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_of_nan_names_epoch_and_batch_and_keeps_the_checkpoint(tmp_path: Path, clip: float) -> None:
    path = tiny_trainer(tmp_path, training__epochs=1, training__clip_norm=clip).run()
    before, log = path.read_bytes(), (tmp_path / "log.jsonl").read_bytes()
    trainer = tiny_trainer(tmp_path, resume=True, training__epochs=3, training__clip_norm=clip)
    with pytest.raises(NonFiniteLoss, match=r"nan at epoch 2, batch 3,.*checkpoint of epoch 1 is kept") as caught:
        spoil(trainer, epoch=2, batch=2)
    assert re.search(r"not finite in .*\bwords\b.*; norms: .*words\.b nan \(\d+ of \d+ numbers\)", str(caught.value))
    assert path.read_bytes() == before
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_parameters_spoilt_by_the_last_batch_are_not_saved(tmp_path: Path) -> None:
    path = tiny_trainer(tmp_path, training__epochs=1).run()
    before = path.read_bytes()
    trainer = tiny_trainer(tmp_path, resume=True, training__epochs=3)
    with pytest.raises(NonFiniteLoss, match=r"validation loss is nan at epoch 2;.*checkpoint of epoch 1 is kept"):
        spoil(trainer, epoch=2, batch=4)
    assert path.read_bytes() == before


def test_a_gradient_of_nan_names_epoch_and_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer(tmp_path, training__clip_norm=1.0)
    both = trainer.model.loss_and_gradients

    def spoilt(batch: Any) -> float:
        loss = both(batch)
        trainer.model.grads["rnn.U"][0, 0] = math.inf
        return loss

    monkeypatch.setattr(trainer.model, "loss_and_gradients", spoilt)
    with pytest.raises(NonFiniteLoss, match=r"rnn\.U.*epoch 1, batch 1"):
        trainer.run()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_early_stopping_waits_for_its_patience_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([10.0, 30.0, 20.0, 30.0, 50.0])
    after: list[bytes] = []

    def scored(trainer: Trainer) -> dict[str, float]:
        after.append(trainer.model.params.flat.tobytes())
        return {"CIDEr-D": next(scores)}

    monkeypatch.setattr(Trainer, "_validation_scores", scored)
    settings = {**FULL, "training__patience": 2, "training__epochs": 9}
    trainer = tiny_trainer(tmp_path, **settings)
    path = trainer.run()
    assert trainer.done
    assert len(trainer.history) == 4  # an equal score is no better one
    checkpoint = load_checkpoint(path)
    assert checkpoint.best_epoch == 2
    assert checkpoint.model().params.flat.tobytes() == after[1] != after[3]
    patient = tiny_trainer(tmp_path, resume=True, **settings | {"training__patience": 3, "training__epochs": 5})
    assert not patient.done
    assert load_checkpoint(patient.run()).model().params.flat.tobytes() == after[4]


def test_without_early_stopping_the_best_is_by_validation_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("captioning.train.mean_loss", lambda model, split: next(losses))
    trainer = tiny_trainer(tmp_path, training__epochs=3, training__patience=1)
    trainer.run()
    assert [record["validation_loss"] for record in trainer.history] == [3.0, 1.0, 2.0]
    assert trainer.best_epoch == 2
    assert trainer.history[0]["validation"] is None


def test_validation_scores_are_those_of_the_decoded_captions(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, training__epochs=1, training__early_stopping="CIDEr-D")
    trainer.run()
    scores = trainer.history[0]["validation"]
    assert {"CIDEr-D", "BLEU-4", "ROUGE-L"} <= set(scores)
    assert scores == trainer._validation_scores()


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_five_captions_are_learnt_by_heart(tmp_path: Path, cell: str) -> None:
    data = tiny_dataset(train=5, captions=1, seed=4)
    assert len({caption for _, caption in data.pairs("train")}) == 5
    recipe = tiny_recipe(
        model__cell=cell, model__hidden=16, model__dense=16, training__epochs=60, training__learning_rate=0.03,
        decoding__max_length=10,
    )  # fmt: skip
    trainer = Trainer(recipe, data, tiny_features(data), tmp_path)
    trainer.run()
    assert trainer.history[0]["train_loss"] > 2
    assert trainer.history[-1]["train_loss"] < 0.02
    split = trainer.train_split
    written = caption_pictures(trainer.model, split.names, split.features, trainer.vocabulary, recipe.decoding)
    assert written == {name: " ".join(clean(caption, SCORING)) for name, caption in data.pairs("train")}


def rates(folder: Path, schedule: str, epochs: int = 4, **settings: Any) -> list[float]:
    chosen = {f"training__schedule_{key}": value for key, value in settings.items()}
    trainer = tiny_trainer(folder, training__schedule=schedule, training__epochs=epochs, **chosen)
    trainer.run()
    return [record["learning_rate"] / 0.01 for record in trainer.history]


def test_constant_and_step_rates(tmp_path: Path) -> None:
    assert rates(tmp_path / "constant", "constant") == [1, 1, 1, 1]
    assert rates(tmp_path / "step", "step", every=2, factor=0.1) == pytest.approx([1, 1, 0.1, 0.1])


@pytest.mark.parametrize(("warmup", "floor"), [(0.0, 0.0), (0.5, 0.2), (2.0, 0.0), (3.99, 0.0)])
def test_cosine_rates(tmp_path: Path, warmup: float, floor: float) -> None:
    """Every batch has its rate; the history keeps the last of an epoch, of 4 batches here."""
    expected, rise = [], int(4 * warmup)
    for done in (3, 7, 11, 15):
        rest = (done - rise) / (16 - rise)
        rising = done < rise
        expected.append(done / (rise) if rising else floor + (1 - floor) * (1 + math.cos(math.pi * rest)) / 2)
    assert rates(tmp_path, "cosine", warmup=warmup, floor=floor) == pytest.approx(expected)


def test_plateau_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 4.0, 3.0, 2.0, 2.5])
    monkeypatch.setattr("captioning.train.mean_loss", lambda model, split: next(losses))
    found = rates(tmp_path, "plateau", epochs=5, factor=0.5, patience=2)
    assert found == pytest.approx([1, 1, 1, 0.5, 0.5])


def test_weight_decay_needs_adamw(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match="'adamw' only"):
        tiny_trainer(tmp_path, training__weight_decay=0.1)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_missing_and_broken_features_stop_before_training(tmp_path: Path) -> None:
    data, recipe = tiny_dataset(), tiny_recipe()
    features = tiny_features(data)
    for lost in ("train2.jpg", "validation0.jpg"):
        kept = [name for name in features.names if name != lost]
        fewer = Features(kept, {"features": features.rows(kept)}, features.encoder, "")
        with pytest.raises(MissingFeatures, match=lost):
            Trainer(recipe, data, fewer, tmp_path)
        rows = features.rows(features.names)
        rows[features.names.index(lost), 0] = math.nan
        with pytest.raises(CaptioningError, match=lost):
            Trainer(recipe, data, Features(features.names, {"features": rows}, "", ""), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("output", "shape"), [("grid", (5,)), ("features", (2, 2, 5))])
def test_features_of_another_form_are_refused(tmp_path: Path, output: str, shape: tuple[int, ...]) -> None:
    data = tiny_dataset()
    rows = {output: np.zeros((len(data.captions), *shape), np.float32)}
    with pytest.raises(CaptioningError, match=rf"one vector a picture.*{output}"):
        Trainer(tiny_recipe(), data, Features(tuple(data.captions), rows, "", ""), tmp_path)

"""Training by compiled loops: the losses of NumPy's, and a captioner that anybody can use."""

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.errors import CaptioningError
from captioning.train import Trainer
from rnncore.kernels import Fused, NoCompiler, processor
from tests.captioning.tiny import results, tiny_dataset, tiny_features, tiny_recipe

pytestmark = [pytest.mark.usefixtures("two_threads")]
try:
    processor.compiler()
except NoCompiler as missing:
    pytestmark.append(pytest.mark.skip(reason=str(missing)))

NOISE = {"model__picture_dropout": 0.5, "model__word_dropout": 0.3, "model__output_dropout": 0.5}


def trainer(folder: Path, resume: bool = False, **overrides: Any) -> Trainer:
    dataset = tiny_dataset()
    return Trainer(tiny_recipe(**NOISE | overrides), dataset, tiny_features(dataset), folder, resume=resume)


@pytest.mark.parametrize(
    "settings",
    [
        {"model__cell": "LSTM"},
        {"model__cell": "GRU", "embedding__train": True, "training__clip_norm": 1.0},
        {"model__cell": "GRU-before", "model__layers": 2, "model__recurrent_dropout": 0.2},
        {"model__picture": "init", "training__optimiser": "adamw", "training__weight_decay": 0.01},
        {"training__optimiser": "sgd"},
    ],
    ids=str,
)
def test_losses_are_those_of_the_plain_path(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain, fused = (trainer(tmp_path / str(f), training__fused=f, **settings) for f in (False, True))
    assert all(isinstance(cell, Fused) for cell in fused.model.network.cells)
    for run in (plain, fused):
        run.run()
    for one, other in zip(results(plain.history), results(fused.history), strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert other["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5)
    np.testing.assert_allclose(fused.model.params.flat, plain.model.params.flat, rtol=1e-3, atol=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", training__fused=True, training__epochs=3)
    whole.run()
    trainer(tmp_path / "parts", training__fused=True, training__epochs=2).run()
    parts = trainer(tmp_path / "parts", resume=True, training__fused=True, training__epochs=3)
    parts.run()
    assert results(parts.history) == results(whole.history)
    np.testing.assert_array_equal(parts.model.params.flat, whole.model.params.flat)


def test_what_was_trained_is_used_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, training__fused=True)
    path = run.run()
    run.model.params.assign(dict(run.best))
    model = load_checkpoint(path).model()
    assert not any(isinstance(cell, Fused) for cell in model.network.cells)
    features = run.validation.features
    trained, _ = run.model.step(run.model.start(features), np.full(len(features), 2))
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(ctypes, "CDLL", None)
    for name in ("rnncore.kernels.host._made", "rnncore.kernels.softmax._call"):
        monkeypatch.setattr(name, None)
    log_p, _ = model.step(model.start(features), np.full(len(features), 2))
    np.testing.assert_allclose(log_p, trained, atol=1e-5)


def test_attention_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(CaptioningError, match=r"training\.fused: attention"):
        trainer(tmp_path, training__fused=True, model__picture="init", model__attention="additive")
    assert not any(tmp_path.iterdir())

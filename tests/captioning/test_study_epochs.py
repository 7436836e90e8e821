"""Gates over the epochs of a training: the log has what a study of the same weights finds, and the command shows it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from captioning.checkpoint import load_checkpoint
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.study import Studied
from captioning.study.epochs import gates_used, story, story_figure
from encoders import open_features
from rnncore.study import Usage, usage
from tests.captioning.workshop import Workshop, captioning, one_error


@pytest.fixture(scope="module")
def lstm(workshop: Workshop) -> Path:
    """Two layers of LSTM, three epochs."""
    folder = workshop.folder / "lstm-epochs"
    changes = ("model.cell=LSTM", "model.layers=2", "training.epochs=3")
    done = captioning(*workshop.train(folder, "--quiet", *(part for c in changes for part in ("--set", c))))
    assert done.code == 0, done.err
    return folder


def validated(workshop: Workshop, folder: Path) -> Studied:
    checkpoint, rows = load_checkpoint(folder / "checkpoint.safetensors"), open_features(workshop.features)
    return Studied.of("LSTM", checkpoint, load_dataset(workshop.scenes), rows, "validation")


def test_the_log_has_the_usage_of_every_layer_after_every_epoch(workshop: Workshop, lstm: Path) -> None:
    studied = validated(workshop, lstm)
    history, best = studied.checkpoint.history, studied.checkpoint.best_epoch
    assert [len(record["gates"]) for record in history] == [2, 2, 2]
    for layer in (0, 1):
        expected = usage(studied.run(np.arange(len(studied.split.ids)), layer))
        kept = history[best - 1]["gates"][layer]
        assert list(kept) == list(expected) == ["input", "forget", "output", "candidate"]
        for gate, used in expected.items():
            assert kept[gate] == pytest.approx(asdict(used), abs=2e-5)
    means = [each["forget"].mean for each in story("LSTM", history)]
    assert means == [record["gates"][1]["forget"]["mean"] for record in history]
    assert len(set(means)) == 3


def test_usage_is_that_of_the_first_pictures_without_dropout(workshop: Workshop, lstm: Path) -> None:
    studied = validated(workshop, lstm)
    passes = studied.model.network.passes
    assert gates_used(studied.model, studied.split) == gates_used(studied.model, studied.split)
    assert studied.model.network.passes == passes


def test_the_figure_has_every_epoch_of_every_model(workshop: Workshop, lstm: Path) -> None:
    told = story("LSTM", validated(workshop, lstm).checkpoint.history)
    above, _, below, _ = story_figure({"LSTM": told, "other": told[:2]}).axes
    means = {line.get_label(): line for line in above.get_lines()}
    np.testing.assert_array_equal(means["input"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(means["input"].get_ydata(), [each["input"].mean for each in told])
    assert len(below.get_lines()) == 2 * 4


def test_the_command_shows_models_side_by_side(workshop: Workshop, run: Path, lstm: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "epochs.svg"
    done = captioning("study", str(run), str(lstm), *workshop.given, "--epochs", str(file))
    assert done.code == 0, done.err
    for record in validated(workshop, lstm).checkpoint.history:
        assert f"{record['gates'][-1]['forget']['mean']:+.3f}" in done.out
    assert "GRU: gates by epoch" in done.out
    drawn = file.read_bytes()
    assert b"<svg" in drawn
    assert captioning("study", str(run), str(lstm), *workshop.given, "--epochs", str(file)).code == 0
    assert file.read_bytes() == drawn
    assert [path.name for path in file.parent.iterdir()] == ["epochs.svg"]


def test_a_picture_of_no_known_kind_is_refused(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    done = captioning("study", str(run), *workshop.given, "--epochs", str(tmp_path / "epochs.doc"))
    assert "'doc' is not supported" in one_error(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], [{"gates": [{"update": asdict(Usage(0, 0, 0, 0))}]}, {}]])
def test_a_training_that_did_not_keep_it_is_told(history: list[dict[str, object]]) -> None:
    with pytest.raises(CaptioningError, match="GRU: its log does not say how gates were used"):
        story("GRU", history)

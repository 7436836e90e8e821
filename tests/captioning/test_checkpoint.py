"""The checkpoint file: it comes back whole, or not at all and with a reason."""

import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from captioning.checkpoint import FORMAT, Checkpoint, FeatureSource, load_checkpoint, save_checkpoint
from captioning.config import Recipe
from captioning.decode import caption_pictures
from captioning.errors import CaptioningError
from captioning.train import Trainer
from captioning.vocabulary import Vocabulary
from tests.captioning.tiny import tiny_dataset, tiny_features, tiny_recipe, tiny_trainer

ROOT = Path(__file__).resolve().parents[2]
FAR: dict[str, Any] = {"model__word_dropout": 0.5, "training__epochs": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = tiny_trainer(tmp_path_factory.mktemp("run"), **FAR)
    trainer.run()
    return trainer


@pytest.fixture
def path(trained: Trainer, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be spoiled."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((trained.folder / "checkpoint.safetensors").read_bytes())
    return copy


def test_a_model_comes_back_bit_for_bit(trained: Trainer, path: Path) -> None:
    checkpoint = load_checkpoint(path)
    model = checkpoint.model()
    assert model.params.flat.tobytes() == trained.best.flat.tobytes()
    assert model.constants.flat.tobytes() == trained.model.constants.flat.tobytes()
    moments = trained.optimiser.state_dict()
    for slot, values in checkpoint.tensors("optimiser").items():
        assert values.tobytes() == moments[slot].tobytes()
    assert set(checkpoint.tensors("optimiser")) == set(trained.optimiser.slots)


def test_everything_in_the_header_comes_back(trained: Trainer, path: Path) -> None:
    checkpoint = load_checkpoint(path)
    assert checkpoint.recipe == trained.recipe
    assert checkpoint.recipe.hash == trained.recipe.hash
    assert checkpoint.vocabulary == trained.vocabulary
    assert checkpoint.features == trained.source
    assert checkpoint.history == trained.history
    assert len(checkpoint.history) == 3
    assert checkpoint.best_epoch == trained.best_epoch
    assert checkpoint.state["noise"] == trained.model.noise()


@pytest.mark.parametrize("trains", [True, False])
def test_the_loaded_model_writes_the_same_captions(tmp_path: Path, trains: bool) -> None:
    trainer = tiny_trainer(tmp_path, embedding__train=trains, training__epochs=1)
    checkpoint = load_checkpoint(trainer.run())
    names, rows = trainer.train_split.names, tiny_features(tiny_dataset()).rows(trainer.train_split.names)
    before, after = (
        caption_pictures(model, names, model.prepare(rows), trainer.vocabulary, trainer.recipe.decoding)
        for model in (trainer.model, checkpoint.model())
    )
    assert before == after


def test_the_last_parameters_are_kept_beside_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 2.0])
    monkeypatch.setattr("captioning.train.mean_loss", lambda model, split: next(losses))
    trainer = tiny_trainer(tmp_path, training__epochs=2)
    checkpoint = load_checkpoint(trainer.run())
    assert checkpoint.best_epoch == 1
    last = checkpoint.tensors("last")
    assert {n: a.tobytes() for n, a in last.items()} == {n: a.tobytes() for n, a in trainer.model.params.items()}
    assert trainer.best.flat.tobytes() != trainer.model.params.flat.tobytes()
    assert checkpoint.model().params.flat.tobytes() == trainer.best.flat.tobytes()


def test_no_pickle_is_written_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    trainer = tiny_trainer(tmp_path, training__epochs=1)
    file = trainer.run()
    load_checkpoint(file).model()
    tiny_trainer(tmp_path, resume=True, training__epochs=2).run()
    assert {a.dtype for a in load_file(file).values()} == {np.dtype(np.float32)}
    size = int.from_bytes(file.read_bytes()[:8], "little")
    assert json.loads(file.read_bytes()[8 : 8 + size])["__metadata__"]["format"] == FORMAT


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CaptioningError, match="no such checkpoint") as caught:
            load_checkpoint(wrong)
        assert str(wrong) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 7, 8, 100, 0.5, -1])
def test_a_truncated_file_is_refused(path: Path, kept: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(CaptioningError, match="whole safetensors file") as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_garbage_is_refused(path: Path, seed: int) -> None:
    path.write_bytes(random.Random(seed).randbytes(5000))
    with pytest.raises(CaptioningError, match="whole safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"startseq", b"startsaq"),
        (b'learning_rate\\": 0.01', b'learning_rate\\": 0.02'),
        (b"best_epoch", b"bess_epoch"),
    ],
)
def test_an_altered_header_is_refused(path: Path, before: bytes, after: bytes) -> None:
    data = path.read_bytes()
    assert before in data
    assert len(before) == len(after)
    path.write_bytes(data.replace(before, after, 1))
    with pytest.raises(CaptioningError, match="does not match its hash"):
        load_checkpoint(path)


@pytest.mark.parametrize("where", [0, 0.3, 0.7, -1])
@pytest.mark.parametrize("bit", [1, 128])
def test_a_flipped_bit_in_a_tensor_is_refused(path: Path, where: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[-1 if where == -1 else start + int(where * (len(data) - start))] ^= bit
    path.write_bytes(data)
    checkpoint = load_checkpoint(path)
    assert [part for part in ("model", "last", "optimiser") if is_damaged(checkpoint, part)] in (
        ["model"],
        ["optimiser"],
    )


def is_damaged(checkpoint: Checkpoint, part: str) -> bool:
    try:
        checkpoint.tensors(part)
    except CaptioningError as error:
        return f"{checkpoint.path}: the tensors of {part!r} do not match their hash" in str(error)
    return False


def test_a_checkpoint_of_before_tensors_had_hashes_still_loads(trained: Trainer, path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        header = {k: v for k, v in file.metadata().items() if k not in ("tensor_hashes", "header_hash")}
    hashed = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    save_file(load_file(path), path, header | {"header_hash": hashed})
    checkpoint = load_checkpoint(path)
    assert checkpoint.tensor_hashes == {}
    assert checkpoint.model().params.flat.tobytes() == trained.best.flat.tobytes()


@pytest.mark.parametrize(
    ("metadata", "why"),
    [(None, "of format"), ({"format": "pt"}, "of format.*'pt'"), ({"format": FORMAT}, "does not match its hash")],
)
def test_another_safetensors_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None, why: str) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, other, metadata)
    with pytest.raises(CaptioningError, match=why):
        load_checkpoint(other)


def test_a_tensor_that_is_missing_is_named(trained: Trainer, tmp_path: Path) -> None:
    whole = load_checkpoint(trained.folder / "checkpoint.safetensors")
    tensors = {f"model/{name}": a for name, a in whole.tensors("model").items() if name != "rnn.U"}
    save_checkpoint(tmp_path / "less", whole, tensors)
    with pytest.raises(CaptioningError, match=r"every tensor; missing: rnn\.U"):
        load_checkpoint(tmp_path / "less").model()


def test_other_features_are_refused_with_both_hashes(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    assert checkpoint.features.hash == "encoder-of-tests"
    other = FeatureSource("another-encoder", "other features", 5)
    with pytest.raises(CaptioningError, match=r"encoder-of-tests.*another-encoder"):
        checkpoint.refuse_features(other)
    checkpoint.refuse_features(checkpoint.features)
    made_by = replace(checkpoint, features=replace(checkpoint.features, made_by="another-encoder"))
    made_by.refuse_features(other)
    with pytest.raises(CaptioningError, match=r"encoder-of-tests"):
        made_by.refuse_features(FeatureSource("third", "", 5))


def test_another_vocabulary_is_refused_with_both_hashes(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    other = Vocabulary.build([["one", "two"]], 1)
    with pytest.raises(CaptioningError) as caught:
        checkpoint.refuse_other(other, checkpoint.features)
    assert other.hash in str(caught.value)
    assert checkpoint.vocabulary.hash in str(caught.value)


def test_resuming_with_other_data_features_or_recipe_is_refused(trained: Trainer, path: Path, tmp_path: Path) -> None:
    path.rename(tmp_path / "checkpoint.safetensors")
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    data, recipe = tiny_dataset(), tiny_recipe(**FAR)
    fewer, other = tiny_dataset(train=4), tiny_features(data, encoder="another-encoder")
    with pytest.raises(CaptioningError, match=trained.vocabulary.hash):
        Trainer(recipe, fewer, tiny_features(fewer), tmp_path, resume=True)
    with pytest.raises(CaptioningError, match="another-encoder"):
        Trainer(recipe, data, other, tmp_path, resume=True)
    changed = tiny_recipe(**FAR, training__learning_rate=0.1)
    with pytest.raises(CaptioningError, match=f"{trained.recipe.hash}.*{changed.hash}"):
        Trainer(changed, data, tiny_features(data), tmp_path, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_cosine_laid_out_for_other_epochs_is_not_resumed(tmp_path: Path, epochs: int) -> None:
    trained = {"training__schedule": "cosine", "training__epochs": 2}
    tiny_trainer(tmp_path, **trained).run()
    with pytest.raises(CaptioningError, match=f"laid out for 2 epochs, not {epochs}"):
        tiny_trainer(tmp_path, resume=True, **(trained | {"training__epochs": epochs}))
    assert tiny_trainer(tmp_path, resume=True, **trained).done


def test_a_failure_while_writing_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    checkpoint = load_checkpoint(path)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, checkpoint, {"model/x": np.ones(3, np.float32)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


WRITER = """
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
import numpy as np
from captioning.checkpoint import load_checkpoint, save_checkpoint

path = Path(sys.argv[1])
checkpoint = load_checkpoint(path)
print("ready", flush=True)
for k in count(checkpoint.best_epoch + 1):
    tensors = {f"model/{n}": np.full(1 << 20, k, np.float32) for n in "abcd"}
    save_checkpoint(path, replace(checkpoint, best_epoch=k), tensors)
    print("written", flush=True)
"""


def test_kill_9_while_writing_leaves_a_whole_checkpoint(path: Path) -> None:
    rng, epochs = random.Random(0), []
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert writer.stdout.readline() == b"written\n"  # however slow the machine, at least one whole file each time
        time.sleep(rng.uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        checkpoint = load_checkpoint(path)
        stored = checkpoint.tensors("model")
        epochs.append(checkpoint.best_epoch)
        if "a" in stored:
            assert {float(v) for a in stored.values() for v in (a.min(), a.max())} == {float(epochs[-1])}
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 4, "every writer wrote something"


def test_a_checkpoint_of_before_a_key_existed_means_what_it_did_then(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    trainer.run()
    path = tmp_path / "checkpoint.safetensors"
    stored = load_checkpoint(path)
    recipe = stored.recipe.to_dict()
    for section, keys in {"model": ("picture", "tied", "attention"), "training": ("averaging",)}.items():
        for key in keys:
            del recipe[section][key]
    older = Recipe.from_dict("older", recipe, older=True)
    assert older.hash == stored.recipe.hash
    with pytest.raises(CaptioningError, match=r"\[model\] lacks picture, tied, attention"):
        Recipe.from_dict("a file", recipe)
    del recipe["model"]["hidden"]
    with pytest.raises(CaptioningError, match=r"\[model\] lacks hidden"):
        Recipe.from_dict("older", recipe, older=True)
    state = {key: value for key, value in stored.state.items() if key != "noise"}
    tensors = {f"model/{name}": a for name, a in stored.tensors("model").items()}
    save_checkpoint(path, replace(stored, state=state), tensors)
    assert load_checkpoint(path).model().params.size == trainer.model.params.size
    with pytest.raises(CaptioningError, match="an older version wrote it"):
        tiny_trainer(tmp_path, resume=True)

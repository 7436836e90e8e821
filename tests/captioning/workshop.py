"""A folder with a few scenes, a tiny encoder and a tiny recipe, and the commands as a person types them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import main
from captioning.scenes import make_scenes
from encoders import open_features
from tests.encoders.tiny import tiny_encoder

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
base = "default"
[text]
min_count = 1
[embedding]
size = 6
[model]
hidden = 8
dense = 8
picture_dropout = 0.1
word_dropout = 0.1
output_dropout = 0.1
[training]
schedule = "constant"
epochs = 2
pictures_per_batch = 8
learning_rate = 0.01
early_stopping = "none"
[decoding]
max_length = 12
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Workshop:
    """Thirty scenes, 24 of them for training, with their features of five numbers by a tiny encoder."""

    folder: Path

    @property
    def scenes(self) -> Path:
        return self.folder / "scenes"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def encoder(self) -> Path:
        return self.folder / "tiny.onnx"

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def given(self) -> list[str]:
        """Data and features, as arguments."""
        return ["--data", str(self.scenes), "--features", str(self.features)]

    def train(self, run: Path, *arguments: str) -> list[str]:
        """The arguments of `captioning train` with the tiny recipe."""
        return ["train", *self.given, "--recipe", str(self.recipe), "--run", str(run), *arguments]

    def compare(self, run: Path, *arguments: str) -> list[str]:
        """The arguments of `captioning compare` with the tiny recipe."""
        return ["compare", *self.train(run, *arguments)[1:]]

    def pictures(self, count: int) -> list[Path]:
        """The first pictures of the scenes."""
        return sorted((self.scenes / "pictures").iterdir())[:count]


def set_up(folder: Path) -> Workshop:
    """Make a workshop; its features come from `captioning encode`."""
    workshop = Workshop(folder)
    make_scenes(workshop.scenes, 30, seed=0)
    tiny_encoder(workshop.encoder)
    workshop.recipe.write_text(RECIPE)
    model, store = str(workshop.encoder), str(workshop.features)
    done = captioning("encode", "--data", str(workshop.scenes), "--model", model, "--store", store)
    assert done.code == 0, done.err
    return workshop


def captioning(*arguments: str) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with _as_typed(arguments), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


@contextmanager
def _as_typed(arguments: tuple[str, ...]) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["captioning", *arguments]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def start(*arguments: str, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "captioning", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=limit,
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a started command."""
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def write_npz(path: Path, workshop: Workshop, **changes: Any) -> Path:
    """The workshop's features as an .npz file; changes replace its arrays."""
    stored = open_features(workshop.features)
    arrays = {"names": np.array(stored.names), "features": stored.rows(stored.names)} | changes
    np.savez(path, **arrays)
    return path


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def one_error(outcome: Outcome) -> str:
    """The one line of stderr that a failed command leaves, after checking that there is no more."""
    assert outcome.code == 1, outcome
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, outcome.err
    assert outcome.err.rstrip().splitlines()[-1] == lines[0]
    assert "Traceback" not in outcome.err
    return lines[0]

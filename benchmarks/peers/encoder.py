"""Pictures to features: the whole way (decode, infer, store) beside the bare session on ready arrays."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.turns import Competitor, take_turns
from encoders import Encoder, Header, StoreWriter, default_encoder, encode_into
from encoders.pictures import load_picture

BATCH, PICTURES, BAR = 8, 32, 1.10


def measure(rounds: int, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the one row."""
    with tempfile.TemporaryDirectory() as folder:
        encoder, pictures = setting(Path(folder), 8 if quick else PICTURES)
        seconds = take_turns(competitors(encoder, pictures, Path(folder)), rounds, turn=0.0)
    yield {
        "work": "encoder",
        "cell": "",
        "bar": BAR,
        "network": encoder.spec.description,
        "pictures": len(pictures),
        "batch": BATCH,
        "seconds": {name: [s / len(pictures) for s in each] for name, each in seconds.items()},
    }


def setting(folder: Path, count: int) -> tuple[Encoder, dict[str, Path]]:
    """Return the real network and its pictures where they are; else the built one and pictures of smooth noise."""
    named = os.environ.get("CAPTIONING_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    model, pictures = data / "models" / "inception_v3_2015_trunk2048.onnx", data / "flickr8k" / "images224"
    if model.is_file() and pictures.is_dir():
        return Encoder(model), {path.name: path for path in sorted(pictures.iterdir())[:count]}
    rng = np.random.default_rng(0)
    for k in range(count):
        rough = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=85)
    return Encoder(default_encoder()), {path.name: path for path in sorted(folder.glob("*.jpg"))}


def competitors(encoder: Encoder, pictures: dict[str, Path], folder: Path) -> dict[str, Competitor]:
    """Return the whole way, each time into a new store, and the session alone."""
    how, stores = encoder.spec.preprocessing, itertools.count()
    ready = np.stack([load_picture(path, how) for path in pictures.values()])
    session = onnxruntime.InferenceSession(str(encoder.model), providers=["CPUExecutionProvider"])
    tensor, name = encoder.spec.output("features").tensor, encoder.spec.input

    def whole() -> None:
        header = Header(encoder.spec.hash, "benchmark", encoder.shapes)
        with StoreWriter(folder / f"store{next(stores)}", header) as store:
            encode_into(store, encoder, pictures, BATCH)

    def bare() -> None:
        for k in range(0, len(ready), BATCH):
            session.run([tensor], {name: ready[k : k + BATCH]})

    return {"ours": Competitor(whole), "bare session": Competitor(bare)}

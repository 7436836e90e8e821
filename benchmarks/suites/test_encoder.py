"""Pictures a second of the whole way (decode, infer, store) against the bare session on ready arrays.

Both run in turn, round by round, on the same pictures, so that what else the machine does touches both alike.
The ratio is reported, never asserted: `pytest benchmarks/test_encoder.py -s`.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from encoders import Encoder, Header, StoreWriter, default_encoder, encode_into
from encoders.pictures import load_picture

BATCH, PICTURES, ROUNDS = 8, 32, 7


def find_model() -> tuple[Path, Path | None]:
    """The real network and its pictures where they are; else the built one."""
    named = os.environ.get("CAPTIONING_DATA")
    data = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    model = data / "models" / "inception_v3_2015_trunk2048.onnx"
    return (model, data / "flickr8k" / "images224") if model.is_file() else (default_encoder(), None)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, dict[str, Path]]:
    """An encoder and the files it is fed: Flickr8k's, or photographs' size filled with smooth noise."""
    model, pictures = find_model()
    if pictures is not None:
        return Encoder(model), {path.name: path for path in sorted(pictures.iterdir())[:PICTURES]}
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for k in range(PICTURES):
        rough = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=85)
    return Encoder(model), {path.name: path for path in sorted(folder.iterdir())}


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_the_whole_way_against_the_bare_session(
    benchmark: Any, setting: tuple[Encoder, dict[str, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, pictures = setting
    how = encoder.spec.preprocessing
    ready = np.stack([load_picture(path, how) for path in pictures.values()])
    session = ort.InferenceSession(str(encoder.model), providers=["CPUExecutionProvider"])
    tensor, name = encoder.spec.output("features").tensor, encoder.spec.input

    def bare() -> None:
        for k in range(0, len(ready), BATCH):
            session.run([tensor], {name: ready[k : k + BATCH]})

    def whole(number: int) -> None:
        header = Header(encoder.spec.hash, "benchmark", encoder.shapes)
        with StoreWriter(tmp_path / str(number), header) as store:
            encode_into(store, encoder, pictures, BATCH)

    def measure() -> list[tuple[float, float]]:
        bare()
        whole(-1)
        return [(seconds(bare), seconds(lambda k=k: whole(k))) for k in range(ROUNDS)]  # type: ignore[misc]

    times = benchmark.pedantic(measure, rounds=1, iterations=1)
    best = [min(each) for each in zip(*times, strict=True)]
    ratio = statistics.median(ours / theirs for theirs, ours in times)
    rates = [PICTURES / value for value in best]
    benchmark.extra_info.update(bare_per_s=rates[0], whole_per_s=rates[1], median_time_ratio=ratio)
    with capsys.disabled():
        print(
            f"\nbare session {rates[0]:.1f} pictures/s, whole way {rates[1]:.1f} pictures/s (best of {ROUNDS}); "
            f"median time ratio {ratio:.3f}, of the best {best[1] / best[0]:.3f}"
        )


def test_decoding_one_picture(benchmark: Any, setting: tuple[Encoder, dict[str, Path]]) -> None:
    encoder, pictures = setting
    path = next(iter(pictures.values()))
    benchmark(load_picture, path, encoder.spec.preprocessing)

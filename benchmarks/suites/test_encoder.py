"""Pictures a second of the whole way (decode, infer, store) and of the bare session; and decoding one picture.

Beside one another, in turns, they are in `python -m benchmarks.peers encoder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import encoder as peers
from encoders import Encoder
from encoders.pictures import load_picture

PICTURES = 16


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, dict[str, Path]]:
    """An encoder, and pictures for it, made where there are none."""
    return peers.setting(tmp_path_factory.mktemp("pictures"), PICTURES)


@pytest.mark.parametrize("which", ["ours", "bare session"])
@pytest.mark.benchmark(group="encoder")
def test_pictures(benchmark: Any, setting: tuple[Encoder, dict[str, Path]], tmp_path: Path, which: str) -> None:
    """From picture files to features, and the bare session."""
    encoder, pictures = setting
    work = peers.competitors(encoder, pictures, tmp_path)[which]
    benchmark.pedantic(work.call, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(pictures=len(pictures), batch=peers.BATCH, network=encoder.spec.description)


@pytest.mark.benchmark(group="encoder")
def test_decoding_one_picture(benchmark: Any, setting: tuple[Encoder, dict[str, Path]]) -> None:
    """Reading a picture file and bringing it to size."""
    encoder, pictures = setting
    benchmark(load_picture, next(iter(pictures.values())), encoder.spec.preprocessing)

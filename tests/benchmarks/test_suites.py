"""The suites for pytest-benchmark: all are collected, some are run, and what they keep says what it is about."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.count import cost
from benchmarks.record import has_fused

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}  # one of many
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kind_of_work_is_there() -> None:
    collected = run("benchmarks/suites", "--collect-only")
    kinds = ("training", "forward", "streaming", "growth", "optimiser", "clipping", "softmax_cross_entropy")
    kinds += ("projection_to_the_vocabulary", "embedding", "part_of_an_epoch", "decoding", "pictures")
    for kind in kinds:
        assert f"::test_{kind}" in collected
    assert "test_training[GRU-before-256-32-100-float64]" in collected
    assert "test_streaming[LSTM-fused-256-1-float32]" in collected


def test_what_is_kept_says_what_it_is_about(tmp_path: Path) -> None:
    kept, names = tmp_path / "kept.json", ["training[GRU-64-1-10-float32]", "streaming[LSTM-64-1-float64]"]
    names += ["training[GRU-fused-64-1-10-float32]"] if has_fused() else []
    limits = ("--benchmark-max-time", "0.01", "--benchmark-min-rounds", "1", "--benchmark-warmup", "off")
    chosen = [f"benchmarks/suites/test_cells.py::test_{name}" for name in names]
    loss = "benchmarks/suites/test_learning.py::test_softmax_cross_entropy[150]"
    run(*chosen, loss, "--benchmark-only", f"--benchmark-json={kept}", *limits)
    content = json.loads(kept.read_text())
    training, streaming, *fused, softmax = (each["extra_info"] for each in content["benchmarks"])
    assert training == training | cost("GRU", 10, 64, 64)._asdict() | {"T": 10, "B": 1, "D": 64, "H": 64}
    assert training["flops"] == training["training"]
    assert streaming["flops"] == cost("LSTM", 1, 64, 64).forward
    assert streaming["bytes"] == 2 * cost("LSTM", 1, 64, 64).bytes
    assert softmax["rows"] == 150
    assert fused == ([training | {"cell": "GRU-fused"}] if has_fused() else [])
    assert content["machine_info"]["blas"]["name"]

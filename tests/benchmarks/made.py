"""Records as the commands write them, with made-up times."""

from typing import Any


def machine(**environment: str) -> dict[str, Any]:
    blas = {"name": "openblas", "version": "0.3", "kernel": "Haswell" if environment else "SkylakeX", "threads": 2}
    return {"cpu": "AMD EPYC", "cores": 2, "blas": blas, "packages": {"numpy": "2.4"}, "environment": environment}


def record(part: str, rows: list[dict[str, Any]], **environment: str) -> dict[str, Any]:
    about = {"command": f"python -m benchmarks.peers {part}", "date": "2026-11-24", "machine": machine(**environment)}
    return {"part": part, **about, "rows": rows}


def training_row(ours: float, cell: str = "LSTM", bar: float = 0.95, **others: float) -> dict[str, Any]:
    """A row of `training` whose times wander by a few percent, everybody's alike."""
    wander = [1.0, 1.02, 0.98, 1.01, 1.05, 0.99, 1.0]
    named = {name.replace("_", " "): seconds for name, seconds in ({"ours": ours} | others).items()}
    seconds = {name: [each * w for w in wander] for name, each in named.items()}
    return {"work": "forward and backward", "cell": cell, "shape": [34, 64, 200, 256], "bar": bar, "seconds": seconds}

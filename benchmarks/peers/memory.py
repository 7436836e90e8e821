"""Peak resident memory of a training step, ours beside PyTorch's, each in a process of its own.

    python -m benchmarks.peers.memory --library torch --cell LSTM --shape 34 64 200 256

The process is built up, its weights and data are there; then the peak is set back, and some steps are taken. What
counts is how far the peak lies above what was resident before: caches, workspaces and gradients, nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers.problem import Problem
from benchmarks.record import has_fused, run_module
from benchmarks.rows import FUSED, SIDES

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: What a training step may take beyond torch's has no bar; the shapes are the captioner's, small and large.
SHAPES = ((34, 64, 200, 256), (34, 256, 256, 256), (100, 64, 512, 512))
STEPS, LONG = 3, 1000


def resident(field: str) -> float:
    """Return VmRSS, what is resident now, or VmHWM, its peak, in MB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {field}")
    return int(found[1]) * 1024 / 1e6


def step_of(library: str, problem: Problem) -> Callable[[], Any]:
    """Return the training step of one library as it is installed, ready to be called, none taken."""
    if library in SIDES:
        from benchmarks.peers import ours

        return ours.training(problem, fused=library == FUSED).call
    from benchmarks.peers import torch_rnn

    return torch_rnn.dense(problem, problem.x, problem.dy)


def measure_here(library: str, problem: Problem, steps: int) -> dict[str, float]:
    """Measure in this process: MB at rest, and the peak above it; with many steps also how far it grew after 100."""
    step_of(library, Problem(problem.cell, 2, 2, 4, 4))()  # what a library loads at its first step is no step's memory
    call = step_of(library, problem)
    before = settled = resident("VmRSS")
    CLEAR.write_text("5")  # sets the peak back to what is resident now
    for k in range(steps):
        call()
        if k == 99:
            settled = resident("VmRSS")
    found = {"rest": before, "peak": resident("VmHWM") - before}
    return found | ({"growth": resident("VmRSS") - settled} if steps > 100 else {})


def measure(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for every shape and cell, and one of a thousand steps of a small layer."""
    if not CLEAR.exists():
        return
    libraries = ["ours", *[FUSED] * has_fused(), *["torch"] * bool(find_spec("torch"))]
    jobs = [(shape, STEPS) for shape in SHAPES[: 1 if quick else None]] + ([] if quick else [((20, 16, 64, 64), LONG)])
    for shape, steps in jobs:
        for cell in ("LSTM", "GRU"):
            sizes = [str(n) for n in shape]
            arguments = ["--cell", cell, "--steps", str(steps), "--shape", *sizes]
            megabytes = {
                library: json.loads(run_module("benchmarks.peers.memory", ["--library", library, *arguments]))
                for library in libraries
            }
            yield {"work": "memory of training", "cell": cell, "shape": shape, "steps": steps, "megabytes": megabytes}


def main() -> None:
    """Measure one library, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=[*SIDES, "torch"], required=True)
    parser.add_argument("--cell", choices=["LSTM", "GRU"], required=True)
    parser.add_argument("--shape", type=int, nargs=4, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    print(json.dumps(measure_here(args.library, Problem(args.cell, *args.shape), args.steps)))


if __name__ == "__main__":
    main()

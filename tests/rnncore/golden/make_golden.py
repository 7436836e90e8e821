"""Make torch.npz and keras.npz beside this file: what PyTorch and Keras 3 compute, to be held against.

    python tests/rnncore/golden/make_golden.py

in an environment with torch, keras and numpy, from the root of the repository. Every problem is drawn in float64; its
float32 cases round it. The files are not reproduced to the last bit by other versions of the two libraries, and need
not be: the tests compare within 1e-10 (float64) and 1e-5 (float32).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.rnncore.golden.cases import FOLDER, KERAS, TORCH, Arrays, Case, Shapes, flatten
from tests.rnncore.golden.peers import run_keras, run_torch


def make(
    file: str, cases: list[Case], weights: Callable[[Case], Shapes], run: Callable[[Case, Arrays], Arrays]
) -> None:
    """Run every case and write the file."""
    stored: dict[str, Any] = {}
    seeds = {name: seed for seed, name in enumerate(dict.fromkeys(case.problem_name for case in cases))}
    for case in cases:
        wide = Case(case.kind, case.layers, case.directions, case.lengths, "float64")
        problem = wide.draw(weights(case), seeds[case.problem_name])
        stored[f"{case.problem_name} problem"] = flatten(problem, case.problem(weights(case)))
        result = run(case, {name: a.astype(case.dtype) for name, a in problem.items()})
        assert {a.dtype for a in result.values()} == {np.dtype(case.dtype)}
        stored[str(case)] = flatten(result, case.result(weights(case)))
    np.savez_compressed(FOLDER / file, **stored)
    print(f"{file}: {len(cases)} cases, {(FOLDER / file).stat().st_size:,} bytes")


if __name__ == "__main__":
    make("torch.npz", TORCH, Case.torch_weights, run_torch)
    make("keras.npz", KERAS, Case.keras_weights, run_keras)

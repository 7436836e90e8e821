"""NVIDIA's compiler takes every source that we generate, for Hopper, with no warning and within a thread's bounds."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.kernels import persistent
from rnncore.kernels.copies import Copies
from rnncore.kernels.program import Kernel, compose
from rnncore.kernels.record import Kind, record
from rnncore.kernels.source import COPY, LAYOUT, kernel_source, preamble
from tests.gpu.test_fused import FUSED
from tests.rnncore.problems import ALL

ARCHITECTURE = "sm_90"


@pytest.fixture
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is not installed")
    return found


def every_kernel(dtype: Any) -> str:
    """The kernels of all cells, both ways, step by step and in whole loops, as one source."""
    parts = [preamble(dtype), LAYOUT, *([COPY] if dtype == np.float32 else [])]
    kinds = [Kind(), Kind(whole=True), Kind(True), Kind(True, whole=True, arrives=(True, True)), Kind(masked=True)]
    for name in ("LSTM", "GRU", "RNN", "LSTM-peephole"):
        cell = ALL[name]()
        program = compose(record(cell, cell.shapes(5, 6), 6, Kind(whole=True)), 6)
        parts_of_step = persistent.parts_of(program, 6)
        text = persistent.source(*parts_of_step, name.replace("-", "_"), 6, np.dtype(dtype))
        text = text.removeprefix(preamble(dtype))
        parts.append(text.replace("grid_barrier", f"barrier_of_{name}".replace("-", "_")))
    for k, name in enumerate(FUSED):
        cell: Any = ALL[name]()
        rates = tuple(None if name == cell.state[0] else 0.5 for name in cell.state)
        noisy = {"zones": rates, "drops": "U" in cell.shapes(5, 6), "whole": True}
        around = [Kind(**noisy), Kind(backward=True, arrives=(True,), **noisy)]
        for j, kind in enumerate([*kinds, *around]):
            program = compose(record(cell, cell.shapes(5, 6), 6, kind), 6)
            copied = Copies(program, 6).kernels if dtype == np.float32 else {}
            for i, stage in enumerate(program.stages):
                if isinstance(stage, Kernel):
                    parts.append(kernel_source(stage, f"kernel_{k}_{j}_{i}", copied.get(i, ())))
    return "\n".join(parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_generated_kernel_compiles_and_fits(nvcc: str, tmp_path: Path, dtype: Any) -> None:
    source = tmp_path / "kernels.cu"
    source.write_text(every_kernel(dtype), "utf-8")
    command = [nvcc, "-cubin", f"-arch={ARCHITECTURE}", "-std=c++17", "--ptxas-options=-v", "-o", "kernels.cubin"]
    done = subprocess.run([*command, str(source)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", done.stderr)]
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr)]
    assert len(registers) == source.read_text("utf-8").count("__global__")
    assert max(registers) <= 128  # so that two blocks of 256 threads fit a multiprocessor's 65536 registers
    assert not any(spilled)


def test_a_source_that_is_wrong_is_seen(nvcc: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.cu").write_text(preamble(np.float32) + LAYOUT.replace("start[n]", "begin[n]", 1), "utf-8")
    command = [nvcc, "-ptx", f"-arch={ARCHITECTURE}", "-o", "wrong.ptx", "wrong.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert '"begin" is undefined' in done.stderr

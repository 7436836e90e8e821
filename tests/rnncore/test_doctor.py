"""The doctor sees the variables of its own process, says what they cost, and tells a remedy only where one is due."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import doctor, machine
from rnncore.kernels import processor

HELD = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}


def run(*arguments: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in machine.VARIABLES}
    command = [sys.executable, "-W", "error", "-m", "rnncore", *arguments]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def facts(**changes: Any) -> dict[str, Any]:
    """A machine on which all is well, and what is given changed."""
    well = {
        "rnncore": "1", "python": "3.11", "numpy": "2.4", "cpu": "a processor", "cores": 2, "memory_gib": 8.0,
        "blas": {"name": "openblas", "version": "0.3", "kernel": "SkylakeX", "threads": 2},
        "simd": {"widest": "AVX-512", "found": []}, "variables": {}, "load": 0.1,
        "gpu": {"driver": None, "usable": [], "why": "no CuPy"},
        "fused": {"compiler": "cc 12", "threads": 2, "shared": True, "why": None},
        "rates": {"float32": 240.0, "float64": 120.0, "recurrent": 200.0, "memory": 30.0}, "rates_without": None,
    }  # fmt: skip
    return well | changes


def test_a_process_with_the_variables_reports_them_and_one_without_does_not() -> None:
    held = json.loads(run("--json", "--seconds", "0.02", **HELD))
    assert held["variables"] == HELD
    assert set(held["rates_without"]) == set(held["rates"]) == {"float32", "float64", "recurrent", "memory"}
    free = json.loads(run("--json", "--seconds", "0.02", CUDA_VISIBLE_DEVICES=""))
    assert free["variables"] == {"CUDA_VISIBLE_DEVICES": ""}
    assert free["rates_without"] is None


def test_the_kernels_are_those_that_the_variable_asks_for() -> None:
    if machine.blas()["name"] != "openblas" or machine.simd()["widest"] not in ("AVX2", "AVX-512"):
        pytest.skip("NumPy's BLAS is not OpenBLAS on a processor with AVX2 here")
    held = json.loads(run("--json", "--seconds", "0.02", **HELD))  # without both, OpenBLAS may crash: NumPy 2.5.5
    assert held["blas"]["kernel"] == "Haswell"


def test_limits_of_threads_reach_the_report() -> None:
    text = run("--seconds", "0.02", OPENBLAS_NUM_THREADS="1")
    assert "1 threads" in text
    assert "OPENBLAS_NUM_THREADS=1" in text


def test_what_the_variables_cost_is_said_with_the_remedy() -> None:
    fast = {"float32": 490.0, "float64": 240.0, "recurrent": 320.0, "memory": 30.0}
    (said,) = doctor.remedies(facts(variables=HELD, rates_without=fast))
    assert (
        "large ones 490 GFLOP/s in place of 240, 2.0 times as fast; recurrent ones 320 GFLOP/s in place of 200" in said
    )
    assert "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE" in said
    busy = {"float32": 490.0, "float64": 240.0, "recurrent": 3.0, "memory": 30.0}
    (said,) = doctor.remedies(facts(variables=HELD, rates_without=busy))
    assert "recurrent" not in said
    same = {"float32": 245.0, "float64": 120.0, "recurrent": 205.0, "memory": 30.0}
    assert doctor.remedies(facts(variables=HELD, rates_without=same)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"load": 3.0}, "load 3.0"),
        ({"blas": {"name": "openblas", "version": "0.3", "kernel": None, "threads": None}}, "threadpoolctl"),
        ({"blas": {"name": "openblas", "version": "0.3", "kernel": "Haswell", "threads": 2}}, "AVX2"),
        ({"blas": {"name": "openblas", "version": "0.3", "kernel": "SkylakeX", "threads": 1}}, "1 of 2 cores"),
        ({"gpu": {"driver": ["an H100"], "usable": [], "why": "no CuPy"}}, "an H100"),
    ],
)
def test_each_trouble_has_its_remedy(change: dict[str, Any], said: str) -> None:
    (found,) = doctor.remedies(facts(**change))
    assert said in found
    assert f"! {found}" in doctor.report(facts(**change))


def test_where_all_is_well_nothing_is_advised() -> None:
    assert doctor.remedies(facts()) == []
    assert doctor.report(facts()).endswith("nothing holds it back")


def test_the_compiler_of_fused_kernels_is_named() -> None:
    assert "\nfused      kernels compiled by cc 12, on 2 threads, which do OpenBLAS's work too\n" in doctor.report(
        facts()
    )
    apart = facts()["fused"] | {"shared": False}
    assert "cc 12, on 2 threads, beside those of NumPy's products\n" in doctor.report(facts(fused=apart))
    found = doctor.fused_kernels()
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here: the test below is about that")
    assert found["why"] is None
    said = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout
    assert os.environ.get("CC") or found["compiler"] == said.splitlines()[0]


@pytest.mark.parametrize(("compiler", "said"), [(None, "none of cc, gcc, clang is there"), ("#!/bin/sh\nexit 1", "cc")])
def test_where_fused_kernels_cannot_be_compiled_it_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str | None, said: str
) -> None:
    if compiler is not None:  # one that is there and does not work
        (tmp_path / "cc").write_text(compiler)
        (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    processor.compiled.cache_clear()
    found = doctor.fused_kernels()
    assert found["compiler"] is None
    assert said in found["why"]
    assert f"\nfused      none: {found['why'].partition(chr(10))[0]}" in doctor.report(facts(fused=found))


def test_rates_are_those_of_the_work_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "best_seconds", lambda work, seconds: (work(), 0.5)[1])
    assert doctor.product_rate((100, 200, 300)) == pytest.approx(2 * 100 * 200 * 300 / 0.5 / 1e9)
    assert doctor.bandwidth(mib=1) == pytest.approx(2 * 2**20 / 0.5 / 1e9)


def test_the_best_time_is_the_shortest() -> None:
    work = iter([None] * 3)
    assert 0 < doctor.best_seconds(lambda: next(work), 0.0) < 0.1
    assert next(work, "all three were called") == "all three were called"


def test_wrong_seconds_are_refused() -> None:
    command = [sys.executable, "-m", "rnncore", "--seconds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "more than 0 and at most 60" in done.stderr


def test_facts_are_plain_json_without_this_machines_names() -> None:
    found = doctor.examine(0.02)
    assert json.loads(json.dumps(found)) == found
    assert found["numpy"] == np.__version__
    assert os.getcwd() not in json.dumps(found)

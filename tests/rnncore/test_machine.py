"""The description of the machine: complete, plain JSON, and silent about whose machine it is."""

import getpass
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from rnncore.machine import describe_machine, usable_cores


def test_it_tells_what_a_timing_depends_on() -> None:
    machine = describe_machine()
    assert machine["python"] == platform.python_version()
    assert machine["packages"]["numpy"] == np.__version__
    assert 1 <= machine["cores"] <= (os.cpu_count() or 1)
    assert machine["cpu"]
    assert machine["blas"]["name"]
    assert json.loads(json.dumps(machine)) == machine


def test_it_names_neither_the_host_nor_the_user_nor_a_path() -> None:
    text = json.dumps({k: v for k, v in describe_machine().items() if k != "os"})
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text
    assert os.getcwd() not in text


def test_thread_limits_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SOMEBODYS_SECRET", "2")
    environment = describe_machine()["environment"]
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "SOMEBODYS_SECRET" not in environment


def test_a_containers_quota_cuts_the_cores(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000\n")
    assert usable_cores(quota) == 1
    free = usable_cores(tmp_path / "missing")
    for text in ("max 100000\n", "6400000 100000\n", "nonsense"):
        quota.write_text(text)
        assert usable_cores(quota) == free


def test_without_threadpoolctl_and_programs_it_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setenv("PATH", "")
    machine = describe_machine()
    assert machine["blas"]["name"]
    assert machine["gpu"] is None

"""What `py.typed` promises: a strict type checker knows every public name, and sees mistakes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rnncore

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "typed_user.py"


def test_the_script_has_every_public_name() -> None:
    words = set(re.findall(r"\w+", SCRIPT.read_text("utf-8")))
    assert set(rnncore.__all__) <= words


@pytest.mark.slow
def test_a_strict_type_checker_accepts_a_script_and_sees_its_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="types are checked by mypy: pip install -e '.[dev]'")
    (tmp_path / "user.py").write_bytes(SCRIPT.read_bytes())
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\nmypy_path = {ROOT}\npython_version = 3.11\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = SCRIPT.read_text("utf-8").splitlines()
    refused = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    found = {int(number) for number in re.findall(r"^user\.py:(\d+): error", done.stdout, re.MULTILINE)}
    assert found == refused, done.stdout + done.stderr

"""What is kept of a measurement: the figures, and everything that they depend on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from encoders.files import atomic_write
from rnncore import doctor, machine

RESULTS = Path(__file__).parent / "results"
#: Where x86-64 machines are told to run alike, OpenBLAS is held to AVX2 by these.
HELD = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
PEERS = ("torch", "jax", "onnxruntime", "keras", "tensorflow-cpu", "tensorflow")
#: A row is disturbed if other programs took more than this share of the cores meanwhile.
DISTURBED = 0.05
err = Console(stderr=True, highlight=False, soft_wrap=True)


def setting(program: str) -> dict[str, Any]:
    """Return what every record begins with: command, date, machine, versions, kernels."""
    described = machine.describe_machine()
    described["packages"] |= machine.versions(*PEERS)
    return {
        "command": machine.command_line(program),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": described | {"simd": machine.simd()["widest"], "fused": fused_kernels()},
    }


@cache
def fused_kernels() -> dict[str, Any]:
    """Return which compiler makes fused kernels here, or why there are none."""
    return doctor.fused_kernels()


def has_fused() -> bool:
    """Whether our layers can run as fused kernels here."""
    return fused_kernels()["why"] is None


def slug(described: Mapping[str, Any]) -> str:
    """Return a short name of a machine for its files: processor, vectors and cores, such as amd-epyc-avx2-2.

    Processors of a cloud often have their family's name alone; which vectors they have tells most of them apart.
    """
    name = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@.*", " ", str(described["cpu"]).lower())
    simd = str(described.get("simd") or "").replace("-", "")
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {simd} {described['cores']}".lower()).strip("-")


def is_held_back(described: Mapping[str, Any]) -> bool:
    """Whether the variables of a recorded machine held OpenBLAS to narrower kernels than it would choose."""
    return any(name in described["environment"] for name in HELD)


class Others:
    """How much of the cores other programs take while we measure; only Linux tells."""

    def __init__(self) -> None:
        self._last = self._now()

    def share(self) -> float:
        """Return the share since the last question, or since the beginning: 0 is a machine of our own."""
        before, self._last = self._last, self._now()
        every, mine, passed = (b - a for a, b in zip(before, self._last, strict=True))
        return max(0.0, (every - mine) / (passed * (os.cpu_count() or 1))) if passed > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        """Seconds of processor time that all programs have had, and we with our children; seconds of the clock."""
        times = os.times()
        mine = times.user + times.system + times.children_user + times.children_system
        try:
            first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
        except OSError:
            return mine, mine, time.perf_counter()
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = (int(ticks) for ticks in first)
        ticks = user + nice + system + irq + softirq + steal
        return ticks / os.sysconf("SC_CLK_TCK"), mine, time.perf_counter()


def warn_if_held_back() -> None:
    """Say so on stderr if the environment holds the arithmetic back."""
    found = [name for name in machine.variables() if name in HELD]
    if found:
        unset = " ".join(f"-u {name}" for name in found)
        err.print(
            f"warning: {' and '.join(found)} hold NumPy's products to the {machine.blas()['kernel']} kernels; "
            f"figures for others to read are measured without: env {unset} ..., or --both",
            markup=False,
        )


def warn_if_not_fused() -> None:
    """Say so on stderr if fused kernels cannot take part."""
    if not has_fused():
        err.print(f"warning: fused kernels take no part: {fused_kernels()['why']}", markup=False)


def environment(held: bool) -> dict[str, str]:
    """Return this process's environment without the variables that hold OpenBLAS back, or with them."""
    free = {name: value for name, value in os.environ.items() if name not in HELD}
    return free | {name: os.environ.get(name, value) for name, value in HELD.items()} if held else free


def run_module(module: str, arguments: Iterable[str], held: bool | None = None) -> str:
    """Run a module of ours in a process of its own and return what it printed; its stderr is shown as it comes.

    held : with or without the variables that hold OpenBLAS back; None leaves them as they are.

    Raises
    ------
    RuntimeError
        If it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    given = None if held is None else environment(held)
    done = subprocess.run(command, env=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with exit code {done.returncode}")
    return done.stdout


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; lists of numbers stand on one line, so that a change is easy to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rounded(content), indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s+((?:-?[\d.e+-]+,\s+)*-?[\d.e+-]+)\s+\]", lambda found: _on_one_line(found[1]), text)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


def save_text(path: Path, text: str) -> None:
    """Write text whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        file.write(text)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote.

    Raises
    ------
    ValueError
        If it is no record of this package.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected the JSON of a benchmark, but {error}") from error
    if not isinstance(content, dict) or not {"part", "machine", "date", "rows"} <= set(content):
        raise ValueError(f"{path}: expected a record with part, machine, date and rows, as benchmarks write it")
    return content


def rounded(value: Any, digits: int = 4) -> Any:
    """Return the same values with floats of so many significant digits: a timing has no more."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(each, digits) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(each, digits) for each in value]
    return value


def _on_one_line(inside: str) -> str:
    return "[" + ", ".join(part.strip() for part in inside.split(",")) + "]"

"""What is installed: the contents of the wheel, and what `import rnncore` brings with it."""

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("rnncore", "encoders", "captioning")

#: Modules that are slow to import, or belong to tests, and that nobody needs who wants an LSTM.
HEAVY = (
    *("cupy", "hypothesis", "pytest", "doctest", "unittest", "onnx", "onnxruntime", "matplotlib", "safetensors"),
    *("PIL", "nltk", "typer", "rich", "pydantic", "typing_extensions", "torch", "logging", "multiprocessing"),
    *("http", "ssl", "sqlite3", "asyncio", "xml", "email", "difflib"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel built from a copy of the sources."""
    try:
        found = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        found = "0"
    if int(found.partition(".")[0]) < 77:
        pytest.skip(f"building a wheel needs setuptools 77 or later (the licence is an expression), here is {found}")
    out = tmp_path_factory.mktemp("wheel")
    copy = out / "source"
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("the sources are not in a git checkout")
    for name in listing.stdout.decode().split("\0"):
        if name.startswith((*PACKAGES, "tests/", "pyproject.toml", "README.md", "LICENSE")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)]
    done = subprocess.run([sys.executable, "-m", *build, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [file] = out.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_the_wheel_has_three_packages_and_no_tests(wheel: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel if "test" in name.rpartition("/")[2] or "__pycache__" in name]


def test_the_wheel_has_every_module_and_the_data_beside_them(wheel: list[str]) -> None:
    wanted = [f for package in PACKAGES for f in (ROOT / package).rglob("*.py")]
    data = ("recipes/*.toml", "report/*.html", "report/*.css", "report/*.js", "ablations/*.html", "ablations/*.js")
    wanted += [f for pattern in data for f in (ROOT / "captioning").glob(pattern)]
    wanted += [f for ending in ("html", "css", "js") for f in (ROOT / "rnncore" / "study" / "page").glob(f"*.{ending}")]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    names = {f.relative_to(ROOT).as_posix() for f in wanted} & set(tracked.split("\0"))
    names |= {f"{package}/py.typed" for package in PACKAGES}
    assert sum(name.endswith(".toml") for name in names) >= 2
    assert names <= set(wheel), f"not in the wheel: {sorted(names - set(wheel))}"


def test_importing_rnncore_brings_nothing_heavy() -> None:
    code = f"import sys, rnncore\nprint(sorted(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_heavy_import_is_seen() -> None:
    code = f"import sys, doctest, rnncore\nprint(sorted(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "doctest" in done.stdout


def test_the_time_to_import_is_printed(tmp_path: Path) -> None:
    """The ratio is for a person to read (pytest -s), at best under 1.3: on a loaded machine no bound would hold.

    It is of processor seconds, the least of several processes each, with compiled modules in a cache as after an
    installation.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    seconds: dict[str, list[float]] = {"numpy": [], "rnncore": []}
    for name in list(seconds) * 7:
        code = f"from time import process_time as now\nstart = now()\nimport {name}\nprint(now() - start)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
        seconds[name].append(float(done.stdout))
    alone, ours = (min(times) for times in seconds.values())
    print(f"import numpy {1e3 * alone:.0f} ms, import rnncore {1e3 * ours:.0f} ms, ratio {ours / alone:.2f}")
    assert list(tmp_path.rglob("recurrent.*.pyc"))

"""The arrows between packages and modules, and what may stand in no file: read from the source, not from a run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rnncore", "encoders", "captioning")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

#: Whoever lies in the first must not import the second, however deep inside a function.
FORBIDDEN = [
    ("rnncore", ("encoders", "captioning", "benchmarks", "onnxruntime", "PIL")),
    ("encoders", ("rnncore", "captioning", "benchmarks")),
    ("captioning", ("benchmarks",)),
    ("rnncore.array", ("rnncore",)),
    ("rnncore.params", ("rnncore.cells", "rnncore.trace", "rnncore.sequence", "rnncore.layers")),
    ("rnncore.packing", ("rnncore.cells", "rnncore.trace", "rnncore.sequence", "rnncore.params")),
    ("rnncore.cells", ("rnncore.sequence", "rnncore.recurrent", "rnncore.gradcheck", "rnncore.layers")),
    ("rnncore.trace", ("rnncore.sequence", "rnncore.recurrent", "rnncore.layers")),
    ("rnncore.sequence", ("rnncore.recurrent", "rnncore.gradcheck", "rnncore.layers")),
    ("rnncore.layout", ("rnncore.stack", "rnncore.stream", "rnncore.recurrent", "rnncore.cells")),
    ("rnncore.stack", ("rnncore.stream", "rnncore.recurrent", "rnncore.recompute", "rnncore.gradcheck")),
    ("rnncore.layers", ("rnncore.sequence", "rnncore.cells", "rnncore.trace", "rnncore.recurrent")),
    ("rnncore.losses", ("rnncore.sequence", "rnncore.cells", "rnncore.trace")),
    ("rnncore.optim", ("rnncore.sequence", "rnncore.cells", "rnncore.layers", "rnncore.losses")),
]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str = "", is_package: bool = False) -> Iterator[str]:
    """Every module that `source` imports anywhere, `from a import b` as a and a.b, relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            parents = parents[: len(parents) - node.level + is_package] if node.level else []
            base = ".".join([*parents, *(node.module or "").split(".")]).strip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def crossings(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of a file that run against the arrows."""
    bad = [b for inside, banned in FORBIDDEN if lies_in(module, inside) for b in banned]
    return sorted({i for i in imports(source, module, is_package) for b in bad if lies_in(i, b)})


def offences(source: str) -> list[str]:
    """What no file may hold: code from data, commands through a shell, arrays that may be pickles."""
    found = [i for i in imports(source) if i.partition(".")[0] in ("pickle", "cPickle", "dill", "shelve", "marshal")]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
        constants = {k: v.value for k, v in keywords.items() if isinstance(v, ast.Constant)}
        if name in ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput"):
            found.append(name)
        if "shell" in keywords and constants.get("shell", True):
            found.append(f"{name}(shell=True)")
        if name in ("np.load", "numpy.load") and constants.get("allow_pickle", True) is not False:
            found.append(f"{name} without allow_pickle=False")
        elif "allow_pickle" in keywords and constants.get("allow_pickle", True) is not False:
            found.append(f"{name}(allow_pickle=True)")
    return found


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_arrows_point_one_way(file: Path) -> None:
    assert crossings(file.read_text("utf-8"), module_of(file), file.name == "__init__.py") == []


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_nothing_runs_what_it_reads(file: Path) -> None:
    assert offences(file.read_text("utf-8")) == []


def test_the_files_are_found() -> None:
    modules = {module_of(file) for file in FILES}
    assert modules >= {"rnncore", "rnncore.cells", "rnncore.cells.lstm", "rnncore.sequence", "encoders", "captioning"}
    assert {package for package, _ in FORBIDDEN} <= modules


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("rnncore.layers", "from rnncore import sequence"),
        ("rnncore.layers", "from rnncore.sequence import forward"),
        ("rnncore.layers", "def f():\n    import rnncore.sequence"),
        ("rnncore.layers", "from . import sequence"),
        ("rnncore.cells.lstm", "from ..sequence import forward"),
        ("rnncore.array", "from rnncore.params import Params"),
        ("rnncore.study.plots", "import captioning.data as data"),
        ("encoders.run", "import os, rnncore"),
    ],
)
def test_a_crossing_is_seen(module: str, line: str) -> None:
    assert crossings(line, module)


def test_a_name_that_only_begins_alike_is_no_crossing() -> None:
    assert crossings("import rnncore.sequences\nfrom rnncore.array import Array", "rnncore.layers") == []
    assert crossings("from .base import Cell", "rnncore.cells", is_package=True) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import load",
        "eval(text)",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=anything)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "np.lib.format.read_array(f, allow_pickle=True)",
    ],
)
def test_an_offence_is_seen(line: str) -> None:
    assert offences(line)


@pytest.mark.parametrize(
    "line", ["model.eval()", "np.load(f, allow_pickle=False)", "run(x, shell=False)", "json.load(f)"]
)
def test_what_is_allowed_is_no_offence(line: str) -> None:
    assert offences(line) == []


def test_importing_rnncore_loads_no_gpu_library_and_no_runtime() -> None:
    modules = [module_of(file) for file in FILES if lies_in(module_of(file), "rnncore")]
    heavy = ("cupy", "onnxruntime", "onnx", "torch", "PIL", "nltk", "matplotlib", "encoders", "captioning")
    code = f"import sys\nimport {', '.join(modules)}\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

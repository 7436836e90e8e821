"""The handle of cuBLAS: which library it is of, how many there are, and on which stream and workspace it works."""

import ctypes
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnncore import cells, to_device, to_host
from rnncore.kernels import Fused
from rnncore.kernels import blas as module
from rnncore.kernels.blas import Blas
from rnncore.kernels.graphs import capture
from rnncore.sequence import forward
from tests.gpu import host_compiler
from tests.gpu.test_same_as_host import moved
from tests.rnncore.problems import problem


def build(path: Path, source: str, *linked: str) -> Path:
    """A shared library on the host, named as it is, that needs those it is linked to."""
    path.with_suffix(".cpp").write_text(source, "utf-8")
    command = [str(host_compiler.compiler()), "-shared", "-fPIC", f"{path.with_suffix('.cpp')}", "-o", str(path)]
    command += [f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", f"-Wl,-rpath,{path.parent}", *linked]
    subprocess.run(command, check=True)
    return path


def test_the_library_is_cupys_where_another_is_loaded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch's for another CUDA may be: whichever of two CuPy's extension is linked to is the one."""
    if host_compiler.compiler() is None:
        pytest.skip("no C++ compiler to build libraries")
    libs = ModuleType("cupy_backends.cuda.libs")
    for name, each in (("cupy_backends", None), ("cupy_backends.cuda", None), (libs.__name__, libs)):
        monkeypatch.setitem(sys.modules, name, each or ModuleType(name))
    extensions = []
    for version in (12, 13):
        source = "".join(f'extern "C" int {name}() {{ return {version}; }}\n' for name in module.SIGNATURES)
        cublas = build(tmp_path / f"libcublas.so.{version}", source)
        extensions.append(build(tmp_path / f"extension-{version}.so", "", str(cublas)))
        ctypes.CDLL(str(extensions[-1]))
    for version, path in zip((12, 13), extensions, strict=True):
        libs.cublas = SimpleNamespace(__file__=str(path))  # type: ignore[attr-defined]
        assert module.library.__wrapped__().cublasSetStream_v2(None, None) == version


def test_all_cells_share_one_handle_and_each_has_its_own_workspace(counted: Any, kernels: str) -> None:
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    case = moved(problem("LSTM", 3, 2, 2, 4, dtype=np.float32))
    for _ in range(3):  # launched, captured, launched as a graph, and the others in between
        for fused in (many := [Fused(cells.LSTM(), products=p) for p in ("float32", "tf32", "float32")]):
            forward(fused, case.p, case.x, case.initial)
    assert counted["handles"] == 1
    taken, A, out = [], to_device(np.eye(3)), to_device(np.zeros((3, 3)))
    for fused in many:
        fused.blas(case.x).product(A, A, out)
        taken.append(module.handle(0, threading.get_ident())._library._workspace)
    assert taken == [fused.blas(case.x)._workspace.data.ptr for fused in many]


def test_a_thread_has_a_handle_of_its_own(counted: Any, kernels: str) -> None:
    """Which stream a handle works on is set before a call, so no other thread may set it in between."""
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    blas, A, out = Blas(), to_device(np.eye(3)), to_device(np.zeros((3, 3)))
    blas.product(A, A, out)
    thread = threading.Thread(target=blas.product, args=(A, A, out))
    thread.start()
    thread.join()
    assert counted["handles"] == 2


def test_captures_one_after_the_other_may_have_streams_of_one_address(kernels: str) -> None:
    blas, A = Blas(), to_device(np.arange(9.0).reshape(3, 3))
    outs = [to_device(np.zeros((3, 3))) for _ in range(3)]
    graphs = [capture(lambda out=out: blas.product(A, A, out)) for out in outs]  # type: ignore[misc]
    for graph, out in zip(graphs, outs, strict=True):
        graph.launch()
        np.testing.assert_allclose(to_host(out), to_host(A) @ to_host(A))

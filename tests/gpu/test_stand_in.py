"""The stand-in refuses what CuPy refuses, counts what it says, and offers nothing that CuPy lacks."""

import importlib.util
import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rnncore import cells, to_device, to_host
from rnncore.array import module_for
from rnncore.kernels import Fused, blas, launch
from rnncore.packing import Packing
from rnncore.sequence import forward
from tests.gpu import conftest, host_compiler, stand_in
from tests.gpu.test_same_as_host import moved
from tests.rnncore.problems import problem

MIXES = {
    "sum with a host array": lambda x: x + np.ones(3),
    "host array first": lambda x: np.ones(3) * x,
    "in place": lambda x: x.__iadd__(np.ones(3)),
    "a function of NumPy": lambda x: np.concatenate([x, x]),
    "product": lambda x: x @ np.ones(3),
    "host index": lambda x: x[np.array([0, 1])],
    "index by a list": lambda x: x[[0, 1]],
    "host array written": lambda x: x.__setitem__(slice(None), np.ones(3)),
    "a list written": lambda x: x.__setitem__(slice(None), [1, 2, 3]),
    "conversion": lambda x: np.asarray(x),
    "out on the host": lambda x: sys.modules["cupy"].tanh(x, out=np.ones(3)),
    "host arrays in a list": lambda x: sys.modules["cupy"].concatenate([x, np.ones(3)]),
}


@pytest.mark.parametrize("mix", MIXES)
def test_every_mix_is_refused(counted: Any, mix: str) -> None:
    with pytest.raises((stand_in.Mixed, TypeError), match=r"host|device"):
        MIXES[mix](to_device(np.arange(3.0)))


def test_what_the_host_reads_and_sends_is_counted(counted: Any) -> None:
    x = to_device(np.arange(6, dtype=np.float32))
    assert (counted["uploads"], counted["bytes uploaded"]) == (1, 24)
    assert float(x.sum()) == 15
    assert bool((x < 9).all())
    to_host(x)
    assert (counted["reads"], counted["bytes read"]) == (3, 4 + 1 + 24)
    x[x > 2]
    assert counted["reads"] == 4


def test_launches_allocations_and_copies_of_products_are_counted(counted: Any) -> None:
    xp = module_for("cuda")
    a, out = to_device(np.ones((4, 6))), xp.empty((4, 4))
    counted.clear()
    xp.matmul(a, a.T, out=out)
    assert counted == {"products": 1, "launches": 1, "bytes": 8 * (24 + 24 + 16)}
    counted.clear()
    xp.matmul(a[:, :3], a[:, :3].T, out=out.T)  # neither operands nor result lie without gaps
    assert counted["copies"] == 3
    counted.clear()
    xp.add(a, 1, out=a)
    assert a[0].size + a[:, 1:].T.size == 26  # views cost nothing
    assert counted == {"launches": 1, "bytes": 2 * 8 * 24}


def test_new_memory_holds_nan_until_it_is_written(counted: Any) -> None:
    assert np.isnan(to_host(module_for("cuda").empty(3))).all()


def test_everything_it_offers_is_in_cupy() -> None:
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed; without a GPU it serves here all the same")
    code = f"import cupy\nprint([n for n in {list(stand_in.FUNCTIONS)} if not hasattr(cupy, n)])"
    code += f"\nprint([n for n in {[n for n in vars(stand_in.ndarray) if n[:2] != '__']} if n[0] != '_' and "
    code += "not hasattr(cupy.ndarray, n)])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_the_arguments_it_takes_are_cupys() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    for name, keywords in (stand_in.REDUCTIONS | stand_in.OTHERS).items():
        known = set(inspect.signature(getattr(cupy, name)).parameters)
        assert set(keywords) <= known, name


def test_nothing_of_it_is_left_for_a_card() -> None:
    """Functions compiled for the host, index arrays that lie there, and a handle of its cuBLAS would be met there."""
    if host_compiler.compiler() is None:
        pytest.skip("no C++ compiler to run kernels on the processor")
    case = problem("LSTM", 3, 2, 2, 4)
    with conftest.installed():
        there = moved(case)
        forward(Fused(cells.LSTM()), there.p, there.x)
        assert Packing.dense(3, 2)._on_device
        assert launch.compiled.cache_info().currsize
    assert not Packing.dense(3, 2)._on_device
    assert (launch.compiled.cache_info().currsize, blas.handle.cache_info().currsize) == (0, 0)


def test_it_is_not_taken_for_a_card() -> None:
    conftest.real_gpu.cache_clear()
    with conftest.installed():
        inside = conftest.real_gpu()
    conftest.real_gpu.cache_clear()
    assert inside == conftest.real_gpu()

"""Work on all cores: the product of a step, the threads, and that nobody can tell how many there are."""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from rnncore import GRU, LSTM, Params, cells
from rnncore.kernels import Fused, cores
from rnncore.sequence import Stepper, forward
from rnncore.views import address

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.usefixtures("two_threads"),
]


def product(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> None:
    size = A.itemsize
    (M, K), N = A.shape, B.shape[1]
    lda, (ldb, apart), ldc = A.strides[0] // size, (s // size for s in B.strides), C.strides[0] // size
    row = np.array([[M, N, K, address(A), lda, address(B), ldb, address(C), ldc, apart]], np.int64)
    cores.run(cores.product_of(A.dtype), row)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("by_rows", [False, True], ids=["columns on end", "rows on end"])
@pytest.mark.parametrize("N", [1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 70])
@pytest.mark.parametrize(("M", "K"), [(1, 1), (5, 3), (12, 16), (23, 65)])
def test_a_product_is_numpys_and_writes_nothing_beside_itself(
    M: int, K: int, N: int, by_rows: bool, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(M + 1, K + 3)).astype(dtype)[1:, 2 : K + 2]
    B = rng.normal(size=(N, K + 1) if by_rows else (K, N + 5)).astype(dtype)
    B = B[:, 1:].T if by_rows else B[:, 3 : N + 3]
    around = np.full((M + 2, N + 9), 7, dtype)
    product(A, B, around[1:-1, 4 : N + 4])
    np.testing.assert_allclose(around[1:-1, 4 : N + 4], A @ B, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
    around[1:-1, 4 : N + 4] = 7
    np.testing.assert_array_equal(around, 7)


def test_what_is_no_number_stays_none() -> None:
    A, B, C = np.ones((7, 9)), np.ones((9, 20)), np.empty((7, 20))
    A[3, 4] = np.nan
    product(A, B, C)
    np.testing.assert_array_equal(np.isnan(C).any(1), np.arange(7) == 3)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 48, 100])
@pytest.mark.parametrize("some", [1, 16])
def test_parts_are_all_of_it_and_none_of_it_twice(n: int, some: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "threads", lambda: 3)
    parts = cores.Parts(np.array([0, cores.WORTH]))
    first, last = parts.of(np.array([n, n]), some)
    for t, count in enumerate((1, 3)):
        assert [k for p in range(count) for k in range(first[p, t], last[p, t])] == list(range(n))
    assert parts.counts.tolist() == [1, 3]
    assert len(cores.shares(n, cores.WORTH)[0]) == 3
    assert len(cores.shares(n, cores.WORTH - 1)[0]) == 1


@pytest.fixture
def everything_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "WORTH", 0)


def passes(layer: Any, x: np.ndarray, lengths: Any = None) -> list[np.ndarray]:
    y, last = layer(x, lengths=lengths)
    dx, dinitial = layer.backward(np.cos(y))
    return [np.array(a) for a in (y, *last, dx, *dinitial, *layer.grads.values())]


@pytest.mark.parametrize("layer", [LSTM, GRU])
@pytest.mark.parametrize("B", [1, 5, 16, 33])
def test_numbers_depend_on_how_many_take_part_by_rounding_alone(
    layer: Any, B: int, monkeypatch: pytest.MonkeyPatch, everything_is_shared: None
) -> None:
    x, lengths = np.random.default_rng(0).normal(size=(30, B, 7)), np.arange(B) % 30 + 1
    found = []
    for count in (1, 2, 3, 5):
        assert cores._cores().threads(count) >= count
        monkeypatch.setattr(cores, "threads", lambda count=count: count)
        monkeypatch.setattr("rnncore.kernels.host.threads", lambda count=count: count)
        for _ in range(2):
            one = layer(7, 41, seed=0, fused=True, dtype="float64")
            found.append([*passes(one, x, lengths), one.stepper(B).step(x[0])])
        for a, b, first in zip(found[-1], found[-2], found[0], strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, first, rtol=0, atol=1e-13)


def test_as_many_threads_as_numpys_products_use() -> None:
    before = cores.threads()
    with threadpool_limits(1):
        assert cores.threads() == min(before, 1)
        assert cores.Parts(np.array([cores.WORTH])).counts.tolist() == [1]
    with threadpool_limits(3):
        assert cores.threads() == 3
    assert cores.threads() == before


def test_openblas_keeps_its_threads_where_it_has_no_places_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    if cores._of_blas("set_threads_callback_function") is None:
        pytest.skip("NumPy is linked to another library than OpenBLAS, or to an old one")
    calls: list[Any] = []
    real = cores._of_blas
    said = {"set_threads_callback_function": lambda to: calls.append(to.value), "get_num_threads": lambda: 2}
    monkeypatch.setattr(cores, "_of_blas", lambda name: said.get(name) or real(name))
    for places in (3, 4):
        monkeypatch.setattr(cores, "_places", lambda places=places: places)
        cores.threads()
        assert cores.is_shared() == (places == 4) == (calls[-1] is not None)


def test_threads_that_fell_asleep_wake_up(everything_is_shared: None) -> None:
    with threadpool_limits(3):
        layer, x = LSTM(3, 40, seed=0, fused=True), np.ones((9, 4, 3), "float32")
        before = passes(layer, x)
        for _ in range(5):
            time.sleep(0.02)
            for a, b in zip(before, passes(layer, x), strict=True):
                np.testing.assert_array_equal(a, b)


def test_several_python_threads_at_once(everything_is_shared: None) -> None:
    """Passes, and large products of NumPy's, which the same threads compute."""
    x, A = np.random.default_rng(0).normal(size=(40, 8, 5)).astype("float32"), np.ones((400, 400), "float32")
    with threadpool_limits(3):
        expected = passes(GRU(5, 33, seed=0, fused=True), x)
    wrong: list[str] = []

    def work() -> None:
        layer = GRU(5, 33, seed=0, fused=True)
        for _ in range(8):
            if not all((a == b).all() for a, b in zip(expected, passes(layer, x), strict=True)):
                wrong.append("pass")
            if not (A @ A == 400).all():
                wrong.append("product")

    with threadpool_limits(3):
        all_of_them = [threading.Thread(target=work) for _ in range(3)]
        for each in all_of_them:
            each.start()
        for each in all_of_them:
            each.join(60)
        assert not any(each.is_alive() for each in all_of_them)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_has_threads_of_its_own(everything_is_shared: None) -> None:
    with threadpool_limits(2):
        layer, x = LSTM(3, 40, seed=0, fused=True), np.ones((9, 4, 3), "float32")
        before, A = passes(layer, x), np.ones((500, 500), "float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # JAX, which another test may have imported, warns of every fork
            child = os.fork()
        if child == 0:  # nothing of pytest's may run here
            same = all((a == b).all() for a, b in zip(before, passes(layer, x), strict=True))
            os._exit(0 if same and (A @ A == 500).all() else 1)
        deadline = time.monotonic() + 60
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if done == (0, 0):
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert done == (child, 0)
        for a, b in zip(before, passes(layer, x), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_single_step_takes_weights_and_inputs_however_they_lie() -> None:
    p = Params(cells.LSTM().shapes(6, 9)).initialise(cells.LSTM().initialisers(), seed=0)
    other = {name: np.asfortranarray(value) for name, value in p.items()}
    x = np.random.default_rng(0).normal(size=(6, 20)).astype("float32").T
    plain, fused = Stepper(cells.LSTM(), p, batch=20), Stepper(Fused(cells.LSTM()), other, batch=20)
    for _ in range(3):
        np.testing.assert_allclose(fused.step(x), plain.step(x), rtol=0, atol=1e-6)
        for each in (p, other):  # in place, between steps
            each["U"][:4] += 0.5
            each["W"][-4:] -= 0.5


def test_a_stepper_whose_state_is_set_looks_anew_at_threads_and_parameters() -> None:
    p = dict(Params(cells.LSTM().shapes(128, 128)).initialise(cells.LSTM().initialisers(), seed=0))
    x = np.random.default_rng(0).normal(size=(2, 128)).astype("float32")
    plain, fused = Stepper(cells.LSTM(), p, batch=2), Stepper(Fused(cells.LSTM()), p, batch=2)
    for threads in (2, 1):
        with threadpool_limits(threads):
            for each in (plain, fused):
                each.state = each.state
            np.testing.assert_allclose(fused.step(x), plain.step(x), rtol=0, atol=1e-6)
            assert fused._steps.alone.plan.parts[0] == threads
        p["U"] = 3 * p["U"]


@pytest.mark.parametrize("batch", [5, 18])
def test_a_single_step_reads_nothing_behind_its_inputs(batch: int) -> None:
    p = Params(cells.LSTM().shapes(6, 9)).initialise(cells.LSTM().initialisers(), seed=0)
    stepper, x = Stepper(Fused(cells.LSTM()), p, batch=batch), np.full((40, 6), np.nan, "float32")
    x[:batch] = 1
    stepper.step(x[:batch])
    assert all(np.isfinite(buffer).all() for buffer in stepper._trace._memory.buffers())


def test_numpys_solver_and_its_products_at_once() -> None:
    """An LU gives its work to OpenBLAS's own threads, past ours."""
    cores.threads()
    A, done = np.eye(600) * 4 + 1, []

    def solving() -> None:
        done.extend(np.allclose(A @ np.linalg.solve(A, A), A) for _ in range(10))

    both = [threading.Thread(target=solving, daemon=True) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert done == [True] * 20


def test_the_first_pass_that_keeps_nothing_is_right_though_its_chunks_grow() -> None:
    lengths = np.repeat([1, 2, 8], [110, 120, 340])
    x, cell = np.random.default_rng(0).normal(size=(8, 570, 5)).astype("float32"), cells.LSTM()
    p = Params(cell.shapes(5, 64)).initialise(cell.initialisers(), seed=0)
    plain, fused = (forward(each, p, x, lengths=lengths, keep=False).output for each in (cell, Fused(cell)))
    np.testing.assert_allclose(fused, plain, rtol=0, atol=1e-5)

"""From a recorded step to kernels: what is joined, moved and left out, and that the numbers stay what they were."""

from typing import Any

import numpy as np
import pytest

from rnncore import cells, to_host
from rnncore.cells import Now, Weights
from rnncore.kernels import CannotRecord, Fused
from rnncore.kernels.program import Kernel, compose
from rnncore.kernels.record import Kind, record
from rnncore.kernels.symbols import FUNCTIONS, Product
from rnncore.sequence import forward
from tests.gpu.test_fused import close
from tests.gpu.test_same_as_host import moved
from tests.rnncore.problems import Problem, problem


def program(cell: Any, **kind: Any) -> Any:
    return compose(record(cell, cell.shapes(4, 6), 6, Kind(**kind)), 6)


def run_both(cell: Any) -> None:
    """The outputs of `cell` by NumPy and by kernels, with RNN's parameters."""
    case = problem("RNN", 3, 2, 4, 6)
    host = forward(cell, case.p, case.x, case.initial)
    there: Problem = moved(case)
    close(forward(Fused(cell), there.p, there.x, there.initial).output, host.output, 1e-12)


class EveryFunction(cells.RNN):
    """Uses each function that a program knows."""

    def step(self, p: Weights, now: Now) -> None:
        a, (h,), (h_next,) = now.a, now.prev, now.next
        a += np.matmul(p["U"], h, out=now.scratch)
        t = np.tanh(a)
        values = [np.exp(t), np.log(1.5 + t), np.sqrt(np.square(t)), np.absolute(-t), 2 / (3 - t), np.reciprocal(2 + t)]
        values += [np.maximum(t, 0.1), np.minimum(0.2, t), np.maximum(h, t), t - 1, np.multiply(t, p["b"][:, None])]
        np.copyto(h_next, values[0])
        for value in values[1:]:
            h_next += value
        h_next *= 0.1


class UsesTheProductTwice(cells.RNN):
    """Adds a product to a, and reads the product again."""

    def step(self, p: Weights, now: Now) -> None:
        Uh = np.matmul(p["U"], now.prev[0], out=now.scratch)
        now.a[...] += Uh
        np.tanh(now.a, out=now.a)
        np.add(now.a, Uh, out=now.next[0])


class SubtractsTheProduct(cells.RNN):
    def step(self, p: Weights, now: Now) -> None:
        now.a[...] -= np.matmul(p["U"], now.prev[0], out=now.scratch)
        np.tanh(now.a, out=now.next[0])


class NeedsWhatIsBeforeTheProduct(cells.RNN):
    """What the product reads is computed before it, and must stay there."""

    def step(self, p: Weights, now: Now) -> None:
        twice = now.prev[0] * 2
        now.a[...] += np.matmul(p["U"], twice, out=now.scratch)
        np.tanh(now.a, out=now.next[0])


class Halves(cells.RNN):
    """Works on rows that cut across one another."""

    def step(self, p: Weights, now: Now) -> None:
        now.a[:4] += now.a[2:6]


def test_every_function_gives_what_numpy_gives(kernels: str) -> None:
    tape = record(EveryFunction(), EveryFunction().shapes(4, 6), 6, Kind())
    used = {statement.function for statement in tape.statements if not isinstance(statement, Product)}
    assert used == set(FUNCTIONS)
    run_both(EveryFunction())


def test_maximum_and_minimum_hand_nan_on(kernels: str) -> None:
    class Most(cells.RNN):
        def step(self, p: Weights, now: Now) -> None:
            np.maximum(now.a, 0.0, out=now.a)
            np.minimum(0.5, now.a, out=now.next[0])

    case = problem("RNN", 1, 2, 4, 6)
    case.x[0, 1, 2] = np.nan
    there = moved(case)
    found = to_host(forward(Fused(Most()), there.p, there.x).output)
    np.testing.assert_array_equal(np.isnan(found[0]).all(1), [False, True])
    np.testing.assert_allclose(found, forward(Most(), case.p, case.x).output, rtol=1e-12)


@pytest.mark.parametrize("cell", [UsesTheProductTwice, SubtractsTheProduct, NeedsWhatIsBeforeTheProduct])
def test_products_are_joined_to_sums_only_where_nothing_else_reads_them(kernels: str, cell: Any) -> None:
    products = [s for s in program(cell()).stages if isinstance(s, Product)]
    assert [p.adds for p in products] == [cell is NeedsWhatIsBeforeTheProduct]
    run_both(cell())


def test_a_product_and_its_sum_become_one_and_the_bias_joins_the_gates() -> None:
    product, kernel = program(cells.LSTM(), whole=True).stages
    assert isinstance(product, Product)
    assert (product.adds, product.out.name, product.out.rows) == (True, "a", 24)
    assert isinstance(kernel, Kernel)
    assert kernel.columns == ("b",)
    assert {block.name for block in kernel.loads} == {"a", "prev c"}
    assert {block.name for block in kernel.stores} == {"a", "next h", "next c", "saved tanh_c"}


class AddsToTheProduct(cells.RNN):
    """Adds to a product where it stands, and does something else behind it."""

    def step(self, p: Weights, now: Now) -> None:
        a, (h,), (h_next,) = now.a, now.prev, now.next
        np.multiply(a, 0.5, out=now.scratch)
        np.matmul(p["U"], h, out=h_next)
        h_next += now.scratch
        np.tanh(a, out=a)


def test_what_is_added_to_a_product_stands_there_before_it(kernels: str) -> None:
    kernel, product = program(AddsToTheProduct()).stages
    assert isinstance(kernel, Kernel)
    assert isinstance(product, Product)
    assert product.adds
    assert {block.name for block in kernel.stores} == {"a", "next h"}
    run_both(AddsToTheProduct())


class ReadsWhatItAddsTo(cells.RNN):
    """The product reads the very place where its sum is to stand."""

    def step(self, p: Weights, now: Now) -> None:
        a, (h,), (h_next,) = now.a, now.prev, now.next
        np.add(h, a, out=h_next)
        np.matmul(p["U"], h_next, out=now.scratch)
        np.copyto(h_next, now.scratch)
        h_next += np.multiply(h, 0.5)
        h_next += h_next


def test_sums_that_stand_elsewhere_are_left_alone(kernels: str) -> None:
    run_both(ReadsWhatItAddsTo())


def test_a_kernel_never_stands_alone_for_what_could_stay_with_others() -> None:
    kernel, product = program(cells.LSTM(), backward=True, whole=True, arrives=(True,)).stages
    assert isinstance(kernel, Kernel)
    assert isinstance(product, Product)
    assert product.matrix.transposed


def test_what_nobody_reads_is_not_computed() -> None:
    class Wasteful(cells.RNN):
        def step(self, p: Weights, now: Now) -> None:
            np.exp(now.a, out=now.scratch)
            np.tanh(now.a, out=now.next[0])
            now.next[0] * 3

    (kernel,) = program(Wasteful()).stages
    assert [s.function for s in kernel.statements] == ["tanh"]


def test_rows_that_overlap_are_refused() -> None:
    with pytest.raises(CannotRecord, match="a: rows 0 to 4 overlap those from 2 on"):
        program(Halves())


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lambda p, now: np.cumsum(now.a), "numpy.cumsum"),
        (lambda p, now: np.sin(now.a), "numpy.sin is not among"),
        (lambda p, now: np.matmul(now.a, now.a), "a parameter from the left"),
        (lambda p, now: np.matmul(p["W"], now.a), "does not fit"),
        (lambda p, now: now.a[0], "a range of rows"),
        (lambda p, now: now.a[:, 0], "a range of rows"),
        (lambda p, now: now.a + np.ones(3), "arrays of the step, columns of parameters, numbers"),
        (lambda p, now: now.a + p["b"], "arrays of the step, columns of parameters, numbers"),
        (lambda p, now: np.add(now.a, now.a[:3], out=now.a), "do not fit"),
        (lambda p, now: p["Q"], "'Q'"),
        (lambda p, now: np.add(now.a, 1, out=now.a, where=True), "where"),
    ],
)
def test_what_no_program_holds_is_refused_with_a_reason(what: Any, why: str) -> None:
    class Own(cells.RNN):
        def step(self, p: Weights, now: Now) -> None:
            what(p, now)

    with pytest.raises(CannotRecord, match=why):
        program(Own())

"""The checker checked: right gradients pass, and every planted mistake is caught and named."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncore import gradcheck, packing, sequence, trace
from rnncore.cells import CELLS, LSTM, RNN, Now
from rnncore.gradcheck import GradientError, check_cell, check_function, numeric_gradient
from tests.rnncore.broken_cells import MISTAKES, Mistake

SIZES = (3, 2, 2, 2)
FINDING = re.compile(r"([\w ]+)\[([\d, ]*)\]: analytic (\S+), numeric (\S+), relative error (\S+), tolerance 1e-07")


@pytest.mark.parametrize("name", CELLS)
def test_without_a_mistake_nothing_is_caught(name: str) -> None:
    check_cell(CELLS[name](), sizes=SIZES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.title)
def test_every_mistake_is_caught_and_named(mistake: Mistake) -> None:
    with pytest.raises(GradientError) as caught:
        check_cell(mistake.made(), sizes=SIZES)
    found = FINDING.fullmatch(str(caught.value))
    assert found is not None, caught.value
    name, index, analytic, numeric, error = found.groups()
    assert name == mistake.blames
    shape = mistake.cell().shapes(*SIZES[2:])[name]
    assert all(0 <= int(k) < n for k, n in zip(index.split(", "), shape, strict=True))
    assert float(analytic) != float(numeric)
    assert float(error) > 1e-7


class Remembering(RNN):
    """Carries something from one call to the next outside the states."""

    def __init__(self) -> None:
        self.calls = 0

    def step(self, p: Any, now: Now) -> None:
        self.calls += 1
        super().step(p, now)
        now.next[0][...] += self.calls


class Peeking(RNN):
    """Does something else where a batch is a single step: finite differences of a whole run do not see it."""

    def step(self, p: Any, now: Now) -> None:
        super().step(p, now)
        if now.scratch.base is not None and now.next[0].base.size == 2 * now.next[0].size:
            now.next[0][...] += 0.01


def test_a_cell_with_memory_of_its_own_is_caught() -> None:
    with pytest.raises(GradientError):
        check_cell(Remembering(), sizes=SIZES)
    with pytest.raises(GradientError, match=r"one step at a time differs from the whole sequence by \d\.\de-02"):
        check_cell(Peeking(), sizes=SIZES)


class Mixing(RNN):
    """Looks at all columns of a batch, and says that it does not."""

    def step(self, p: Any, now: Now) -> None:
        now.a[...] += now.prev[0].max(axis=1, keepdims=True)
        super().step(p, now)


class Reaching(RNN):
    """Writes beyond its columns on the way back."""

    def step_backward(self, p: Any, now: Now, dstate: Any) -> None:
        super().step_backward(p, now, dstate)
        for d in dstate:
            width = d.strides[0] // d.itemsize
            d.base[: len(d) * width].reshape(len(d), width)[:, d.shape[1] :] += 0.5


def test_a_cell_that_mixes_columns_is_caught() -> None:
    with pytest.raises(GradientError, match=r"a sequence of its own differs from the same one in a batch by "):
        gradcheck._check_columns(Mixing(), (3, 3, 2, 2), 0, np)


def test_what_a_cell_writes_beyond_its_columns_reaches_nobody() -> None:
    check_cell(Reaching(), sizes=SIZES)


def engine_mistakes() -> dict[str, tuple[Any, str, Callable[[Any], Any]]]:
    """Mistakes of the engine, as (where, what, its replacement made from the original)."""

    def without_last(original: Any) -> Any:
        return lambda trace_, dlast: original(trace_, None)

    def without_lengths(original: Any) -> Any:
        return lambda x, lengths: original(x, None)

    def padded_with_one(original: Any) -> Any:
        def unpack(self: Any, rows: Any) -> Any:
            out = original(self, rows)
            out[np.arange(self.steps)[:, None] >= self.lengths] += 1e-3
            return out

        return unpack

    def unsorted_wrongly(original: Any) -> Any:
        return lambda self, x: self.sort(x)

    def not_moved(original: Any) -> Any:
        return lambda self, t, before, still: original(self, -1, before, still)

    return {
        "gradients of the last states are ignored": (sequence, "last_gradients", without_last),
        "the padding gets a gradient": (packing.Packing, "unpack", padded_with_one),
        "initial gradients come back in the wrong order": (packing.Packing, "unsort", unsorted_wrongly),
        "the last state is the first": (trace.Trace, "end", not_moved),
    }


@pytest.mark.parametrize("title", engine_mistakes())
@pytest.mark.parametrize("name", CELLS)
def test_mistakes_of_the_engine_are_caught(name: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, replacement = engine_mistakes()[title]
    monkeypatch.setattr(where, what, replacement(getattr(where, what)))
    with pytest.raises(GradientError):
        check_cell(CELLS[name](), sizes=(3, 3, 1, 2), lengths=(1, 0, 3))


def test_even_a_trace_of_a_gradient_in_the_padding_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = packing.Packing.unpack

    def unpack(self: Any, rows: Any) -> Any:
        out = original(self, rows)
        out[np.arange(self.steps)[:, None] >= self.lengths] += 1e-14
        return out

    monkeypatch.setattr(packing.Packing, "unpack", unpack)
    with pytest.raises(GradientError, match="x: the padding gets a gradient; it must be exactly zero"):
        check_cell(RNN(), sizes=SIZES)


@pytest.mark.parametrize("errors", [(1e-9, 2e-9), (2e-9, 1e-9)])
def test_the_worst_of_both_passes_is_returned(errors: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(gradcheck.Worst("W", (0, 0), 1.0, 1.0, error) for error in errors)
    monkeypatch.setattr(gradcheck, "check_function", lambda *_: next(found))
    assert check_cell(RNN(), sizes=SIZES).error == 2e-9


def test_lost_initial_gradients_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = sequence.backward

    def backward(*args: Any) -> sequence.Gradients:
        got = original(*args)
        return sequence.Gradients(got.x, (got.initial[0], np.zeros_like(got.initial[1])), got.params)

    monkeypatch.setattr(sequence, "backward", backward)
    with pytest.raises(GradientError, match=r"^initial c\[\d, \d\]: analytic 0, numeric"):
        check_cell(LSTM(), sizes=SIZES)


X = np.array([[0.3, -1.2, 2.0], [0.7, 1.1, -0.4]])
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "fourth power": (lambda x: x**4, lambda x: 4 * x**3),
    "sine": (np.sin, np.cos),
    "exponential": (np.exp, np.exp),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_functions_pass_and_differences_are_accurate(name: str) -> None:
    f, slope = FUNCTIONS[name]
    x, weights = X.copy(), np.arange(1.0, 7).reshape(2, 3)
    numeric = numeric_gradient(lambda: float((weights * f(x)).sum()), x)
    np.testing.assert_allclose(numeric, weights * slope(X), rtol=1e-10, atol=1e-10)
    worst = check_function(lambda: float((weights * f(x)).sum()), {"x": x}, {"x": weights * slope(X)})
    assert worst.error < 1e-10
    assert worst.name == "x"
    np.testing.assert_array_equal(x, X)  # put back bit for bit


def test_differences_are_exact_for_powers_up_to_four_whatever_the_step() -> None:
    x = np.array(1.5)
    assert numeric_gradient(lambda: float(x**4), x, step=0.5) == pytest.approx(4 * 1.5**3, rel=1e-13)
    fifth = numeric_gradient(lambda: float(x**5), x, step=0.5)
    assert fifth == pytest.approx(5 * 1.5**4 - 4 * 0.5**4, rel=1e-13)  # off by f⁽⁵⁾ e⁴ / 30


def squares(**changes: Any) -> gradcheck.Worst:
    """The check of sum(x²) + sum(y²), of which something is changed."""
    x, y = X.copy(), np.array([2.0, 3.0])
    arrays = {"x": x, "y": y}
    gradients = {"x": 2 * X, "y": 2 * y} | changes
    return check_function(lambda: float((x**2).sum() + (y**2).sum()), arrays, gradients)


def test_worst_of_all_arrays_is_returned() -> None:
    off = 2 * X
    off[1, 2] += 4 * 5e-8
    worst = squares(x=off)
    assert (worst.name, worst.index) == ("x", (1, 2))
    assert worst.error == pytest.approx(5e-8, rel=1e-3)
    assert worst.analytic == off[1, 2]
    assert worst.numeric == pytest.approx(2 * X[1, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.array([4.0, 6.1])}, r"y\[1\]: analytic 6\.1, numeric 6, relative error 1\.7e-02, tolerance 1e-07"),
        ({"x": 2 * X * (1 + 2e-7)}, r"x\[0, 2\]: analytic 4\.0000008, numeric 4, relative error 2\.0e-07"),
        ({"x": -2 * X}, r"x\[0, 2\]: analytic -4, numeric 4, relative error 2\.0e\+00"),
        ({"x": 0 * X}, r"x\[0, 2\]: analytic 0, numeric 4, relative error 1\.0e\+00"),
        ({"y": np.array([4.0, np.nan])}, r"y\[1\]: analytic nan, numeric 6, relative error inf"),
        ({"y": np.array([np.inf, 6.0])}, r"y\[0\]: analytic inf, numeric 4, relative error inf"),
        ({"y": np.zeros(3)}, r"y: the gradient has shape \(3,\), the array \(2,\)"),
        ({"z": np.zeros(3)}, r"gradients for \['x', 'y', 'z'\], but arrays \['x', 'y'\]"),
    ],
)
def test_wrong_gradients_are_named(changes: dict[str, Any], message: str) -> None:
    squares()
    with pytest.raises(GradientError, match=f"^{message}"):
        squares(**changes)


def test_a_missing_gradient_is_named() -> None:
    with pytest.raises(GradientError, match=r"gradients for \[\], but arrays \['x'\]"):
        check_function(lambda: 0.0, {"x": X.copy()}, {})


def test_a_function_that_is_not_a_number_fails() -> None:
    x = np.array([1.0])
    with pytest.raises(GradientError, match=r"x\[0\]: analytic 1, numeric nan, relative error inf"):
        check_function(lambda: float("nan"), {"x": x}, {"x": np.ones(1)})


def test_a_check_of_nothing_fails_unless_it_is_meant() -> None:
    x = np.array([1.0, 2.0])
    with pytest.raises(GradientError, match="x: the gradient is zero throughout; the function does not depend on it"):
        check_function(lambda: 1.0, {"x": x}, {"x": np.zeros(2)})
    assert check_function(lambda: 1.0, {"x": x}, {"x": np.zeros(2)}, allow_zero=["x"]).error == 0
    with pytest.raises(GradientError, match="analytic 1e-12"):
        check_function(lambda: 1.0, {"x": x}, {"x": np.full(2, 1e-12)}, allow_zero=["x"])


def test_only_double_precision_is_checked() -> None:
    x = np.ones(2, np.float32)
    with pytest.raises(TypeError, match="x: gradients are checked in float64, got float32; make it"):
        check_function(lambda: float(x.sum()), {"x": x}, {"x": np.ones(2)})


def test_the_error_is_an_assertion() -> None:
    assert issubclass(GradientError, AssertionError)

"""Precision, extreme values, and the answer to every argument that does not fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncore.packing import Packing
from rnncore.sequence import Stepper, backward, forward
from tests.rnncore.problems import ALL, Problem, problem
from tests.rnncore.test_trace import everything

LAYOUTS = [(4, 3, 2, 3, None), (4, 3, 2, 3, (1, 4, 0)), (3, 26, 2, 3, None), (3, 26, 2, 3, (2,) * 13 + (3,) * 13)]


def problem_of(name: str, sizes: Any, dtype: Any) -> Problem:
    T, B, D, H, lengths = sizes
    return problem(name, T, B, D, H, lengths, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_one_precision_from_end_to_end(name: str, sizes: Any, dtype: Any) -> None:
    case = problem_of(name, sizes, dtype)
    with np.errstate(all="raise"):
        trace, gradients = case.run()
    arrays = everything(trace, gradients)
    views = [a for now in trace.now for a in (now.a, now.da, now.scratch, *now.prev, *now.next, *now.saved)]
    assert {a.dtype for a in (*arrays.values(), *views, trace.state_rows)} == {np.dtype(dtype)}
    assert Stepper(case.cell, case.p).step(case.x[0, :1]).dtype == dtype


@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_double_precision_rounded(name: str, sizes: Any) -> None:
    double, single = (problem_of(name, sizes, dtype) for dtype in (np.float64, np.float32))
    want, got = everything(*double.run()), everything(*single.run())
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e4, 1e30])
@pytest.mark.parametrize("name", [name for name in ALL if name != "LSTM-layernorm"])
def test_saturation_is_silent_and_finite(name: str, scale: float, dtype: Any) -> None:
    case = problem(name, 4, 3, 2, 3, (4, 2, 1), dtype=dtype)
    case.x *= dtype(scale)
    with np.errstate(all="raise"):
        arrays = everything(*case.run())
    assert all(np.isfinite(a).all() for a in arrays.values())
    real = ~case.padding
    for gate in case.cell.gates:
        values = arrays[gate][real]
        edge = np.abs(values) if gate in ("hidden", "candidate") else np.maximum(values, 1 - values)
        assert edge.min() > 1 - 1e-6, gate


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_normalisation_takes_the_scale_away(dtype: Any) -> None:
    """Whatever x is multiplied by; up to 1e15 in single precision, whose squares still are numbers."""
    outputs = []
    for scale in (1e4, 1e15):
        case = problem("LSTM-layernorm", 4, 3, 2, 3, (4, 2, 1), dtype=dtype)
        case.p["b"][...] = 0
        case.x *= dtype(scale)
        with np.errstate(all="raise"):
            arrays = everything(*case.run())
        assert all(np.isfinite(a).all() for a in arrays.values())
        outputs.append(arrays["outputs"])
    np.testing.assert_allclose(*outputs, rtol=1e-3 if dtype is np.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALL)
def test_denormal_inputs_act_as_zero(name: str, dtype: Any) -> None:
    """Products of denormals underflow to zero by definition; nothing else may be reported."""
    case, still = (problem(name, 3, 2, 2, 3, dtype=dtype) for _ in range(2))
    case.x[...] = case.dh[...] = np.finfo(dtype).smallest_subnormal
    case.initial[0][...] = np.finfo(dtype).smallest_normal / 4
    still.x[...] = still.dh[...] = still.initial[0][...] = 0
    with np.errstate(all="raise", under="ignore"):
        got, want = everything(*case.run()), everything(*still.run())
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, atol=np.finfo(dtype).eps, err_msg=key)


def case_of(**changes: Any) -> Problem:
    """A good LSTM problem with something put in its place."""
    case = problem("LSTM", 4, 3, 2, 5, (2, 4, 0))
    for key, value in changes.items():
        setattr(case, key, value)
    return case


def with_parameter(name: str, value: Any) -> Any:
    return {**case_of().p, name: value}


z = np.zeros
single = np.float32
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("x without a batch", {"x": z((4, 2))}, ValueError, r"x: expected the shape \(T, B, D\), got \(4, 2\)"),
    ("x of integers", {"x": z((4, 3, 2), int)}, TypeError, "x: expected an array of float32 or float64, got .* int64"),
    ("x of another D", {"x": z((4, 3, 7))}, ValueError, r"W: expected the shape \(20, 7\) for x with D=7 and H=5, got"),
    ("x of another B", {"x": z((4, 9, 2))}, ValueError, "lengths: expected one for each of the B=9 sequences, got 3"),
    ("x with too few steps", {"x": z((3, 3, 2))}, ValueError, "lengths: expected values from 0 to T=3, got 0 to 4"),
    ("x in single", {"x": z((4, 3, 2), single)}, TypeError, "W: expected an array of float32, got ndarray of float64"),
    ("no sequence", {"x": z((4, 0, 2)), "lengths": None}, ValueError, r"expected \(B,\) integers with B >= 1"),
    ("W in single", {"p": with_parameter("W", z((20, 2), single))}, TypeError, "W: expected an array of float64, got"),
    ("b in single", {"p": with_parameter("b", z(20, single))}, TypeError, "b: expected an array of float64, got"),
    ("b too short", {"p": with_parameter("b", z(19))}, ValueError, r"b: expected the shape \(20,\) .* got \(19,\)"),
    ("U not square", {"p": with_parameter("U", z((20, 4)))}, ValueError, r"U: expected the shape \(20, 5\) .* H=5"),
    ("no b", {"p": {"W": z((20, 2)), "U": z((20, 5))}}, KeyError, r"LSTM needs the parameter 'b' of shape \(20,\)"),
    ("lengths missing", {"lengths": (2, 4)}, ValueError, "each of the B=3 sequences, got 2"),
    ("one length for all", {"lengths": 3}, ValueError, "each of the B=3 sequences, got 3"),
    ("negative length", {"lengths": (2, -1, 0)}, ValueError, "from 0 to T=4, got -1 to 2"),
    ("lengths as floats", {"lengths": (2.0, 1.0, 0.0)}, ValueError, "integers with B >= 1, got float64"),
    ("packed x as padded", {"lengths": Packing([2, 4, 0])}, ValueError, r"x: expected the shape \(N=6, D\), got \(4"),
    ("one state", {"initial": [z((3, 5))]}, ValueError, r"initial: expected 2 states \(h, c\), got 1"),
    ("h of another H", {"initial": [z((3, 4)), z((3, 5))]}, ValueError, r"initial h: .* \(B=3, H=5\), got \(3, 4\)"),
    ("c of another B", {"initial": [z((3, 5)), z((2, 5))]}, ValueError, r"initial c: .* \(B=3, H=5\), got \(2, 5\)"),
    ("c in single", {"initial": [z((3, 5)), z((3, 5), single)]}, TypeError, "initial c: .* float64, got .* float32"),
    ("dh of another T", {"dh": z((5, 3, 5))}, ValueError, r"dh: expected the shape \(T=4, B=3, H=5\), got \(5, 3, 5\)"),
    ("dh of another H", {"dh": z((4, 3, 6))}, ValueError, r"dh: expected the shape \(T=4, B=3, H=5\), got \(4, 3, 6\)"),
    ("dh in single", {"dh": z((4, 3, 5), single)}, TypeError, "dh: expected an array of float64, got .* float32"),
    ("one dlast", {"dlast": [z((3, 5))]}, ValueError, r"dlast: expected 2 gradients \(h, c\), got 1"),
    ("dlast of c", {"dlast": [None, z((5, 3))]}, ValueError, r"dlast c: expected the shape \(B=3, H=5\), got \(5, 3\)"),
    ("dlast in single", {"dlast": [z((3, 5), single), None]}, TypeError, "dlast h: .* float64, got .* float32"),
]


@pytest.mark.parametrize(("changes", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_does_not_fit_is_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    case_of().run()
    with pytest.raises(error, match=message):
        case_of(**changes).run()


def packed_problem() -> tuple[Problem, Packing]:
    return case_of(), Packing([2, 4, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, k: forward(c.cell, c.p, z((5, 2)), lengths=k), r"x: expected the shape \(N=6, D\), got \(5, 2\)"),
        (
            lambda c, k: backward(c.cell, c.p, forward(c.cell, c.p, z((6, 2)), lengths=k), c.dh),
            r"dh: expected the shape \(N=6, H=5\), got \(4, 3, 5\)",
        ),
        (lambda c, k: Stepper(c.cell, c.p, batch=2).step(z((3, 2))), r"x: expected .* \(B=2, D=2\), got \(3, 2\)"),
        (lambda c, k: Stepper(c.cell, c.p).step(z(2)), r"x: expected the shape \(B=1, D=2\), got \(2,\)"),
    ],
)
def test_packed_and_stepped_input_too(call: Callable[[Problem, Packing], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*packed_problem())

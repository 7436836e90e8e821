"""Gradients held against finite differences: for any function, and for any class that claims to be a cell.

A mismatch raises `GradientError`, which names the array, the index, and both numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from rnncore import sequence
from rnncore.array import Array, array_module, module_for, to_host
from rnncore.cells.base import Cell, as_cell
from rnncore.params import Params
from rnncore.regularise import Regulariser
from rnncore.trace import sizes_of


class GradientError(AssertionError):
    """An analytic gradient that finite differences do not confirm."""


@dataclass(frozen=True)
class Worst:
    """The largest disagreement found: where it is, and the two numbers.

    error : |analytic - numeric| over the scale of its array, max(|numeric|) over all entries, at least `floor`.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    def __str__(self) -> str:
        return (
            f"{self.name}{list(self.index)}: analytic {self.analytic:.9g}, numeric {self.numeric:.9g}, "
            f"relative error {self.error:.1e}"
        )


def numeric_gradient(f: Callable[[], float], x: Array, step: float = 1e-3) -> Array:
    r"""Return :math:`\partial f / \partial x` for every entry of `x`, by differences of fourth order.

    .. math:: f'(x) \approx \frac{8 [f(x+e) - f(x-e)] - [f(x+2e) - f(x-2e)]}{12 e}

    `f` takes nothing and reads `x`, which is changed and put back entry by entry. The error is of order e^4 from
    the formula and 1e-16 |f| / e from rounding; with e = 1e-3 both lie near 1e-12 for well-scaled float64.
    """
    out = array_module(x).zeros_like(x)
    for index in np.ndindex(*x.shape):
        kept = float(x[index])
        values = {}
        try:
            for k in (-2, -1, 1, 2):
                x[index] = kept + k * step
                values[k] = float(f())
        finally:
            x[index] = kept
        out[index] = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
    return out


def check_function(
    f: Callable[[], float],
    arrays: Mapping[str, Array],
    gradients: Mapping[str, Array],
    tolerance: float = 1e-7,
    step: float = 1e-3,
    floor: float = 1e-6,
    allow_zero: Sequence[str] = (),
) -> Worst:
    """Hold analytic gradients of a scalar function against finite differences, entry by entry.

    Parameters
    ----------
    f : the function, called without arguments; it reads `arrays`, which are changed and put back.
    arrays, gradients : by name, equal shapes, float64.
    tolerance : the largest relative error that passes.
    step : the e of `numeric_gradient`.
    floor : the least scale that an error is measured against, so that exact zeros compare.
    allow_zero : names whose gradient may be zero throughout. Any other that is fails: a check of nothing is none.

    Returns
    -------
    Worst : the largest relative error, which passed.

    Raises
    ------
    GradientError
        At the first array that fails, at its worst entry.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> check_function(lambda: float((x**3).sum()), {"x": x}, {"x": 3 * x**2}).error < 1e-9
    True
    """
    worst = Worst("nothing", (), 0.0, 0.0, -1.0)
    if not arrays:
        raise GradientError("no arrays: a check of nothing is none")
    if set(arrays) != set(gradients):
        raise GradientError(f"gradients for {sorted(gradients)}, but arrays {sorted(arrays)}")
    for name, x in arrays.items():
        kind = getattr(x, "dtype", type(x).__name__)
        if kind != np.float64:
            raise TypeError(f"{name}: gradients are checked in float64, got {kind}; make it an array of float64")
        analytic = to_host(gradients[name])
        if analytic.shape != x.shape:
            raise GradientError(f"{name}: the gradient has shape {analytic.shape}, the array {x.shape}")
        numeric = to_host(numeric_gradient(f, x, step))
        found = _compare(name, analytic, numeric, floor)
        if not found.error <= tolerance:  # also catches NaN
            raise GradientError(f"{found}, tolerance {tolerance:.0e}")
        if not np.any(numeric) and name not in allow_zero:
            raise GradientError(f"{name}: the gradient is zero throughout; the function does not depend on it")
        worst = max(worst, found, key=lambda w: w.error)
    return worst


def _compare(name: str, analytic: np.ndarray, numeric: np.ndarray, floor: float) -> Worst:
    if analytic.size == 0:
        return Worst(name, (), 0.0, 0.0, 0.0)
    scale = max(float(np.abs(numeric).max()), floor)
    errors = np.abs(analytic - numeric) / scale
    errors = np.where(np.isfinite(errors), errors, np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(errors.argmax()), errors.shape))
    return Worst(name, index, float(analytic[index]), float(numeric[index]), float(errors[index]))


def check_cell(
    cell: Cell | type[Cell],
    tolerance: float = 1e-7,
    *,
    sizes: tuple[int, int, int, int] = (4, 3, 3, 5),
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    regulariser: Regulariser | None = None,
    step: float = 2e-4,
    device: str = "cpu",
) -> Worst:
    """Hold a cell to the contract of `rnncore.cells.base.Cell`, its gradients to finite differences.

    Checked are every parameter, x and every initial state, with random gradients entering at every step and at
    every last state: once with all steps real and once with mixed lengths, one of them 0. Then: padding gets
    exactly zero gradient, one step at a time gives what the whole sequence gives, and so does a run cut in two; and
    each sequence alone gives what it gives in the batch, where the cell says so (`columnwise`).

    Parameters
    ----------
    cell : the cell, or its class if that takes no arguments.
    sizes : T, B, D, H.
    lengths : the mixed lengths, (B,); made from `sizes` when None.
    regulariser : noise under which all this is checked, its masks drawn by its seed.
    step : the e of `numeric_gradient`; a cell that curves sharply, as one that normalises few units, needs a small one.
    device : where the cell runs, 'cpu' or 'cuda'.

    Returns
    -------
    Worst : the largest relative error found.

    Raises
    ------
    GradientError
        Naming parameter, index, analytic and numeric value, or the property that does not hold.

    Examples
    --------
    >>> from rnncore.cells import LSTM
    >>> check_cell(LSTM()).error < 1e-7
    True
    """
    cell = as_cell(cell)
    T, B, _, _ = sizes
    mixed = list(lengths) if lengths is not None else [max(0, T - 2 * k) for k in range(B)][::-1]
    xp = module_for(device)
    found = [_check_gradients(cell, sizes, case, tolerance, seed, regulariser, step, xp) for case in (None, mixed)]
    _check_stepping(cell, sizes, seed, None if regulariser is None else regulariser.seeded(None), xp)
    if regulariser is None and getattr(cell, "columnwise", False):
        _check_columns(cell, sizes, seed, xp)
    return max(found, key=lambda w: w.error)


def _problem(
    cell: Cell, sizes: tuple[int, int, int, int], seed: int, xp: ModuleType
) -> tuple[Params, Array, list[Array]]:
    """Random parameters, inputs and initial states, of a size that saturates no gate."""
    T, B, D, H = sizes
    rng = np.random.default_rng(seed)
    p = Params(cell.shapes(D, H), np.float64, xp)
    p.flat[...] = xp.asarray(rng.normal(0, 0.5, p.size))
    x, widths = xp.asarray(rng.normal(size=(T, B, D))), sizes_of(cell, H)
    return p, x, [xp.asarray(rng.normal(size=(B, widths[name]))) for name in cell.state]


def _check_gradients(
    cell: Cell,
    sizes: tuple[int, int, int, int],
    lengths: list[int] | None,
    tolerance: float,
    seed: int,
    regulariser: Regulariser | None,
    step: float,
    xp: ModuleType,
) -> Worst:
    p, x, initial = _problem(cell, sizes, seed, xp)
    rng = np.random.default_rng(seed + 1)
    dh = xp.asarray(rng.normal(size=(*x.shape[:2], initial[0].shape[1])))
    dlast = [xp.asarray(rng.normal(size=s.shape)) for s in initial]

    def loss() -> float:
        trace = sequence.forward(cell, p, x, initial, lengths, regulariser=regulariser)
        return float((trace.output * dh).sum() + sum((s * d).sum() for s, d in zip(trace.last, dlast, strict=True)))

    trace = sequence.forward(cell, p, x, initial, lengths, regulariser=regulariser)
    unwritten = {name: xp.full_like(value, np.nan) for name, value in p.items()}  # each must be overwritten
    got = sequence.backward(cell, p, trace, dh, dlast, unwritten)
    states = {f"initial {name}": s for name, s in zip(cell.state, initial, strict=True)}
    dstates = dict(zip(states, got.initial, strict=True))
    arrays, gradients = {**p, "x": x, **states}, {**got.params, "x": got.x, **dstates}
    worst = check_function(loss, arrays, gradients, tolerance, step)
    if lengths is not None:
        padding = np.arange(len(x))[:, None] >= np.asarray(lengths)
        if got.x is None or np.any(to_host(got.x)[padding]):
            raise GradientError("x: the padding gets a gradient; it must be exactly zero")
    return worst


def _check_stepping(
    cell: Cell, sizes: tuple[int, int, int, int], seed: int, regulariser: Regulariser | None, xp: ModuleType
) -> None:
    p, x, initial = _problem(cell, sizes, seed, xp)
    whole = sequence.forward(cell, p, x, initial, regulariser=regulariser)
    stepper = sequence.Stepper(cell, p, state=initial, regulariser=regulariser)
    stepped = xp.stack([stepper.step(x_t) for x_t in x])
    first = sequence.forward(cell, p, x[:1], initial, regulariser=regulariser)
    second = sequence.forward(cell, p, x[1:], first.last, regulariser=regulariser)
    split = xp.concatenate([first.output, second.output])
    for what, output in (("one step at a time", stepped), ("a run cut in two", split)):
        gap = float(abs(output - whole.output).max())
        if not gap <= 1e-12:
            raise GradientError(f"{what} differs from the whole sequence by {gap:.1e}; a step must use nothing else")


def _check_columns(cell: Cell, sizes: tuple[int, int, int, int], seed: int, xp: ModuleType) -> None:
    p, x, initial = _problem(cell, sizes, seed, xp)
    batch = sequence.forward(cell, p, x, initial).last
    for k in range(x.shape[1]):
        alone = sequence.forward(cell, p, x[:, k : k + 1], [s[k : k + 1] for s in initial]).last
        gap = max(float(abs(a - b[k]).max()) for a, b in zip(alone, batch, strict=True))
        if not gap <= 1e-12:
            raise GradientError(
                f"a sequence of its own differs from the same one in a batch by {gap:.1e}: "
                f"{type(cell).__name__} looks across columns, so it must not have columnwise = True"
            )

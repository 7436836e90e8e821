"""How much the engine does: products, copies, last states; and a cell that brings a loop of its own."""

from typing import Any

import numpy as np
import pytest

from rnncore.cells import LSTM, RNN, Now, Weights
from rnncore.params import Params
from rnncore.sequence import backward, forward
from rnncore.steps import _MANY_STEPS, _SMALL_BATCH, Backward
from rnncore.trace import Trace, fast_width
from rnncore.views import by_step
from tests.rnncore.problems import ALL, problem


class Products:
    """Counts the multiplications and additions of every product of two matrices, from the shapes it sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._matmul = 0, np.matmul
        monkeypatch.setattr(np, "matmul", self)

    def __call__(self, a: Any, b: Any, **out: Any) -> Any:
        self.count += a.size * b.size // b.shape[-2] if b.ndim > 1 else 0  # b may be a stack of matrices
        return self._matmul(a, b, **out)


@pytest.mark.parametrize("B", [6, _SMALL_BATCH + 2])
@pytest.mark.parametrize("name", ALL)
def test_no_product_is_spent_on_padding(name: str, B: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is that of the equations for sum(lengths) rows, whatever T and B are; inside the loop for the few
    columns more to which the engine rounds b_t up."""
    T, D, H = 9, 3, 4
    case = problem(name, T, B, D, H, tuple(k % 5 for k in range(B)))
    rows, products = sum(case.lengths or ()), Products(monkeypatch)
    running: list[int] = []
    step = type(case.cell).step

    def counted(self: Any, p: Weights, now: Now) -> None:
        running.append(now.a.shape[1])
        step(self, p, now)

    monkeypatch.setattr(type(case.cell), "step", counted)
    trace = forward(case.cell, case.p, case.x, case.initial, case.lengths)
    outside = case.p["W"].size
    inside = sum(value.size for value in case.p.values() if value.ndim == 2) - outside
    columns = sum(fast_width(b) for b in trace.packing.batch_sizes)
    assert products.count == rows * outside + columns * inside  # W x, U h, and whatever else a cell multiplies
    products.count = 0
    backward(case.cell, case.p, trace, case.dh, case.dlast)
    assert products.count == rows * (2 * outside + inside) + columns * inside  # dW, dx, dU, dh
    assert sum(running) == columns < T * B / 2


@pytest.mark.parametrize(("B", "expected"), [(4, [(9, 80)] * 5), (5, [(10, 9, 5)] * 10)], ids=str)
def test_inputs_of_a_small_batch_are_multiplied_for_several_runs_at_once(
    B: int, expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps are a run here, and a product has up to 100 columns: two runs of four sequences."""
    monkeypatch.setattr("rnncore.trace.RUN", 9 * B * 10)
    monkeypatch.setattr("rnncore.steps._COLUMNS", 100)
    monkeypatch.setattr("rnncore.steps._SMALL_BATCH", 4)
    case, shapes, matmul = problem("GRU", 100, B, 2, 3), [], np.matmul

    def noted(a: Any, b: Any, out: Any = None) -> Any:
        shapes.extend([out.shape] if a is case.p["W"] else [])
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", noted)
    forward(case.cell, case.p, case.x)
    assert shapes == expected


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("lengths", "expected"),
    [((6, 2, 0, 6, 4), [(-1, 5, 4), (1, 4, 3), (3, 3, 2), (5, 2, 0)]), ((6, 2, 6), [(1, 3, 2), (5, 2, 0)])],
)
def test_last_states_are_kept_as_sequences_end_where_steps_are_not(
    lengths: tuple[int, ...], expected: list[tuple[int, ...]], keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, ends, end = problem("LSTM", 6, len(lengths), 2, 3, lengths), [], Trace.end

    def noted(self: Trace, t: int, before: int, still: int) -> None:
        ends.append((t, before, still))
        end(self, t, before, still)

    with monkeypatch.context() as patched:
        patched.setattr(Trace, "end", noted)
        trace = forward(case.cell, case.p, case.x, case.initial, case.lengths, keep=keep)
    assert ends == ([] if keep else expected)
    for last, want in zip(trace.last, case.run()[0].last, strict=True):
        np.testing.assert_allclose(last, want, atol=1e-14)


@pytest.mark.parametrize("fewer", [0, 1])
def test_from_many_steps_on_steps_backward_see_every_matrix_but_W_by_columns(fewer: int) -> None:
    seen: list[Weights] = []

    class Noting(LSTM):
        def step_backward(self, p: Weights, now: Now, dstate: tuple[Any, ...]) -> None:
            seen.append(p)
            super().step_backward(p, now, dstate)

    case, cell = problem("LSTM", _MANY_STEPS - fewer, 2, 3, 2), Noting()
    backward(cell, case.p, forward(cell, case.p, case.x))
    assert seen[0]["U"].flags.f_contiguous == (not fewer)
    assert all(seen[0][name] is case.p[name] for name in ("W", "b"))
    np.testing.assert_array_equal(seen[0]["U"], case.p["U"])


@pytest.mark.parametrize("size", [127, 128])
def test_large_gradients_from_outside_are_laid_out_small_ones_taken_as_they_lie(size: int) -> None:
    x, rows = np.zeros((2, size, 1)), np.random.default_rng(0).normal(size=(2 * size, size))
    trace = forward(RNN(), Params(RNN().shapes(1, size), np.float64), x)
    assert [run.steps for run in trace.runs] == [range(2)]
    found = Backward(RNN(), {}, trace, (), None)._by_units(by_step(rows, trace.runs[0]))
    np.testing.assert_array_equal(found, [rows[:size].T, rows[size:].T])
    assert np.shares_memory(found, rows) == (size < 128)


class Growing(RNN):
    """Without a bound, so that what is left of one pass must not be where the next one begins."""

    def step(self, p: Weights, now: Now) -> None:
        (h,), (h_next,) = now.prev, now.next
        now.a[...] += p["U"] @ h
        h_next[...] = now.a


def test_columns_of_nobody_do_not_grow_from_pass_to_pass() -> None:
    case, cell = problem("RNN", 5, 9, 2, 3), Growing()
    case.p["U"][...] = np.eye(3)
    trace = forward(cell, case.p, problem("RNN", 5, 16, 2, 3).x)  # which leaves something in their columns
    for _ in range(3):
        assert forward(cell, case.p, case.x, trace=trace) is trace
    assert trace.widths[0] > 9
    assert max(float(np.abs(slab[:, 9:]).max()) for slab in trace.where("h")) == 0


class WithLoops(LSTM):
    """An LSTM that owns time itself, as a kernel for the whole loop does."""

    def forward_loop(self, p: Weights, trace: Trace) -> None:
        for now, here in zip(trace.now, self.rows(trace), strict=True):
            now.a[...] = p["W"] @ trace.x[here].T + p["b"][:, None]
            self.step(p, now)
            trace.state_rows[trace.packing.batch :][here] = now.next[0].T

    def backward_loop(self, p: Weights, trace: Trace, dh: Any, dlast: tuple[Any, ...], reaching: Any) -> None:
        for now, here in zip(reversed(trace.now), reversed(self.rows(trace)), strict=True):
            running = tuple(d[:, : here.stop - here.start] for d in dlast)
            running[0][...] += dh[here].T
            self.step_backward(p, now, running)
            trace.da[:, here] = now.da

    def rows(self, trace: Trace) -> list[slice]:
        ends = trace.packing.offsets
        return [slice(ends[t], ends[t + 1]) for t in range(len(trace.now))]


@pytest.mark.parametrize("keep", [True, False])
def test_a_cell_with_a_loop_of_its_own(keep: bool) -> None:
    case, cell = problem("LSTM", 5, 4, 3, 2, (5, 2, 0, 4)), WithLoops()
    trace = forward(cell, case.p, case.x, case.initial, case.lengths, keep=keep)
    got, (plain, want) = backward(cell, case.p, trace, case.dh, case.dlast), case.run()
    assert trace.kept
    pairs = [(trace.output, plain.output), (got.x, want.x), *zip(got.initial, want.initial, strict=True)]
    pairs += [*zip(trace.last, plain.last, strict=True), *((got.params[k], v) for k, v in want.params.items())]
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other, atol=1e-13)

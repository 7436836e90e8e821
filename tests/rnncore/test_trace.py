"""What a pass leaves behind: by name, by row, as views or copies, in memory that is used again."""

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from rnncore import cells
from rnncore.packing import Packing
from rnncore.sequence import Gradients, backward, forward
from rnncore.trace import Trace, fast_width
from tests.rnncore.problems import ALL, SIZES, Problem, problem, problems

ALIKE = ((1, 0, 2), (0, 1, 2), (1, 1, 1), (3, 0, 0))
MIXED = (5, 6, 3, 2, (2, 0, 5, 1, 4, 5))


def everything(trace: Trace, gradients: Gradients) -> dict[str, Any]:
    """Every array that a pass returns, by name."""
    return {
        **{name: trace[name] for name in trace.names},
        **{f"rows of {name}": trace.rows(name) for name in trace.names},
        **{f"gradient of {name}": trace.gradient(name) for name in trace.cell.preactivations},
        **{f"last {name}": s for name, s in zip(trace.cell.state, trace.last, strict=True)},
        **{f"start {name}": s for name, s in zip(trace.cell.state, trace.initial, strict=True)},
        **{f"initial {name}": d for name, d in zip(trace.cell.state, gradients.initial, strict=True)},
        **{f"parameter {name}": g for name, g in gradients.params.items()},
        "outputs": trace.output,
        "x": gradients.x,
        "previous": trace.previous_rows,
        "da": trace.da,
        "x rows": trace.x,
    }


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
        assert got[name].dtype == value.dtype, name


@pytest.mark.parametrize("name", ALL)
def test_a_trace_used_again_gives_the_same_bits(name: str) -> None:
    """Also when it grew, shrank, served dense batches, or as many rows laid out in another way, before."""
    used: Trace | None = None
    for sizes in (*SIZES, *SIZES[::-1], SIZES[7], SIZES[7], *((4, 3, 2, 3, n) for n in ALIKE)):
        case = problem(name, *sizes[:2], 2, 3, sizes[4])
        new = everything(*case.run())
        before, (used, gradients) = used, case.run(used)
        assert before is None or used is before
        assert_same(everything(used, gradients), new)


@settings(max_examples=30, deadline=None)
@given(problems(), problems())
def test_a_trace_of_any_other_pass_can_be_handed_in(first: Problem, second: Problem) -> None:
    trace, _ = first.run()
    new = everything(*second.run())
    again = forward(second.cell, second.p, second.x, second.initial, second.lengths, trace)
    assert_same(everything(again, backward(second.cell, second.p, again, second.dh, second.dlast)), new)


def test_memory_is_kept_where_it_is_large_enough() -> None:
    big, little = problem("LSTM", 6, 4, 2, 3), problem("LSTM", 4, 3, 2, 3, (1, 4, 2))
    trace, _ = big.run()
    at = trace.output.ctypes.data
    trace, _ = little.run(trace)
    trace, _ = big.run(trace)
    assert np.shares_memory(trace.output, trace.state_rows)
    used = {slab.ctypes.data for slab in (trace.now[0].a, trace.da)}
    steps = trace.now
    big.run(trace)
    assert trace.now is steps  # the views of a layout are made once
    assert {slab.ctypes.data for slab in (trace.now[0].a, trace.da)} == used
    assert trace.state_rows[4:].ctypes.data == at


@pytest.mark.parametrize("change", ["cell", "hidden", "dtype"])
def test_a_trace_that_does_not_fit_is_left_alone(change: str) -> None:
    case = problem("GRU", 3, 2, 2, 3)
    trace, _ = case.run()
    kept = trace["h"]
    other = {
        "cell": case,
        "hidden": problem("GRU", 3, 2, 2, 4),
        "dtype": problem("GRU", 3, 2, 2, 3, dtype=np.float32),
    }[change]
    cell = other.cell if change == "cell" else trace.cell
    assert forward(cell, other.p, other.x, trace=trace) is not trace
    np.testing.assert_array_equal(trace["h"], kept)


def test_results_are_copies_but_for_the_output_where_nothing_is_padded() -> None:
    for sizes, view in ((MIXED, False), ((5, 6, 3, 2, None), True)):
        case = problem("LSTM", *sizes)
        trace, gradients = case.run()
        memory = (trace.state_rows, trace.da, *(a for now in trace.now for a in (now.a, *now.next, *now.saved)))
        results = everything(trace, gradients)
        inner = {"outputs", "da", "previous", "start h", "start c", "x rows"}
        assert any(np.shares_memory(results["outputs"], m) for m in memory) is view
        for name, result in results.items():
            assert name in inner or not any(np.shares_memory(result, m) for m in memory), name
        for argument in (case.x, case.dh, *case.initial, *case.dlast, case.p.flat):
            mine = {name for name, result in results.items() if np.shares_memory(result, argument)}
            assert mine <= {"x rows"}
            assert not mine or (argument is case.x and view)


def test_results_outlive_the_next_pass() -> None:
    case = problem("GRU", *MIXED)
    trace, gradients = case.run()
    results = everything(trace, gradients)
    kept = {name: value.copy() for name, value in results.items()}
    other = problem("GRU", *MIXED, seed=1)
    other.run(trace)
    inner = {"da", "start h"}
    assert_same({k: v for k, v in results.items() if k not in inner}, {k: v for k, v in kept.items() if k not in inner})
    assert not np.array_equal(trace["h"], kept["h"])


def test_rows_lie_as_the_packing_says() -> None:
    case = problem("LSTM", *MIXED)
    trace, _ = case.run()
    packing = Packing(list(MIXED[4]), MIXED[0])
    for name in trace.names:
        rows = trace.rows(name)
        np.testing.assert_array_equal(packing.pack(trace[name]), rows)
        np.testing.assert_array_equal(packing.unpack(rows), trace[name])
    np.testing.assert_array_equal(trace.output, trace["h"])
    start = np.concatenate([trace.initial[0].T, trace.rows("h")])
    np.testing.assert_array_equal(trace.state_rows, start)
    np.testing.assert_array_equal(trace.initial[1].T, packing.sort(case.initial[1]))


@pytest.mark.parametrize("sizes", [MIXED, (5, 6, 3, 2, None), (3, 2, 1, 1, (0, 0))], ids=str)
def test_previous_rows_are_the_outputs_one_step_earlier(sizes: Any) -> None:
    case = problem("RNN", *sizes)
    trace, _ = case.run()
    before = np.concatenate([case.initial[0][None], trace["h"][:-1]])
    np.testing.assert_array_equal(
        trace.packing.unpack(trace.previous_rows) * ~case.padding[..., None], before * ~case.padding[..., None]
    )


def test_one_view_of_each_step() -> None:
    case = problem("GRU", 4, 5, 2, 3, (4, 2, 2, 0, 1))
    trace, _ = case.run()
    assert [now.a.shape for now in trace.now] == [(9, w) for w in (4, 4, 1, 1)]
    for t, now in enumerate(trace.now):
        assert all(np.shares_memory(gate, now.a) for gate in now.gates)
        assert all(np.shares_memory(d, now.da) for d in now.dgates)
        assert now.da.shape == (12, now.a.shape[1])
        assert t == 0 or np.shares_memory(now.prev[0], trace.now[t - 1].next[0])


def test_columns_are_rounded_up_for_cells_that_say_so() -> None:
    assert [fast_width(b) for b in (1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 100)] == [1, 2, 4, 4, 8, 8, 16, 16, 16, 24, 104]
    lengths = (5, 0, *range(1, 5), 1)
    for name, widths in (("LSTM", (8, 4, 4, 2, 1)), ("Plain", (6, 4, 3, 2, 1))):
        case = problem("LSTM", 5, 7, 2, 3, lengths)
        cell = case.cell if name == "LSTM" else type("Plain", (cells.LSTM,), {"columnwise": False})()
        trace = forward(cell, case.p, case.x, case.initial, case.lengths)
        assert trace.widths == widths
        assert [now.a.shape[1] for now in trace.now] == list(widths)


@pytest.mark.parametrize("name", ALL)
def test_the_columns_more_change_nothing(name: str) -> None:
    """What a cell gives without them it gives with them, whatever stands there to begin with."""
    case = problem(name, 6, 13, 2, 3, (1, 6, 0, 2, 5, 3, 3, 4, 1, 6, 6, 2, 5))
    kind = type(case.cell)
    plain = kind.__new__(type("Plain", (kind,), {"columnwise": False}))
    vars(plain).update(vars(case.cell))
    used = Trace(case.cell, 3, case.x.dtype)
    used._memory.take("a", 10_000)[:] = 7.0
    for state in case.cell.state:
        used._memory.take(f"state {state}", 10_000)[:] = 7.0
    results = []
    for cell, trace in ((plain, None), (case.cell, used)):
        trace = forward(cell, case.p, case.x, case.initial, case.lengths, trace)
        got = backward(cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
        gradients = {f"gradient {n}": trace.gradient(n) for n in (*cell.preactivations, *cell.state)}
        results.append(everything(trace, got) | gradients)
    assert results[0].keys() == results[1].keys()
    for key, value in results[0].items():
        np.testing.assert_allclose(results[1][key], value, rtol=1e-12, atol=1e-13, err_msg=key)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    trace, _ = problem("LSTM", 2, 2, 2, 2).run()
    assert trace.names == ("input", "forget", "output", "candidate", "h", "c", "tanh_c")
    with pytest.raises(KeyError, match="no 'reset' in this trace; there are input, forget, output, candidate, h, c"):
        trace["reset"]
    with pytest.raises(KeyError, match="no gradient of 'tanh_c'; there are input, forget, output, candidate, h, c"):
        trace.gradient("tanh_c")
    with pytest.raises(RuntimeError, match=r"gradients of h were not kept: run backward\(keep_state_gradients=True\)"):
        trace.gradient("h")


def test_gradients_are_those_of_the_last_forward_pass_only() -> None:
    case = problem("RNN", 2, 2, 2, 2)
    trace = forward(case.cell, case.p, case.x)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="run backward on this trace first"):
            trace.gradient("hidden")
        backward(trace.cell, case.p, trace, case.dh)
        assert trace.gradient("hidden").any()
        forward(trace.cell, case.p, case.x, trace=trace)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_memory_does_not_grow_over_many_steps(name: str) -> None:
    """Batches of all lengths that occur have been seen after a few hundred; a thousand more take nothing."""
    random, cell = np.random.default_rng(0), problem(name, 1, 1, 4, 8).cell
    p = problem(name, 1, 1, 4, 8).p
    grads, trace = p.like(), None

    def train(batches: int) -> None:
        nonlocal trace
        for _ in range(batches):
            packing = Packing(random.integers(1, 9, 6), 8)
            x, dh = random.normal(size=(packing.rows, 4)), random.normal(size=(packing.rows, 8))
            trace = forward(cell, p, x, None, packing, trace)
            backward(cell, p, trace, dh, grads={**grads})

    tracemalloc.start()
    try:
        train(500)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        train(1000)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # a Trace of these sizes is 100 KB; 20 bytes a step would show


def test_a_trace_holds_every_number_once() -> None:
    """Buffers of a training step, in numbers a row and unit: 4 gates, h and c and tanh c, h as rows, 4 gradients."""
    T, B, H = 100, 16, 64
    case = problem("LSTM", T, B, 5, H)
    trace, _ = case.run()
    held = sum(buffer.size for buffer in trace._memory._buffers.values()) / (T * B * H)
    assert 12 <= held < 12 * 1.15

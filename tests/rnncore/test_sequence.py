"""The engine against the textbook loop, and the laws that any recurrent pass obeys."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore.packing import Packing
from rnncore.regularise import Regulariser
from rnncore.sequence import Gradients, Stepper, backward, forward
from rnncore.steps import _MANY_STEPS, _SMALL_BATCH
from rnncore.trace import Trace
from tests.rnncore import reference
from tests.rnncore.problems import ALL, SIZES, Problem, problem, problems

small = settings(max_examples=60, deadline=None)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def all_close(got: Any, expected: Any) -> None:
    """Of states, which may have different sizes."""
    for one, other in zip(got, expected, strict=True):
        close(one, other)


def assert_is_textbook(case: Problem, trace: Trace, got: Gradients) -> None:
    T, B = case.x.shape[:2]
    lengths = case.lengths if case.lengths is not None else (T,) * B
    want = reference.run(case.name, case.p, case.x, case.initial, lengths, case.dh, case.dlast)
    assert set(trace.names) == set(want.fields)
    for name, value in want.fields.items():
        close(trace[name], value)
    close(trace.output, want.fields["h"])
    for last, value in zip(trace.last, want.last, strict=True):
        close(last, value)
    if not want.gradients:
        return
    assert set(case.cell.preactivations) == set(want.gradients)
    for name, value in want.gradients.items():
        close(trace.gradient(name), value)
    assert set(got.params) == set(want.dparams)
    for name, value in want.dparams.items():
        close(got.params[name], value)
    close(got.x, want.dx)
    for dinitial, value in zip(got.initial, want.dinitial, strict=True):
        close(dinitial, value)


def test_the_sizes_take_both_ways_through_the_engine() -> None:
    steps, batches = ([size[k] for size in SIZES] for k in (0, 1))
    assert min(batches) <= _SMALL_BATCH < max(batches)
    assert min(steps) < _MANY_STEPS <= max(steps)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_textbook(name: str, sizes: tuple[int, int, int, int, tuple[int, ...] | None]) -> None:
    case = problem(name, *sizes)
    assert_is_textbook(case, *case.run())


@small
@given(problems())
def test_any_problem_is_textbook(case: Problem) -> None:
    assert_is_textbook(case, *case.run())


def test_textbook_where_matrices_change_sides_in_strips() -> None:
    case = problem("GRU", 2, 131, 2, 129, tuple(2 - (k > 129) for k in range(131)))
    assert_is_textbook(case, *case.run())


@pytest.mark.parametrize("columns", [1, 5, 7])
@pytest.mark.parametrize("lengths", [None, (9, 2, 5, 9, 1)], ids=str)
def test_inputs_are_multiplied_some_at_a_time(
    columns: int, lengths: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncore.steps._COLUMNS", columns)
    for keep in (True, False):
        case = problem("GRU", 9, 5, 2, 3, lengths)
        whole, _ = problem("GRU", 9, 5, 2, 3, lengths).run()
        trace = forward(case.cell, case.p, case.x, case.initial, case.lengths, keep=keep)
        close(trace.output, whole.output)
    assert_is_textbook(case, *case.run())


@pytest.mark.parametrize("name", ALL)
def test_left_out_arguments_are_zero(name: str) -> None:
    case = problem(name, 4, 3, 2, 3, (2, 4, 0))
    trace = forward(case.cell, case.p, case.x, lengths=case.lengths)
    got = backward(case.cell, case.p, trace, dlast=[case.dlast[0], *(None for _ in case.dlast[1:])], need_dx=False)
    assert got.x is None
    case.initial = [np.zeros_like(s) for s in case.initial]
    case.dh = np.zeros_like(case.dh)
    case.dlast[1:] = [np.zeros_like(d) for d in case.dlast[1:]]
    whole, want = case.run()
    np.testing.assert_array_equal(trace.output, whole.output)
    for name_, value in want.params.items():
        np.testing.assert_array_equal(got.params[name_], value)
    nothing = backward(case.cell, case.p, trace)
    assert not any(np.any(g) for g in (*nothing.params.values(), *nothing.initial, nothing.x))


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_written_over_what_was_there_and_backward_can_be_repeated(name: str) -> None:
    case = problem(name, 3, 2, 2, 3, (3, 1))
    trace, first = case.run()
    grads = case.p.like()
    grads.flat[:] = np.nan
    again = backward(case.cell, case.p, trace, case.dh, case.dlast, {**grads})
    for k, value in first.params.items():
        np.testing.assert_array_equal(grads[k], value)
    np.testing.assert_array_equal(again.x, first.x)


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_only_read(name: str) -> None:
    case, untouched = (problem(name, 4, 3, 2, 3, (2, 4, 0)) for _ in range(2))
    case.run()
    for key in ("x", "dh"):
        np.testing.assert_array_equal(getattr(case, key), getattr(untouched, key))
    for pair in zip((*case.initial, *case.dlast), (*untouched.initial, *untouched.dlast), strict=True):
        np.testing.assert_array_equal(*pair)
    np.testing.assert_array_equal(case.p.flat, untouched.p.flat)


@small
@given(problems(), st.data())
def test_a_run_cut_anywhere_is_the_whole_run(case: Problem, data: st.DataObject) -> None:
    case.lengths = None
    cut = data.draw(st.integers(0, len(case.x)))
    whole, want = case.run()
    first = forward(case.cell, case.p, case.x[:cut], case.initial)
    second = forward(case.cell, case.p, case.x[cut:], first.last)
    close(np.concatenate([first.output, second.output]), whole.output)
    all_close(second.last, whole.last)
    late = backward(case.cell, case.p, second, case.dh[cut:], case.dlast)
    early = backward(case.cell, case.p, first, case.dh[:cut], late.initial)
    close(np.concatenate([early.x, late.x]), want.x)
    all_close(early.initial, want.initial)
    for k, value in want.params.items():
        close(early.params[k] + late.params[k], value)


@small
@given(problems())
def test_stepping_is_the_whole_run(case: Problem) -> None:
    case.lengths = None
    whole, _ = case.run()
    stepper = Stepper(case.cell, case.p, state=case.initial)
    outputs = [stepper.step(x_t) for x_t in case.x]  # kept, and not written over by later steps
    close(np.stack(outputs), whole.output)
    all_close(stepper.state, whole.last)


def test_stepper_starts_at_zero_and_follows_its_state() -> None:
    case = problem("LSTM", 2, 3, 2, 4)
    stepper = Stepper(case.cell, case.p, batch=3)
    close(stepper.step(case.x[0]), forward(case.cell, case.p, case.x[:1]).output[0])
    stepper.state = tuple(s[[2, 2]] for s in stepper.state)  # a beam goes on from other sequences
    x = np.stack([case.x[0, [2, 2]], case.x[1, :2]])
    close(stepper.step(case.x[1, :2]), forward(case.cell, case.p, x).output[1])


def test_a_state_that_does_not_fit_is_refused_and_the_stepper_stays_where_it_is() -> None:
    case = problem("LSTM", 3, 3, 2, 4)
    stepper, whole = Stepper(case.cell, case.p, state=case.initial), forward(case.cell, case.p, case.x, case.initial)
    close(stepper.step(case.x[0]), whole.output[0])
    z = np.zeros
    for wrong, message in (
        ([z((3, 4))], r"initial: expected 2 states \(h, c\), got 1"),
        ([z((3, 4)), z((2, 4))], r"initial c: expected .*B=3, H=4"),
        ([z((5, 3)), z((5, 4))], r"initial h: expected .*B=5, H=4"),
    ):
        with pytest.raises(ValueError, match=message):
            stepper.state = tuple(wrong)
    with pytest.raises(TypeError, match="initial c: expected an array of float64"):
        stepper.state = (z((5, 4)), z((5, 4), np.float32))
    for x_t, expected in zip(case.x[1:], whole.output[1:], strict=True):
        close(stepper.step(x_t), expected)


@small
@given(problems())
def test_a_pass_that_is_not_kept_has_the_same_outputs_and_last_states(case: Problem) -> None:
    whole = forward(case.cell, case.p, case.x, case.initial, case.lengths)
    for used in (None, whole):
        expected, last = whole.output.copy(), whole.last
        cell = case.cell if used is None else used.cell
        quick = forward(cell, case.p, case.x, case.initial, case.lengths, used, keep=False)
        np.testing.assert_array_equal(quick.output, expected)
        for one, other in zip(quick.last, last, strict=True):
            np.testing.assert_array_equal(one, other)
    kept = forward(whole.cell, case.p, case.x, case.initial, case.lengths, quick)
    other = forward(case.cell, case.p, case.x, case.initial, case.lengths)
    for name in other.names:
        np.testing.assert_array_equal(kept[name], other[name])


def test_what_is_not_kept_cannot_be_asked_for() -> None:
    case = problem("LSTM", 50, 3, 2, 4)
    trace = forward(case.cell, case.p, case.x, keep=False)
    for ask in (lambda: trace["forget"], lambda: trace.rows("c"), lambda: backward(trace.cell, case.p, trace, case.dh)):
        with pytest.raises(RuntimeError, match="keep=True"):
            ask()
    with pytest.raises(ValueError, match="with a seed keep must be True"):
        forward(case.cell, case.p, case.x, regulariser=Regulariser({"c": 0.5}, seed=1), keep=False)
    assert trace._memory.take("a", 1).base.size == 2 * 4 * 4 * 4  # two slabs, whatever T is
    expectation = Regulariser({"c": 0.5})  # without a seed there are no masks to keep
    kept, lost = (forward(case.cell, case.p, case.x, regulariser=expectation, keep=keep) for keep in (True, False))
    close(lost.output, kept.output)


@pytest.mark.parametrize("name", ALL)
def test_a_long_stream_of_an_odd_batch(name: str) -> None:
    """Columns of nobody are no stream of their own: they would be carried on for ever."""
    case = problem(name, 40, 5, 2, 3)
    stepper = Stepper(case.cell, case.p, state=case.initial)
    for x_t in case.x:
        out = stepper.step(x_t)
    trace = forward(case.cell, case.p, case.x, case.initial)
    close(out, trace.output[-1])
    all_close(stepper.state, trace.last)
    assert not any(s[:, 5:].any() for s in stepper._trace.now[1 - stepper._turn].prev)


@small
@given(problems())
def test_what_stands_in_the_padding_changes_nothing_and_gets_no_gradient(case: Problem) -> None:
    trace, want = case.run()
    case.x[case.padding] = case.dh[case.padding] = np.nan
    other, got = case.run()
    for name in trace.names:
        np.testing.assert_array_equal(other[name], trace[name])
        assert not trace[name][case.padding].any()
    for name in case.cell.preactivations:
        assert not other.gradient(name)[case.padding].any()
    assert got.x is not None
    assert not got.x[case.padding].any()
    np.testing.assert_array_equal(got.x, want.x)
    for k, value in want.params.items():
        np.testing.assert_array_equal(got.params[k], value)


@small
@given(problems())
def test_an_empty_sequence_passes_its_state_through(case: Problem) -> None:
    case.lengths = (0, *(case.lengths or [len(case.x)] * case.x.shape[1])[1:])
    trace, got = case.run()
    for got_, want in ((trace.last, case.initial), (got.initial, case.dlast)):
        for one, other in zip(got_, want, strict=True):
            np.testing.assert_array_equal(one[0], other[0])


@small
@given(problems(), st.randoms(use_true_random=False))
def test_a_permuted_batch_gives_a_permuted_result(case: Problem, random: Any) -> None:
    trace, want = case.run()
    order = list(range(case.x.shape[1]))
    random.shuffle(order)
    if case.lengths is not None:
        case.lengths = tuple(case.lengths[k] for k in order)
    case.x, case.dh = case.x[:, order], case.dh[:, order]
    case.initial, case.dlast = ([s[order] for s in states] for states in (case.initial, case.dlast))
    permuted, got = case.run()
    for name in trace.names:
        close(permuted[name], trace[name][:, order])
    all_close(permuted.last, [s[order] for s in trace.last])
    assert want.x is not None
    close(got.x, want.x[:, order])
    all_close(got.initial, [d[order] for d in want.initial])
    for k, value in want.params.items():
        close(got.params[k], value)


@small
@given(problems())
def test_packed_rows_give_what_padded_steps_give(case: Problem) -> None:
    """With a Trace of their own, and with one that padded steps went through before; and the other way about."""
    T, B = case.x.shape[:2]
    packing = Packing(case.lengths if case.lengths is not None else [T] * B, T)
    padded, want = case.run()
    expected = packing.pack(padded.output)
    for used in (None, case.run()[0]):
        cell = case.cell if used is None else used.cell
        trace = forward(cell, case.p, packing.pack(case.x), case.initial, packing, used)
        got = backward(cell, case.p, trace, packing.pack(case.dh), case.dlast)
        np.testing.assert_array_equal(trace.output, expected)
        np.testing.assert_array_equal(trace["h"], padded["h"])
        np.testing.assert_array_equal(got.x, packing.pack(want.x))
        for k, value in want.params.items():
            np.testing.assert_array_equal(got.params[k], value)
    trace, got = case.run(trace)
    np.testing.assert_array_equal(trace.output, padded.output)
    np.testing.assert_array_equal(got.x, want.x)


@pytest.mark.parametrize("name", ALL)
def test_no_step_at_all(name: str) -> None:
    case = problem(name, 3, 2, 2, 3)
    case.x, case.dh = case.x[:0], case.dh[:0]
    trace, got = case.run()
    assert trace.output.shape == (0, 2, case.initial[0].shape[1])
    for states, same in ((trace.last, case.initial), (got.initial, case.dlast)):
        for one, other in zip(states, same, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not any(g.any() for g in got.params.values())

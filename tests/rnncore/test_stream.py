"""Streams: one step at a time, chunk by chunk, and with most of the past computed again."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore import GRU, LSTM, RNN, Recurrent, check_function
from rnncore.recompute import Recomputed
from rnncore.stream import Truncated

KINDS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


def layer_of(kind: str, layers: int, **options: Any) -> Recurrent:
    layer = KINDS[kind](2, 3, layers=layers, dtype=np.float64, **options)
    layer.params.flat[...] = np.random.default_rng(5).normal(0, 0.6, layer.params.size)
    return layer


def states_of(layer: Recurrent, batch: int, seed: int = 0) -> tuple[Any, ...]:
    shape = (batch, 3) if layer.layers == 1 else (layer.layers, batch, 3)
    return tuple(np.random.default_rng(seed).normal(size=shape) for _ in layer.cell.state)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_at_a_time_is_the_batch(kind: str, layers: int) -> None:
    layer = layer_of(kind, layers)
    x, state = np.random.default_rng(1).normal(size=(7, 4, 2)), states_of(layer, 4)
    output, last = layer(x, state)
    live = layer.stepper(state=state)
    for t, x_t in enumerate(x):
        np.testing.assert_allclose(live.step(x_t), output[t], atol=1e-15, rtol=0)
    for a, b in zip(live.state, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-15, rtol=0)


def test_a_stepper_takes_states_in_and_has_no_noise() -> None:
    layer = layer_of("LSTM", 2, dropout=0.5, dropconnect=0.5)
    x = np.random.default_rng(1).normal(size=(3, 2, 2))
    layer.training = False
    _, middle = layer(x[:2])
    expected, _ = layer(x)
    layer.training = True
    live = layer.stepper()
    live.state = middle
    np.testing.assert_allclose(live.step(x[2]), expected[2], atol=1e-15)
    assert layer.passes == 0
    lone, h = layer_of("GRU", 1), np.ones((1, 3))
    np.testing.assert_array_equal(lone.stepper(state=h).step(x[0, :1]), lone(x[:1, :1], h)[0][0])


def test_one_chunk_over_everything_is_full_back_propagation() -> None:
    layer = layer_of("LSTM", 2)
    x, d = np.random.default_rng(1).normal(size=(6, 3, 2)), np.random.default_rng(2).normal(size=(6, 3, 3))
    layer(x)
    dx, _ = layer.backward(d)
    whole = layer.grads.copy()
    [(where, _)] = Truncated(layer).chunks(x, steps=9)
    assert where == slice(0, 6)
    again, _ = layer.backward(d)
    np.testing.assert_array_equal(layer.grads.flat, whole.flat)
    np.testing.assert_array_equal(again, dx)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_gradient_of_each_chunk_holds_the_carried_state_fixed(batch_first: bool) -> None:
    layer = layer_of("GRU", 2, batch_first=batch_first)
    shape = (3, 7) if batch_first else (7, 3)
    x, d = np.random.default_rng(1).normal(size=(*shape, 2)), np.random.default_rng(2).normal(size=(*shape, 3))
    lengths = np.array([7, 2, 5])
    whole, _ = layer(x, lengths=lengths)
    stream, seen = Truncated(layer), []
    for where, output in stream.chunks(x, 3, lengths):
        part = (slice(None), where) if batch_first else where
        np.testing.assert_allclose(output, whole[part], atol=1e-14)
        carried = seen[-1] if seen else None
        dx, _ = layer.backward(d[part])
        grads = {name: g.copy() for name, g in layer.grads.items()}
        x_here, d_here, n = x[part].copy(), d[part], np.clip(lengths - where.start, 0, where.stop - where.start)

        def loss(x: Any = x_here, d: Any = d_here, n: Any = n, state: Any = carried) -> float:
            return float((layer(x, state, n)[0] * d).sum())

        check_function(loss, {**layer.params, "x": x_here}, {**grads, "x": dx}, 1e-8)
        seen.append(stream.state)


def test_sequences_that_begin_anew_start_from_zero() -> None:
    layer = layer_of("LSTM", 2)
    x = np.random.default_rng(1).normal(size=(4, 3, 2))
    stream = Truncated(layer)
    stream(x)
    stream.reset(np.array([False, True, False]))
    assert stream.state is not None
    assert [bool(np.any(s[:, b])) for s in stream.state for b in range(3)] == [True, False, True] * 2
    second = stream(x)
    np.testing.assert_allclose(second[:, 1], layer(x)[0][:, 1], atol=1e-15)
    stream.reset()
    np.testing.assert_array_equal(stream(x), layer(x)[0])


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.integers(1, 3),
    st.integers(1, 9),
    st.none() | st.integers(1, 10),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_recomputing_gives_the_same_gradients(
    kind: str, layers: int, T: int, segment: int | None, mixed: bool, batch_first: bool, seed: int
) -> None:
    layer, rng = layer_of(kind, layers, batch_first=batch_first), np.random.default_rng(seed)
    lengths = rng.integers(0, T + 1, 4) if mixed else None
    shape = (4, T) if batch_first else (T, 4)
    x, d = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 3))
    state, dlast = states_of(layer, 4, seed), states_of(layer, 4, seed + 1)
    output, last = layer(x, state, lengths)
    dx, dinitial = layer.backward(d, dlast)
    grads = layer.grads.copy()
    sparse = Recomputed(layer, segment)
    got, got_last = sparse(x, state, lengths)
    got_dx, got_dinitial = sparse.backward(d, dlast)
    pairs = [(got, output), (got_dx, dx), (layer.grads.flat, grads.flat)]
    for a, b in [*pairs, *zip(got_last, last, strict=True), *zip(got_dinitial, dinitial, strict=True)]:
        np.testing.assert_allclose(a, b, atol=1e-12, rtol=1e-12)


def test_a_lone_state_may_be_given_bare_and_its_gradient_too() -> None:
    gru, h = layer_of("GRU", 2), np.random.default_rng(1).normal(size=(2, 3, 3))
    x = np.random.default_rng(0).normal(size=(5, 3, 2))
    gru(x, h)
    expected = gru.backward(None, h)[1]
    sparse = Recomputed(gru)
    sparse(x, h)
    np.testing.assert_allclose(sparse.backward(None, h)[1], expected, atol=1e-14)
    with pytest.raises(ValueError, match="expected at least one step, got T=0"):
        sparse(x[:0])


@pytest.mark.parametrize("noise", [{"zoneout": 0.3}, {"recurrent_dropout": 0.3}])
def test_the_noise_is_the_same_when_a_segment_runs_again(noise: Any) -> None:
    layer = layer_of("LSTM", 2, dropout=0.4, dropconnect=0.4, **noise)
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2, 3))
    sparse = Recomputed(layer, 2)

    def loss() -> float:
        layer.passes = 4
        output, _ = sparse(x)
        return float((output * d).sum())

    loss()
    dx, _ = sparse.backward(d)
    grads = {name: g.copy() for name, g in layer.grads.items()}
    check_function(loss, {**layer.params, "x": x}, {**grads, "x": dx}, 1e-8)


def test_noise_of_a_whole_pass_is_that_of_a_plain_call() -> None:
    layer = layer_of("GRU", 2, dropconnect=0.4, recurrent_dropout=0.4)
    x = np.random.default_rng(0).normal(size=(5, 2, 2))
    layer.passes = 8
    plain, _ = layer(x)
    layer.passes = 8
    np.testing.assert_allclose(Recomputed(layer, 2)(x)[0], plain, atol=1e-14)


def test_a_function_may_give_the_gradient_of_each_segment() -> None:
    layer = layer_of("LSTM", 1)
    x, target = np.random.default_rng(0).normal(size=(7, 2, 2)), np.random.default_rng(1).normal(size=(7, 2, 3))
    output, _ = layer(x)
    layer.backward(output - target)
    expected, seen = layer.grads.copy(), []

    def upstream(where: slice, part: Any) -> Any:
        seen.append(where)
        return part - target[where]

    sparse = Recomputed(layer)
    nothing, _ = sparse(x, need_output=False)
    assert nothing is None
    sparse.backward(upstream)
    np.testing.assert_allclose(layer.grads.flat, expected.flat, atol=1e-12)
    assert seen == [slice(6, 7), slice(3, 6), slice(0, 3)]


def peak(run: Callable[[], Any]) -> int:
    tracemalloc.start()
    run()
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used


@pytest.mark.parametrize("lengths", [None, [400, 390, 200, 7, 400, 123, 0, 1]])
def test_memory_is_that_of_about_two_roots_of_t_steps(lengths: Any) -> None:
    x = np.random.default_rng(0).normal(size=(400, 8, 4)).astype(np.float32)

    def plain(T: int) -> int:
        lstm = LSTM(4, 64)
        return peak(lambda: (lstm(x[:T], lengths=None if lengths is None else np.minimum(lengths, T)), lstm.backward()))

    def sparse() -> int:
        lstm = Recomputed(LSTM(4, 64))
        return peak(lambda: (lstm(x, lengths=lengths, need_output=False), lstm.backward(need_dx=False)))

    plain(3), sparse()  # what is imported or cached at first use is not counted
    whole, forty, kept = plain(400), plain(40), sparse()
    print(f"T=400: all steps {whole / 1e6:.2f} MB, 40 steps {forty / 1e6:.2f} MB, recomputed {kept / 1e6:.2f} MB")
    assert kept <= forty
    assert kept < 0.2 * whole


@pytest.mark.parametrize("make", [lambda g: g.stepper(), Truncated, Recomputed])
def test_a_bidirectional_layer_is_refused(make: Callable[[Recurrent], Any]) -> None:
    with pytest.raises(ValueError, match=r"bidirectional layer cannot run.*use a layer with bidirectional=False"):
        make(GRU(2, 3, bidirectional=True))


def test_bad_arguments_are_named() -> None:
    layer, x = layer_of("LSTM", 2), np.zeros((4, 2, 2))
    with pytest.raises(ValueError, match="segment: expected at least 1 step, got 0"):
        Recomputed(layer, 0)
    with pytest.raises(ValueError, match="zoneout and recurrent_dropout draw by one seed"):
        Recomputed(layer_of("LSTM", 2, zoneout=0.1, recurrent_dropout=0.1))
    with pytest.raises(ValueError, match="steps: expected at least 1 in a chunk, got 0"):
        list(Truncated(layer).chunks(x, 0))
    with pytest.raises(RuntimeError, match="call this on x first"):
        Recomputed(layer).backward()
    with pytest.raises(ValueError, match=r"state h: expected the shape \(layers·R=2, B=3, H\), got \(3, 3\)"):
        layer.stepper(state=(np.zeros((3, 3)), np.zeros((3, 3))))
    with pytest.raises(ValueError, match=r"lengths: expected one for each of the B=2 sequences, got 3"):
        Recomputed(layer)(x, lengths=[1, 2, 3])

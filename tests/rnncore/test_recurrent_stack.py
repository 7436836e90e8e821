"""Layers times directions, held to the textbook loop, to finite differences, and to the laws of a recurrent pass."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore import GRU, LSTM, RNN, GradientError, Packing, Recurrent, Regulariser, check_function
from rnncore.params import normal, orthogonal, uniform
from rnncore.stack import Draw, LaneNoise, Rates, reversed_rows
from tests.rnncore import reference

KINDS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
LENGTHS = {"full": None, "mixed": (3, 0, 2)}
#: Layers, both directions, lengths, batch first, dropout, which lies between layers.
EVERYTHING = product((1, 2, 3), (False, True), LENGTHS, (False, True), (0.0, 0.4))
COMBINATIONS = [c for c in EVERYTHING if c[0] > 1 or not c[4]]


def backwards(x: Any, lengths: Any) -> Any:
    """Every sequence of x (T, B, D) reversed within its own length, element by element."""
    out = x.copy()
    for b, n in enumerate(lengths):
        for t in range(n):
            out[t, b] = x[n - 1 - t, b]
    return out


def textbook(name: str, layer: Recurrent, x: Any, state: Any, lengths: Any) -> tuple[Any, Any]:
    """The whole stack as a loop over layers and directions of the textbook's loop over time."""
    last, step = [], 0
    ways = ("", ".reverse")[: layer.directions]
    for k in range(layer.layers):
        outputs = []
        for way in ways:
            p = {n: layer.params[f"layer{k}{way}.{n}"] for n in layer.cell.shapes(1, 1)}
            initial = [s[step] for s in state]
            seen = backwards(x, lengths) if way else x
            nothing = np.zeros((*x.shape[:2], layer.hidden_size))
            run = reference.run(name, p, seen, initial, lengths, nothing, [s * 0 for s in initial])
            outputs.append(backwards(run.fields["h"], lengths) if way else run.fields["h"])
            last.append(run.last)
            step += 1
        x = np.concatenate(outputs, axis=2)
    return x, [np.stack(s) for s in zip(*last, strict=True)]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_the_textbook_loop(kind: str, layers: int, bidirectional: bool) -> None:
    rng = np.random.default_rng(0)
    layer = KINDS[kind](2, 3, layers=layers, bidirectional=bidirectional, dtype=np.float64)
    layer.params.flat[...] = rng.normal(0, 0.6, layer.params.size)
    lanes = layers * layer.directions
    x, lengths = rng.normal(size=(5, 4, 2)), [3, 5, 0, 1]
    state = [rng.normal(size=(lanes, 4, 3)) for _ in layer.cell.state]
    output, last = layer(x, [s[0] for s in state] if lanes == 1 else state, lengths)
    expected, expected_last = textbook(kind, layer, x, state, lengths)
    np.testing.assert_allclose(output, expected, atol=1e-13)
    for got, want in zip(last, expected_last, strict=True):
        np.testing.assert_allclose(got, want[0] if lanes == 1 else want, atol=1e-13)


def problem(kind: str, combination: Any) -> tuple[Recurrent, Any, list[Any], Any, Any, list[Any]]:
    layers, bidirectional, lengths, batch_first, dropout = combination
    rng = np.random.default_rng(7)
    options: Any = {"dropout": dropout} if layers > 1 else {}
    layer = KINDS[kind](
        2, 2, layers=layers, bidirectional=bidirectional, batch_first=batch_first, dtype=np.float64, **options
    )
    layer.params.flat[...] = rng.normal(0, 0.6, layer.params.size)
    shape = (3, 3)
    lanes = layers * layer.directions
    states = [rng.normal(size=(3, 2) if lanes == 1 else (lanes, 3, 2)) for _ in layer.cell.state]
    weights = [rng.normal(size=s.shape) for s in states]
    doutput = rng.normal(size=(*shape, 2 * layer.directions))
    return layer, rng.normal(size=(*shape, 2)), states, LENGTHS[lengths], doutput, weights


def check(layer: Recurrent, x: Any, states: list[Any], lengths: Any, doutput: Any, dlast: list[Any]) -> float:
    """Hold every gradient to differences, with the same dropout masks in every pass."""

    def loss() -> float:
        layer.passes = 3
        output, last = layer(x, states, lengths)
        return float((output * doutput).sum() + sum((s * d).sum() for s, d in zip(last, dlast, strict=True)))

    loss()
    layer.grads.flat[...] = np.nan  # each must be overwritten
    dx, dinitial = layer.backward(doutput, dlast)
    given = {f"state {k}": s for k, s in enumerate(states)}
    grads = {name: g.copy() for name, g in layer.grads.items()}
    arrays = {**layer.params, "x": x, **given}
    return check_function(loss, arrays, {**grads, "x": dx, **dict(zip(given, dinitial, strict=True))}, 1e-8).error


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_gradients_of_every_combination(combination: Any) -> None:
    kind = list(KINDS)[COMBINATIONS.index(combination) % 3]
    assert check(*problem(kind, combination)) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_kind_with_everything(kind: str) -> None:
    assert check(*problem(kind, (2, True, "mixed", True, 0.4))) < 1e-8


def test_a_lane_that_forgets_to_turn_its_gradient_round_is_caught() -> None:
    layer, *rest = problem("LSTM", (2, True, "mixed", False, 0.0))
    lane = layer.stack.lanes[0][1]
    whole = lane.backward
    lane.backward = lambda dy, dlast, flip, *rest: whole(dy, dlast, np.arange(len(flip)), *rest)  # type: ignore
    with pytest.raises(GradientError):
        check(layer, *rest)


def test_masks_that_backward_does_not_know_are_caught() -> None:
    layer, *rest = problem("GRU", (2, False, "full", False, 0.4))
    forward = layer.stack.forward

    def forgetful(*args: Any) -> Any:
        output = forward(*args)
        layer.stack._masks = [None, None]
        return output

    layer.stack.forward = forgetful  # type: ignore[method-assign]
    with pytest.raises(GradientError):
        check(layer, *rest)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_rows_are_reversed_within_each_sequence(lengths: list[int]) -> None:
    packing = Packing(lengths)
    index = reversed_rows(packing)
    np.testing.assert_array_equal(index[index], np.arange(packing.rows))
    x = np.arange(1, packing.steps * len(lengths) + 1).reshape(packing.steps, len(lengths))
    x = np.where(np.arange(packing.steps)[:, None] < np.asarray(lengths), x, 0)
    np.testing.assert_array_equal(packing.unpack(packing.pack(x)[index]), backwards(x, lengths))


@settings(max_examples=25)
@given(st.integers(1, 3), st.booleans(), st.lists(st.integers(0, 5), min_size=2, max_size=4), st.integers(0, 99))
def test_padding_and_the_order_of_sequences_do_not_matter(
    layers: int, bidirectional: bool, lengths: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = LSTM(2, 3, layers=layers, bidirectional=bidirectional, dtype=np.float64, seed=seed)
    x = rng.normal(size=(5, len(lengths), 2))
    padding = np.arange(5)[:, None] >= np.asarray(lengths)
    output, last = layer(x, lengths=lengths)
    dx, _ = layer.backward(np.ones_like(output))
    assert dx is not None
    assert not output[padding].any()
    assert not dx[padding].any()
    junk = np.where(padding[..., None], np.nan, x)  # what stands in the padding is never looked at
    order = rng.permutation(len(lengths))
    again, last_again = layer(junk[:, order], lengths=np.asarray(lengths)[order])
    np.testing.assert_allclose(again, output[:, order], atol=1e-14)
    for a, b in zip(last_again, last, strict=True):
        np.testing.assert_allclose(a, b[..., order, :], atol=1e-14)


def test_each_sequence_alone_gives_what_it_gives_in_a_batch() -> None:
    rng = np.random.default_rng(1)
    gru, lengths = GRU(2, 3, layers=2, bidirectional=True, dtype=np.float64), [5, 2, 3]
    x = rng.normal(size=(5, 3, 2))
    output, (h,) = gru(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone, (h_alone,) = gru(x[:n, b : b + 1])
        np.testing.assert_allclose(alone[:, 0], output[:n, b], atol=1e-14)
        np.testing.assert_allclose(h_alone[:, 0], h[:, b], atol=1e-14)


def test_batch_first_is_only_a_layout() -> None:
    x = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    first, second = GRU(2, 3, layers=2, batch_first=True), GRU(2, 3, layers=2)
    output, (h,) = first(x.swapaxes(0, 1), lengths=[4, 1, 2])
    expected, (expected_h,) = second(x, lengths=[4, 1, 2])
    np.testing.assert_array_equal(output, expected.swapaxes(0, 1))
    np.testing.assert_array_equal(h, expected_h)
    dx, _ = first.backward(output)
    np.testing.assert_array_equal(dx, second.backward(expected)[0].swapaxes(0, 1))
    assert output.flags.c_contiguous
    assert dx is not None
    assert dx.flags.c_contiguous


def test_packed_rows_in_give_packed_rows_out() -> None:
    x = np.random.default_rng(1).normal(size=(4, 3, 2)).astype(np.float32)
    packing, layer = Packing([4, 1, 2]), LSTM(2, 3, layers=2, bidirectional=True)
    expected, _ = layer(x, lengths=[4, 1, 2])
    dx, _ = layer.backward(expected)
    rows, _ = layer(packing.pack(x), lengths=packing)
    np.testing.assert_array_equal(rows, packing.pack(expected))
    np.testing.assert_array_equal(layer.backward(rows)[0], packing.pack(dx))
    layer(packing.pack(x) + 1, lengths=packing)
    np.testing.assert_array_equal(rows, packing.pack(expected))  # a copy, which the next call leaves alone
    single = LSTM(2, 3)
    rows, _ = single(packing.pack(x), lengths=packing)
    kept = rows.copy()
    single(packing.pack(x) + 1, lengths=packing)
    np.testing.assert_array_equal(rows, kept)


def test_dropout_acts_between_layers_while_training_and_is_seeded() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    layers = [LSTM(3, 8, layers=2, dropout=0.5, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (layer(x)[0] for layer in layers)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    kept = layers[0].passes
    second = layers[0](x)[0]
    assert not np.array_equal(first, second)
    layers[0].passes = kept
    np.testing.assert_array_equal(layers[0](x)[0], second)
    plain = LSTM(3, 8, layers=2, seed=3)
    layers[0].training = False
    np.testing.assert_array_equal(layers[0](x)[0], plain(x)[0])
    np.testing.assert_array_equal(layers[0].traces[0][0]["h"], plain.traces[0][0]["h"])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_dropconnect(kind: str) -> None:
    layer, *rest = problem(kind, (2, True, "mixed", False, 0.4))
    noisy = KINDS[kind](2, 2, layers=2, bidirectional=True, dropout=0.4, dropconnect=0.3, dtype=np.float64)
    noisy.params.flat[...] = layer.params.flat
    assert check(noisy, *rest) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_all_noise_at_once(kind: str) -> None:
    layer, *rest = problem(kind, (2, True, "mixed", False, 0.4))
    rates: dict[str, Any] = {"dropout": 0.3, "dropconnect": 0.3, "zoneout": 0.3, "recurrent_dropout": 0.2}
    noisy = KINDS[kind](2, 2, layers=2, bidirectional=True, dtype=np.float64, **rates)
    noisy.params.flat[...] = layer.params.flat
    assert check(noisy, *rest) < 1e-8


def test_zoneout_and_recurrent_dropout_are_of_the_pass_and_of_the_lane() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    rates: dict[str, Any] = {"zoneout": {"c": 0.5}, "recurrent_dropout": 0.5}
    layer, again = LSTM(3, 8, layers=2, **rates), LSTM(3, 8, layers=2, **rates)
    output, _ = layer(x)
    np.testing.assert_array_equal(output, again(x)[0])
    first, second = (layer.traces[k][0]["zoneout c"] for k in range(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(layer.traces[0][0]["recurrent_dropout"], layer.traces[1][0]["recurrent_dropout"])
    assert not np.array_equal(layer(x)[0], output)
    layer.training = False
    expectation, _ = layer(x)
    live = layer.stepper(batch=4)
    np.testing.assert_allclose(np.stack([live.step(x_t) for x_t in x]), expectation, atol=1e-6)
    plain = LSTM(3, 8, layers=2)
    assert not np.allclose(plain(x)[0], expectation)
    zoned = LSTM(3, 8, layers=2, zoneout=0.5)
    assert zoned.stack.rates.regulariser is not None
    assert dict(zoned.stack.rates.regulariser.zoneout) == {"h": 0.5, "c": 0.5}


def test_the_gradients_of_every_state_are_kept_when_asked_for() -> None:
    layer = LSTM(3, 4, layers=2, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    output, _ = layer(x, lengths=[6, 4])
    layer.backward(output, keep_state_gradients=True)
    for trace in (t for pair in layer.traces for t in pair):
        assert trace.gradient("c").shape == (6, 2, 4)
        assert trace.gradient("h").any()
        assert trace.gradient("forget").any()
    layer.backward(output)
    with pytest.raises(RuntimeError, match="keep_state_gradients"):
        layer.trace.gradient("c")


def test_dropconnect_is_inverted_dropout_of_every_u_for_the_whole_pass() -> None:
    layer = GRU(3, 20, layers=2, dropconnect=0.5, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(6, 4, 3))
    output, _ = layer(x)
    layer.backward(output)
    plain = GRU(3, 20, layers=2, dtype=np.float64)
    plain.params.assign(layer.params)
    for k in range(2):
        U = plain.params[f"layer{k}.U"]
        gone = layer.grads[f"layer{k}.U"] == 0  # what is dropped has no gradient
        assert 0.4 < gone.mean() < 0.6
        U[...] = np.where(gone, 0, 2 * U)
    np.testing.assert_allclose(plain(x)[0], output, atol=1e-14)
    assert not np.allclose(layer(x)[0], output)
    layer.training = False
    np.testing.assert_array_equal(layer(x)[0], GRU(3, 20, layers=2, dtype=np.float64)(x)[0])


def test_a_gradient_of_u_without_its_mask_is_caught() -> None:
    layer, *rest = problem("RNN", (1, False, "full", False, 0.0))
    noisy = RNN(2, 2, dropconnect=0.5, dtype=np.float64)
    noisy.params.flat[...] = layer.params.flat
    lane = noisy.stack.lanes[0][0]
    whole = lane.backward

    def forgetful(*args: Any) -> Any:
        lane._mask = None
        return whole(*args)

    lane.backward = forgetful  # type: ignore[method-assign]
    with pytest.raises(GradientError):
        check(noisy, *rest)


def test_each_mask_has_a_seed_of_its_own() -> None:
    draws = [Draw((7, step), start) for step in (1, 2) for start in (0, 20)]
    kinds_and_lanes = list(product((0, 1, 2), (0, 1)))
    of_steps = [draw.of_steps(*which) for draw in draws for which in kinds_and_lanes]
    of_pass = [draw.of_pass(*which) for draw in draws for which in kinds_and_lanes]
    assert len({*of_steps, *of_pass}) == 24 + 12  # those of a pass do not depend on where it begins
    zoneout, recurrent = (Rates(regulariser=Regulariser(*rates)) for rates in (({"h": 0.5},), ({}, 0.5)))
    for rates, different in ((zoneout, 2), (recurrent, 1)):
        noise = [LaneNoise.of(rates, Draw((1,), start), 0).regulariser for start in (0, 20)]
        assert len({n.seed for n in noise if n is not None}) == different


def test_noise_depends_on_the_seed_and_not_on_the_parameters() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    first, second = (GRU(3, 4, layers=2, dropout=0.5, seed=seed) for seed in (1, 2))
    second.params.assign(first.params)
    assert not np.allclose(first(x)[0], second(x)[0])


def test_dropout_leaves_the_input_alone() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    gru = GRU(3, 4, layers=3, dropout=0.5)
    gru(x)
    np.testing.assert_array_equal(gru.traces[0][0].x, x.reshape(24, 3))
    for k in (1, 2):
        assert 0.3 < (gru.traces[k][0].x == 0).mean() < 0.7


def test_gradients_of_parameters_do_not_need_that_of_x() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    lstm = LSTM(3, 4, layers=3, bidirectional=True)
    output, _ = lstm(x)
    lstm.backward(output)
    expected = lstm.grads.copy()
    dx, _ = lstm.backward(output, need_dx=False)
    assert dx is None
    np.testing.assert_array_equal(lstm.grads.flat, expected.flat)


def test_states_of_two_sizes_go_through_a_stack() -> None:
    layer = LSTM(2, 5, layers=2, bidirectional=True, projection=3, dtype=np.float64)
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 6))
    output, (h, c) = layer(x, lengths=[4, 1, 2])
    assert (output.shape, h.shape, c.shape) == ((4, 3, 6), (4, 3, 3), (4, 3, 5))
    assert check(layer, x, [h.copy(), c.copy()], [4, 1, 2], d, [h.copy(), c.copy()]) < 1e-8
    with pytest.raises(ValueError, match="projection"):
        LSTM(2, 5, projection=0)


def test_every_state_of_every_lane_is_in_the_traces() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    lstm = LSTM(3, 4, layers=2, bidirectional=True)
    output, (h, c) = lstm(x, lengths=[6, 4])
    assert [len(layer) for layer in lstm.traces] == [2, 2]
    assert lstm.trace is lstm.traces[1][0]
    np.testing.assert_array_equal(lstm.trace["h"], output[..., :4])
    np.testing.assert_array_equal(backwards(lstm.traces[1][1]["h"], [6, 4]), output[..., 4:])
    for lane, trace in enumerate(t for layer in lstm.traces for t in layer):
        np.testing.assert_array_equal(trace["c"][[5, 3], [0, 1]], c[lane])
        np.testing.assert_array_equal(trace["h"][[5, 3], [0, 1]], h[lane])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept_everywhere(dtype: Any) -> None:
    rates: Any = {"dropout": 0.5, "dropconnect": 0.5, "zoneout": 0.5, "recurrent_dropout": 0.5}
    layer = GRU(3, 4, layers=2, bidirectional=True, dtype=dtype, **rates)
    output, last = layer(np.ones((5, 2, 3), dtype), lengths=[5, 2])
    dx, dinitial = layer.backward(output, last)
    assert {a.dtype for a in (output, dx, *last, *dinitial, layer.params.flat, layer.grads.flat)} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    "shape_of",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.broadcast_to(x, x.shape),
        lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    ],
    ids=["Fortran", "strided", "backwards", "read-only", "transposed"],
)
@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
def test_any_strides_will_do(shape_of: Any, lengths: Any) -> None:
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    state = rng.normal(size=(4, 3, 2)).astype(np.float32)
    layer = GRU(4, 2, layers=2, bidirectional=True)
    expected, (h,) = layer(x, state, lengths)
    dx, (dh,) = layer.backward(d, state)
    grads = layer.grads.flat.copy()
    output, (last,) = layer(shape_of(x), shape_of(state), lengths)
    again, (dstate,) = layer.backward(shape_of(d), shape_of(state))
    for a, b in ((output, expected), (last, h), (again, dx), (dstate, dh), (layer.grads.flat, grads)):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.complex64, ">f4", bool, object])
def test_other_precisions_are_refused_with_the_remedy(dtype: Any) -> None:
    with pytest.raises(
        TypeError, match=r"x: expected an array of float32, got .*; convert it with x.astype\('float32'\)"
    ):
        LSTM(3, 4)(np.zeros((5, 2, 3), dtype))


def test_a_pass_that_fails_leaves_nothing_to_go_back_through() -> None:
    layer, x = LSTM(3, 4), np.ones((5, 2, 3), np.float32)
    layer(x)
    bad = (np.zeros((2, 4), np.float32), np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="initial c"):
        layer(x, bad)
    with pytest.raises(RuntimeError, match="call the layer on x first"):
        layer.backward()


def test_no_steps_leave_the_state_as_it_is() -> None:
    layer, h = GRU(3, 4, layers=2), np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    output, (last,) = layer(np.zeros((0, 5, 3), np.float32), h)
    assert output.shape == (0, 5, 4)
    np.testing.assert_array_equal(last, h)
    dx, (dh,) = layer.backward(None, h)
    assert dx is not None
    assert dx.shape == (0, 5, 3)
    np.testing.assert_array_equal(dh, h)
    assert not layer.grads.flat.any()


def test_initialisers_for_all_for_one_name_and_for_one_parameter() -> None:
    lstm = LSTM(3, 4, layers=2, initialisers=uniform(0.5))
    assert 0.45 < np.abs(lstm.params.flat).max() <= 0.5
    own = {"U": normal(5.0), "layer1.U": orthogonal, "layer1.reverse.b": uniform(9.0)}
    gru = GRU(3, 4, layers=2, bidirectional=True, initialisers=own)
    assert np.abs(gru.params["layer0.U"]).max() > 5
    np.testing.assert_allclose(gru.params["layer1.U"].T @ gru.params["layer1.U"], np.eye(4), atol=1e-6)
    assert not gru.params["layer1.b"].any()
    assert np.abs(gru.params["layer1.reverse.b"]).max() > 4
    with pytest.raises(KeyError, match=r"no parameters \['V'\]"):
        GRU(3, 4, initialisers={"V": orthogonal})


def test_parameters_have_the_names_and_sizes_that_others_rely_on() -> None:
    lstm = LSTM(3, 4, layers=2, bidirectional=True)
    lanes = ["layer0", "layer0.reverse", "layer1", "layer1.reverse"]
    assert list(lstm.params) == list(lstm.grads) == [f"{lane}.{n}" for lane in lanes for n in ("W", "U", "b")]
    assert lstm.params["layer0.reverse.W"].shape == (16, 3)
    assert lstm.params["layer1.W"].shape == (16, 8)
    assert list(LSTM(3, 4).params) == ["layer0.W", "layer0.U", "layer0.b"]
    assert repr(lstm) == f"LSTM(3, 4, layers=2, bidirectional): {lstm.params.size:,} parameters"


def test_bad_arguments_are_named() -> None:
    x = np.zeros((5, 2, 3), np.float32)
    deep = LSTM(3, 4, layers=2)
    with pytest.raises(ValueError, match="layers: expected at least 1"):
        LSTM(3, 4, layers=0)
    with pytest.raises(ValueError, match="acts between layers, and there is one"):
        LSTM(3, 4, dropout=0.5)
    with pytest.raises(ValueError, match="dropconnect: expected a rate from 0 to below 1, got 1"):
        LSTM(3, 4, dropconnect=1)
    with pytest.raises(ValueError, match=r"state h: expected the shape \(layers·R=2, B=2, H\), got \(2, 4\)"):
        deep(x, [np.zeros((2, 4), np.float32)] * 2)
    with pytest.raises(ValueError, match=r"state: expected 2 arrays \(h, c\), got 1"):
        deep(x, np.zeros((2, 2, 4), np.float32))
    with pytest.raises(ValueError, match=r"initial c: expected the shape \(B=2, H=4\), got \(2, 5\)"):
        deep(x, (np.zeros((2, 2, 4), np.float32), np.zeros((2, 2, 5), np.float32)))
    with pytest.raises(ValueError, match=r"lengths: expected one for each of the B=2 sequences, got 3"):
        deep(x, lengths=[1, 2, 3])
    with pytest.raises(RuntimeError, match="call the layer on x first"):
        _ = deep.trace
    deep(x)
    with pytest.raises(ValueError, match=r"doutput: expected the shape \(T=5, B=2, R·H=4\), got \(5, 2, 3\)"):
        deep.backward(x)
    with pytest.raises(TypeError, match="doutput: expected an array of float32"):
        deep.backward(np.zeros((5, 2, 4)))
    with pytest.raises(ValueError, match=r"dstate h: expected the shape \(layers·R=2, B=2, H\)"):
        deep.backward(None, (np.zeros((2, 4), np.float32), None))
    with pytest.raises(ValueError, match=r"x: expected the shape \(B, T, D=3\), got \(2, 3\)"):
        LSTM(3, 4, batch_first=True)(x[0])

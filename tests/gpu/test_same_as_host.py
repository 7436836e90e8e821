"""What is on the GPU gives what the host gives: every cell, layer, loss and optimiser, the captioner and its search.

The host itself is held to the textbook and to differences in `tests/rnncore`; here one run stands beside the other.
"""

from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import Recomputed, Recurrent, Regulariser, Truncated, cells, to_device, to_host
from rnncore.kernels import Fused
from rnncore.packing import Packing
from rnncore.sequence import Stepper, backward, forward
from rnncore.trace import Trace
from tests.rnncore.problems import ALL, SIZES, Problem, problem


def close(got: Any, expected: Any) -> None:
    """Equal up to the order of sums, in the same precision."""
    got = to_host(got)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


def moved(case: Problem) -> Problem:
    """The same problem on the GPU."""
    p = rnncore.Params(case.p.shapes, case.p.flat.dtype, rnncore.array.module_for("cuda"))
    p.assign({name: to_device(a) for name, a in case.p.items()})
    states = [[to_device(a) for a in arrays] for arrays in (case.initial, case.dlast)]
    return Problem(case.name, p, to_device(case.x), states[0], case.lengths, to_device(case.dh), states[1])


def assert_same(case: Problem, regulariser: Regulariser | None = None) -> None:
    runs = []
    for each in (case, moved(case)):
        trace = forward(each.cell, each.p, each.x, each.initial, each.lengths, regulariser=regulariser)
        got = backward(each.cell, each.p, trace, each.dh, each.dlast, keep_state_gradients=True)
        runs.append((trace, got))
    (host_trace, host), (trace, got) = runs
    for name in host_trace.names:
        close(trace[name], host_trace[name])
    for name in dict.fromkeys((*trace.cell.preactivations, *trace.cell.state)):
        close(trace.gradient(name), host_trace.gradient(name))
    close(trace.output, host_trace.output)
    close(got.x, host.x)
    for name, value in host.params.items():
        close(got.params[name], value)
    for pair in zip((*trace.last, *got.initial), (*host_trace.last, *host.initial), strict=True):
        close(*pair)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_cells(gpu: str, name: str, sizes: Any) -> None:
    assert_same(problem(name, *sizes))


@pytest.mark.parametrize("name", ALL)
def test_regularised_cells(gpu: str, name: str) -> None:
    zoneout = {ALL[name]().state[0]: 0.3}
    recurrent = 0.0 if name == "minGRU" else 0.25
    assert_same(problem(name, 5, 4, 2, 3, (2, 5, 0, 3)), Regulariser(zoneout, recurrent, seed=4))


def test_gradients_are_those_of_differences(gpu: str) -> None:
    for cell in (cells.LSTM(), cells.GRU(), cells.GRUBefore(), cells.RNN()):
        assert rnncore.check_cell(cell, sizes=(3, 2, 2, 3), device="cuda").error < 1e-7


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers_both_ways_with_all_noise(gpu: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    x, doutput = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 3, 12))
    noise = {"dropout": 0.5, "dropconnect": 0.3, "zoneout": 0.1, "recurrent_dropout": 0.2}
    options: dict[str, Any] = {"layers": 2, "bidirectional": True, "dtype": np.float64, **noise}
    found = []
    for device in ("cpu", "cuda"):
        layer = Recurrent(cells.CELLS[kind](), 4, 6, device=device, **options)
        move = to_device if device == "cuda" else np.asarray
        output, last = layer(move(x), lengths=[5, 2, 0])
        dlast = [move(np.ones((4, 3, 6))) for _ in last]
        dx, dinitial = layer.backward(move(doutput), dlast, keep_state_gradients=True)
        found.append([output, *last, dx, *dinitial, layer.grads.flat, layer.trace.gradient("h")])
    for host, got in zip(*found, strict=True):
        close(got, host)


def test_streams_and_recomputation(gpu: str) -> None:
    x = np.random.default_rng(0).normal(size=(7, 3, 4))
    found: list[list[Any]] = []
    for device in ("cpu", "cuda"):
        move = to_device if device == "cuda" else np.asarray
        layer = rnncore.LSTM(4, 5, layers=2, dtype=np.float64, device=device)
        live, stream, segments = layer.stepper(batch=3), Truncated(layer), Recomputed(layer, segment=3)
        got = [live.step(x_t) for x_t in move(x)] + [output for _, output in stream.chunks(move(x), 3)]
        stream.reset(np.array([True, False, True]))
        output, _ = segments(move(x), lengths=[7, 4, 2])
        dx, _ = segments.backward(output)
        found.append([*got, *stream.state, output, dx, layer.grads.flat])
    for host, got in zip(*found, strict=True):
        close(got, host)


def test_one_step_at_a_time_of_the_engine(gpu: str) -> None:
    case = problem("GRU", 4, 3, 2, 5)
    there = moved(case)
    host, device = Stepper(case.cell, case.p, state=case.initial), Stepper(there.cell, there.p, state=there.initial)
    for x_host, x_device in zip(case.x, there.x, strict=True):
        close(device.step(x_device), host.step(x_host))


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_dropout_is_seeded_alike(gpu: str, rate: float) -> None:
    x = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    host, there = rnncore.Dropout(rate, seed=3), rnncore.Dropout(rate, seed=3)
    for _ in range(2):
        (y, mask), (y_there, mask_there) = host.forward(x), there.forward(to_device(x))
        np.testing.assert_array_equal(to_host(mask_there), mask)
        np.testing.assert_array_equal(to_host(there.backward(y_there, mask_there)), host.backward(y, mask))


def test_first_values_are_seeded_alike(gpu: str) -> None:
    host, there = (rnncore.GRU(3, 8, layers=2, seed=5, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(to_host(there.params.flat), host.params.flat)


def test_linear_embedding_and_loss(gpu: str) -> None:
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(0, 7, 40), rng.integers(0, 5, 40)
    weights = rng.integers(0, 3, 40).astype(np.float64)
    found = []
    for device in ("cpu", "cuda"):
        move = to_device if device == "cuda" else np.asarray
        embedding, linear = rnncore.Embedding(7, 4, frozen=[2]), rnncore.Linear(4, 5)
        xp = rnncore.array.module_for(device)
        p, q = (rnncore.Params(layer.shapes(), np.float64, xp) for layer in (embedding, linear))
        p.initialise(embedding.initialisers(), 0)
        q.initialise(linear.initialisers(), 1)
        dp, dq = p.like(), q.like()
        x = embedding.forward(p, move(ids))
        y = linear.forward(q, x)
        loss, dy = rnncore.softmax_cross_entropy(y, move(targets), move(weights))
        embedding.backward(p, move(ids), linear.backward(q, x, dy, dq), dp)
        found.append([np.array(float(loss)), rnncore.losses.log_softmax(y), dy, dp.flat, dq.flat])
    for host, got in zip(*found, strict=True):
        close(got, host)


def test_embedding_gradients_repeat_to_the_last_bit(gpu: str) -> None:
    rng = np.random.default_rng(0)
    rows, index = to_device(rng.normal(size=(500, 3)).astype(np.float32)), to_device(rng.integers(0, 5, 500))
    first, second = (to_device(np.full((6, 3), np.nan, np.float32)) for _ in range(2))
    rnncore.array.sum_rows(rows, index, first)
    rnncore.array.sum_rows(rows, index, second)
    np.testing.assert_array_equal(to_host(first), to_host(second))
    assert not to_host(first)[5].any()


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD"])
def test_optimisers_and_clipping(gpu: str, kind: str) -> None:
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=50), rng.normal(size=(70, 50))
    found = []
    for device in ("cpu", "cuda"):
        move = to_device if device == "cuda" else np.asarray
        p = rnncore.Params({"w": (5, 10)}, np.float64, rnncore.array.module_for(device))
        p.flat[...] = move(start)
        optimiser = getattr(rnncore, kind)(p, learning_rate=0.01)
        for g in gradients:  # enough steps for moments to be flushed
            grads = move(g.copy())
            norm = rnncore.clip_global_norm(grads, 3.0)
            optimiser.step(grads)
        state = optimiser.state_dict()
        optimiser.load_state_dict(state)
        found.append([p.flat, np.array(norm), *(state[name] for name in optimiser.slots)])
    for host, got in zip(*found, strict=True):
        close(got, host)


def test_clipping_refuses_what_is_not_finite_and_changes_nothing(gpu: str) -> None:
    grads = rnncore.Params({"w": (3,), "b": (2,)}, np.float32, rnncore.array.module_for("cuda"))
    grads.flat[...] = to_device(np.array([1, np.nan, 2, 3, 4], np.float32))
    with pytest.raises(FloatingPointError, match="1 of the 3 numbers of w"):
        rnncore.clip_global_norm(grads, 0.1)
    np.testing.assert_array_equal(to_host(grads.flat), np.array([1, np.nan, 2, 3, 4], np.float32))
    with pytest.raises(rnncore.NonFiniteLoss, match="1 of 3 numbers"):
        rnncore.check_finite(3, 1.0, grads)


def test_arrays_of_both_kinds_are_refused_by_name(gpu: str) -> None:
    layer = rnncore.LSTM(3, 4, device="cuda")
    with pytest.raises(TypeError, match="cannot be mixed"):
        layer(np.ones((2, 1, 3), np.float32))
    case = problem("LSTM", 2, 1, 3, 4)
    with pytest.raises(TypeError, match="cannot be mixed"):
        forward(case.cell, case.p, to_device(case.x))


@pytest.mark.parametrize("lengths", [(3, 3, 3, 3), (3, 1, 0, 2)], ids=["equal", "padded"])
def test_zoneout_is_drawn_in_as_many_launches_for_many_steps_as_for_few(counted: Any, lengths: Any) -> None:
    noise, launches = Regulariser({"h": 0.3, "c": 0.5}, seed=4), []
    for T in (3, 12):
        case = problem("LSTM", T, 4, 2, 3, tuple(T // 3 * n for n in lengths))
        host = forward(case.cell, case.p, case.x, case.initial, case.lengths, regulariser=noise)
        trace = Trace(Fused(case.cell), 3, case.x.dtype, rnncore.array.module_for("cuda"))
        trace.lay_out(Packing(case.lengths))
        counted.clear()
        trace.noise = noise.draw(trace.cell, case.p, trace)
        launches.append(counted["launches"])
        for k, name in enumerate(("h", "c")):
            np.testing.assert_array_equal(to_host(trace[f"zoneout {name}"]), host[f"zoneout {name}"])
            for zones, b in zip(trace.noise.zones[k], trace.packing.batch_sizes, strict=True):
                assert zones.shape[1] == 4
                assert not to_host(zones)[:, b:].any()
    assert launches[0] == launches[1]

"""Zoneout and recurrent dropout: exact gradients, the equations by hand, masks by seed, and nothing when off."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnncore import sequence
from rnncore.cells import GRU, LSTM, RNN, Cell, GRUBefore, Now
from rnncore.gradcheck import GradientError, check_cell
from rnncore.regularise import Noise, Regulariser
from rnncore.sequence import Stepper, forward
from tests.rnncore.problems import ALL, SIZES, Problem, problem
from tests.rnncore.reference import sigmoid

LENGTHS = (2, 0, 5, 1, 4, 5)
BOTH = Regulariser({"h": 0.3}, 0.4, seed=3)


def settings_of(cell: Cell) -> dict[str, Regulariser]:
    """Every kind of noise that a cell can have."""
    every = dict.fromkeys(cell.state, 0.4)
    found = {"zoneout": Regulariser(every, seed=1), "expectation": Regulariser({"h": 0.3})}
    if "U" in cell.shapes(1, 1):
        found |= {"dropout": Regulariser(recurrent_dropout=0.4, seed=1), "both": Regulariser(every, 0.3, seed=(2, 7))}
    return found


BASIC = ("RNN", "LSTM", "GRU", "GRU-before")
KINDS = [(name, kind) for name in ALL for kind in settings_of(ALL[name]())]


def run(case: Problem, noise: Regulariser | None) -> tuple[Any, Any]:
    cell = case.cell
    trace = forward(cell, case.p, case.x, case.initial, case.lengths, regulariser=noise)
    return trace, sequence.backward(cell, case.p, trace, case.dh, case.dlast)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_gradients(name: str, kind: str) -> None:
    cell = ALL[name]()
    sizes = (4, 3, 2, 3) if name in BASIC else (3, 2, 1, 3 if name == "LSTM-layernorm" else 2)
    worst = check_cell(cell, sizes=sizes, regulariser=settings_of(cell)[kind])
    print(name, kind, worst)
    assert worst.error < (1e-7 if name == "LSTM-layernorm" else 2e-9)


@pytest.mark.parametrize("name", ALL)
def test_rates_of_zero_are_no_noise_to_the_last_bit(name: str) -> None:
    case = problem(name, 4, 3, 2, 3, (2, 4, 0))
    (plain, want), (off, got) = run(case, None), run(case, Regulariser({"h": 0.0}, 0.0, seed=1))
    assert off.noise is None
    assert off.names == plain.names
    np.testing.assert_array_equal(off.output, plain.output)
    for k, value in want.params.items():
        np.testing.assert_array_equal(got.params[k], value)


def test_dropout_without_a_seed_is_inference() -> None:
    case = problem("LSTM", 4, 3, 2, 3)
    np.testing.assert_array_equal(run(case, Regulariser({}, 0.5))[0].output, run(case, None)[0].output)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["dense", "mixed"])
def test_the_lstm_by_hand(lengths: Any) -> None:
    case = problem("LSTM", 5, 6, 2, 3, lengths)
    trace, _ = run(case, Regulariser({"h": 0.3, "c": 0.5}, 0.4, seed=5))
    (Wi, Wf, Wo, Wg), (Ui, Uf, Uo, Ug) = np.split(case.p["W"], 4), np.split(case.p["U"], 4)
    bi, bf, bo, bg = np.split(case.p["b"], 4)
    h, c = case.initial
    for t, x in enumerate(case.x):
        m, dh, dc = (trace[name][t] for name in ("recurrent_dropout", "zoneout h", "zoneout c"))
        i, f, o = (sigmoid(x @ W.T + (m * h) @ U.T + b) for W, U, b in ((Wi, Ui, bi), (Wf, Uf, bf), (Wo, Uo, bo)))
        proposed = f * c + i * np.tanh(x @ Wg.T + (m * h) @ Ug.T + bg)
        h = dh * h + (1 - dh) * o * np.tanh(proposed)  # of the c before zoneout
        c = dc * c + (1 - dc) * proposed
        real = ~case.padding[t]
        np.testing.assert_allclose(trace["h"][t][real], h[real], rtol=1e-12)
        np.testing.assert_allclose(trace["c"][t][real], c[real], rtol=1e-12)


@pytest.mark.parametrize("name", ["GRU", "GRU-before"])
def test_a_gru_carries_h_without_the_mask(name: str) -> None:
    case = problem(name, 5, 6, 2, 3, LENGTHS)
    trace, _ = run(case, Regulariser({}, 0.4, seed=5))
    (Wr, Wz, Wn), (Ur, Uz, Un), (br, bz, bn) = (np.split(case.p[k], 3) for k in ("W", "U", "b"))
    cr, cz, cn = np.split(case.p["b_U"], 3) if name == "GRU" else (0, 0, 0)
    (h,) = case.initial
    for t, x in enumerate(case.x):
        seen = h * trace["recurrent_dropout"][t]
        r, z = sigmoid(x @ Wr.T + br + seen @ Ur.T + cr), sigmoid(x @ Wz.T + bz + seen @ Uz.T + cz)
        recalled = r * (seen @ Un.T + cn) if name == "GRU" else (r * seen) @ Un.T
        h = (1 - z) * np.tanh(x @ Wn.T + bn + recalled) + z * h
        real = ~case.padding[t]
        np.testing.assert_allclose(trace["h"][t][real], h[real], rtol=1e-12)


def test_masks_have_their_rates_and_lie_where_sequences_run() -> None:
    case = problem("LSTM", 30, 8, 1, 40, (30, 0, *(20,) * 6))
    trace, _ = run(case, Regulariser({"h": 0.1, "c": 0.7}, 0.25, seed=0))
    real, alone = ~case.padding, run(case, Regulariser({"c": 0.7}, seed=0))[0]
    for name, rate in (("zoneout h", 0.1), ("zoneout c", 0.7)):
        mask = trace[name]
        assert set(np.unique(mask)) == {0, 1}
        assert abs(mask[real].mean() - rate) < 0.02
        assert not mask[~real].any()
    assert any(np.any(trace["zoneout c"][0] != other) for other in trace["zoneout c"][1:20])
    np.testing.assert_array_equal(trace["zoneout c"], alone["zoneout c"])  # whatever else is drawn
    drop = trace["recurrent_dropout"]
    assert set(np.unique(drop[real])) == {0, 1 / 0.75}
    assert abs((drop[real] == 0).mean() - 0.25) < 0.06
    np.testing.assert_array_equal(drop[:20, 3], drop[[0] * 20, 3])  # one mask for all steps
    assert np.any(drop[0, 2] != drop[0, 3])
    assert trace.names[-3:] == ("recurrent_dropout", "zoneout h", "zoneout c")


def test_units_that_are_held_keep_every_bit_and_others_are_what_the_step_computed() -> None:
    case = problem("GRU", 6, 3, 2, 5, dtype=np.float32)
    trace, _ = run(case, Regulariser({"h": 0.5}, seed=2))
    before = np.concatenate([case.initial[0][None], trace["h"][:-1]])
    held = trace["zoneout h"] == 1
    np.testing.assert_array_equal(trace["h"][held], before[held])
    proposed = trace.packing.unpack(trace.rows_after("h"))
    np.testing.assert_array_equal(trace["h"][~held], proposed[~held])
    assert np.any(proposed[held] != before[held])


def test_the_mean_over_many_masks_is_the_expectation() -> None:
    """For one step, where the expectation of zoneout is exact."""
    case = problem("RNN", 1, 1, 2, 3)
    rates = {"h": 0.3}
    mean = np.mean([run(case, Regulariser(rates, seed=k))[0].output for k in range(1000)], axis=0)
    np.testing.assert_allclose(mean, run(case, Regulariser(rates))[0].output, atol=0.1)


@pytest.mark.parametrize("name", ALL)
def test_equal_seeds_equal_bits_in_every_precision_and_on_a_used_trace(name: str) -> None:
    noise = replace(BOTH, recurrent_dropout=BOTH.recurrent_dropout if "U" in ALL[name]().shapes(1, 1) else 0.0)
    case, single = problem(name, 5, 6, 2, 3, LENGTHS), problem(name, 5, 6, 2, 3, LENGTHS, dtype=np.float32)
    first, want = run(case, noise)
    kept = {n: first[n] for n in first.names}
    for sizes in SIZES[3:8]:
        used = forward(first.cell, *_inputs(problem(name, *sizes[:2], 2, 3, sizes[4])), first, noise.seeded(9))
        assert used is first
    again = forward(first.cell, *_inputs(case), first, noise)
    got = sequence.backward(again.cell, case.p, again, case.dh, case.dlast)
    for n, value in kept.items():
        np.testing.assert_array_equal(again[n], value)
    for k, value in want.params.items():
        np.testing.assert_array_equal(got.params[k], value)
    small, gradients = run(single, noise)
    for n in small.noise.masks if small.noise else ():
        np.testing.assert_array_equal(small[n], kept[n].astype(np.float32))
    assert {small[n].dtype for n in small.names} == {np.dtype(np.float32)}
    assert {g.dtype for g in gradients.params.values()} == {np.dtype(np.float32)}
    other, _ = run(case, noise.seeded(4))
    assert np.any(other.output != first.output)


def _inputs(case: Problem) -> tuple[Any, ...]:
    return case.p, case.x, case.initial, case.lengths


def test_a_pass_without_noise_after_one_with_it() -> None:
    case = problem("LSTM", 5, 6, 2, 3, LENGTHS)
    plain, want = run(case, None)
    trace, _ = run(case, BOTH)
    trace = forward(trace.cell, *_inputs(case), trace)
    np.testing.assert_array_equal(trace.output, plain.output)
    got = sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast)
    np.testing.assert_array_equal(got.params["U"], want.params["U"])
    with pytest.raises(KeyError, match="no 'zoneout h'"):
        trace["zoneout h"]


def test_streaming_takes_the_expectation_and_draws_nothing() -> None:
    case = problem("LSTM", 5, 2, 2, 3)
    noise = Regulariser({"h": 0.2, "c": 0.5}, 0.4)
    stepper = Stepper(case.cell, case.p, state=case.initial, regulariser=noise)
    stepped = np.stack([stepper.step(x) for x in case.x])
    np.testing.assert_allclose(stepped, run(case, noise)[0].output, rtol=1e-12)
    assert np.abs(stepped - run(case, None)[0].output).max() > 0.01
    with pytest.raises(ValueError, match="a Stepper is inference, which draws no masks; pass one with seed=None"):
        Stepper(case.cell, case.p, regulariser=noise.seeded(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regulariser({"h": 1.0}), "zoneout of h: expected a rate from 0 to below 1, got 1.0"),
        (lambda: Regulariser({"c": -0.1}), "zoneout of c: expected a rate"),
        (lambda: Regulariser(recurrent_dropout=float("nan")), "recurrent_dropout: expected a rate .* got nan"),
        (lambda: run(problem("GRU", 2, 2, 2, 2), Regulariser({"c": 0.1})), r"GRU has the states h, got \['c'\]"),
    ],
)
def test_what_does_not_fit_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


class CarriesThroughTheMask(GRU):
    """Takes the mask at its word forwards, and forgets it backwards."""

    def step_backward(self, p: Any, now: Now, dstate: Any) -> None:
        super().step_backward(p, now._replace(mask=None), dstate)


class NotSaid(GRUBefore):
    """All uses of h get the mask: another equation, but an exact one."""

    carries = False


def test_a_cell_that_carries_h_and_does_not_say_so_still_has_exact_gradients() -> None:
    noise = Regulariser(recurrent_dropout=0.4, seed=1)
    assert check_cell(NotSaid(), sizes=(3, 2, 2, 3), regulariser=noise).error < 2e-9
    case = problem("GRU-before", 3, 2, 2, 3)
    said = forward(GRUBefore(), case.p, case.x, regulariser=noise).output
    assert np.abs(forward(NotSaid(), case.p, case.x, regulariser=noise).output - said).max() > 1e-3


def test_a_mask_forgotten_on_the_way_back_is_caught() -> None:
    with pytest.raises(GradientError):
        check_cell(CarriesThroughTheMask(), sizes=(3, 2, 2, 3), regulariser=BOTH)


def lost(self: Any, cell: Any, p: Any, now: Any, dstate: Any, t: int) -> None:
    cell.step_backward(p, self._inside(now, t), dstate)


def held_only(self: Any, cell: Any, p: Any, now: Any, dstate: Any, t: int) -> None:
    """What is held also goes through the step."""
    held = {k: dstate[k] * zones[t] for k, zones in self.zones.items()}
    cell.step_backward(p, self._inside(now, t), dstate)
    for k, d in held.items():
        dstate[k][...] += d


@pytest.mark.parametrize(
    "noise", [Regulariser({"h": 0.4}, seed=1), Regulariser({}, 0.4, seed=1), Regulariser({"h": 0.4})]
)
@pytest.mark.parametrize("mistake", [lost, held_only])
@pytest.mark.parametrize("cell", [RNN(), LSTM()], ids=["RNN", "LSTM"])
def test_mistakes_of_the_engine_are_caught(
    cell: Cell, mistake: Any, noise: Regulariser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "step_backward", mistake)
    with pytest.raises(GradientError):
        check_cell(cell, sizes=(3, 2, 2, 3), regulariser=noise)


@pytest.mark.parametrize("noise", [Regulariser({"h": 0.4}, 0.3, seed=1)])
def test_the_gradient_of_U_needs_the_h_that_was_seen(noise: Regulariser) -> None:
    class Unmasked(LSTM):
        def recurrent_grads(self, p: Any, trace: Any, da: Any, grads: Any) -> None:
            np.matmul(da, trace.rows_before("h"), out=grads["U"])

    with pytest.raises(GradientError, match=r"^U"):
        check_cell(Unmasked(), sizes=(3, 2, 2, 3), regulariser=noise)

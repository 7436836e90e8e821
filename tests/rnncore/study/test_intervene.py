"""Clamps hold, shifts shift, gradients are exact, and what cannot be held is refused."""

import numpy as np
import pytest

from rnncore import LSTM, Adam, Recurrent, check_cell, forward
from rnncore.cells import CELLS, find_cell
from rnncore.cells import LSTM as LSTMCell
from rnncore.gradcheck import GradientError
from rnncore.study import Clamp, Intervened, Shift, frozen, removed, run_cell, silenced
from rnncore.study.gates import squash_of
from tests.rnncore.study.runs import small_run

SETTABLE = [(name, gate) for name in CELLS if name != "LSTM-layernorm" for gate in find_cell(name).gates]
INSIDE = {"sigmoid": 0.3, "tanh": -0.4, "identity": 0.7}


@pytest.mark.parametrize(("name", "gate"), SETTABLE)
def test_gradients_of_a_cell_in_somebodys_hands_are_exact(name: str, gate: str) -> None:
    cell = find_cell(name)
    held = [Clamp(gate, INSIDE[squash_of(cell, gate)], [0, 2]), Shift(cell.gates[0], 0.5, [1])]
    assert check_cell(Intervened(cell, held)).error < 1e-7


@pytest.mark.parametrize(("name", "gate"), SETTABLE)
def test_a_clamped_gate_stays_where_it_is_held_and_others_do_not(name: str, gate: str) -> None:
    run = small_run(name)
    value = INSIDE[squash_of(run.cell, gate)]
    trace = run.again(Intervened(run.cell, [Clamp(gate, value, [0, 2])]))
    np.testing.assert_allclose(trace[gate][run.real][:, [0, 2]], value, rtol=1e-12)
    assert np.ptp(trace[gate][run.real][:, 1]) > 1e-3


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "LSTM-peephole"])
def test_a_gate_can_be_shut_or_open_altogether(name: str, value: float) -> None:
    cell = find_cell(name)
    with np.errstate(all="raise", under="ignore"):
        stuck = Intervened(cell, [Clamp(cell.gates[0], value, [1])])
        assert check_cell(stuck).error < 1e-7
        run = small_run(name)
        assert (run.again(stuck)[cell.gates[0]][run.real][:, 1] == value).all()


def test_a_clamped_cell_is_the_cell_with_other_equations() -> None:
    """The forget gate removed is Greff's NFG; peepholes zero make the vanilla LSTM ours."""
    rng = np.random.default_rng(0)
    ours, greff = find_cell("LSTM"), find_cell("Greff-NFG")
    p = {name: rng.normal(size=shape) for name, shape in ours.shapes(2, 3).items()}
    kept = np.r_[0:3, 6:12]
    q = {name: array[kept] for name, array in p.items()} | {"P": np.zeros(6)}
    x = rng.normal(size=(5, 2, 2))
    got = forward(Intervened(ours, [removed(ours, "forget")]), p, x)
    np.testing.assert_allclose(got["h"], forward(greff, q, x)["h"], rtol=1e-12)


def test_a_shift_is_another_bias() -> None:
    run = small_run()
    p = {name: array.copy() for name, array in run.weights.items()}
    p["b"][[3, 5]] += 1.5
    got = run.again(Intervened(run.cell, [Shift("forget", 1.5, [0, 2])]))
    np.testing.assert_allclose(got["h"], run.again(weights=p)["h"], rtol=1e-12)


def test_frozen_is_each_units_own_mean() -> None:
    run = small_run("GRU")
    clamp = frozen(run, "update", [2, 0])
    assert clamp.value == pytest.approx(run.rows("update").mean(0)[[2, 0]])
    trace = run.again(Intervened(run.cell, [clamp]))
    np.testing.assert_allclose(trace["update"][run.real][:, [2, 0]], [clamp.value] * int(run.lengths.sum()), rtol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "RNN", "minGRU", "CIFG"])
def test_a_silenced_unit_says_nothing_and_the_others_hear_nothing(name: str) -> None:
    run = small_run(name)
    trace = run.again(Intervened(run.cell, silenced(run.cell, [1])))
    assert (trace["h"][..., 1] == 0).all()
    p = {key: array.copy() for key, array in run.weights.items()}
    if "U" in p:
        p["U"][:, 1] = 0
        np.testing.assert_allclose(trace["h"][..., [0, 2]], run.again(weights=p)["h"][..., [0, 2]], atol=1e-12)


def test_what_removed_means() -> None:
    assert removed(find_cell("GRU"), "update") == Clamp("update", 0.0)
    assert removed(find_cell("minGRU"), "update") == Clamp("update", 1.0)
    assert removed(find_cell("GRU"), "reset", [1]) == Clamp("reset", 1.0, [1])
    assert removed(find_cell("LSTM"), "candidate") == Clamp("candidate", 0.0)


def test_training_under_a_clamp_leaves_its_rows_alone_and_the_gate_where_it_was() -> None:
    rng = np.random.default_rng(0)
    layer = Recurrent(Intervened(LSTMCell(), [Clamp("forget", 0.5, [1])]), 2, 4, dtype="float64")
    before, x = layer.params.copy(), rng.normal(size=(6, 3, 2))
    target, optimiser = rng.normal(size=(6, 3, 4)), Adam(layer.params, 0.05)
    losses = []
    for _ in range(30):
        output, _ = layer(x)
        losses.append(float(((output - target) ** 2).mean()))
        layer.backward(output - target)
        optimiser.step(layer.grads.flat)
    assert losses[-1] < losses[0]
    held = 4 + 1
    for name in ("layer0.W", "layer0.U", "layer0.b"):
        np.testing.assert_array_equal(layer.params[name][held], before[name][held])
        assert (layer.params[name][held + 1] != before[name][held + 1]).any()
    assert (layer.trace["forget"][..., 1] == 0.5).all()


def test_float32_stays_float32() -> None:
    layer = Recurrent(Intervened(LSTMCell(), [Clamp("forget", 0.5), Shift("input", 1.0)]), 2, 4)
    output, _ = layer(np.ones((3, 1, 2), "float32"))
    dx, _ = layer.backward(output)
    assert output.dtype == dx.dtype == np.float32  # type: ignore[union-attr]


def test_nothing_done_is_the_cell_itself() -> None:
    run = small_run()
    np.testing.assert_array_equal(run.again(Intervened(run.cell, []))["h"], run["h"])


def test_what_cannot_be_held_is_refused() -> None:
    lstm = find_cell("LSTM")
    with pytest.raises(ValueError, match="no plain function"):
        Intervened(find_cell("LSTM-layernorm"), [Clamp("forget", 0.5)])
    with pytest.raises(ValueError, match=r"a sigmoid lies from 0 to 1, got 1\.5"):
        Intervened(lstm, [Clamp("forget", 1.5)])
    with pytest.raises(KeyError, match="no gate 'update'; LSTM has input, forget"):
        Intervened(lstm, [Clamp("update", 0.5)])
    with pytest.raises(ValueError, match="2 values need as many units"):
        Intervened(lstm, [Clamp("forget", (0.5, 0.6))])
    layer = Recurrent(Intervened(lstm, [Clamp("forget", 0.5, [7])]), 2, 4)
    with pytest.raises(IndexError, match="units are 0 to 3"):
        layer(np.ones((3, 1, 2), "float32"))


class Deaf(Intervened):
    """Forgets to say that nothing arrives at a clamped gate."""

    def step_backward(self, p, now, dstate) -> None:  # type: ignore[no-untyped-def]
        self.cell.step_backward(self._without(p, len(now.gates[0])), now, dstate)


class Leaky(Intervened):
    """Lets h reach the clamped gate."""

    def _without(self, p, H):  # type: ignore[no-untyped-def]
        return p


def test_a_wrong_wrapper_is_caught() -> None:
    with pytest.raises(GradientError):
        check_cell(Deaf(LSTMCell(), [Clamp("forget", 0.5, [0])]))
    with pytest.raises(ValueError, match="does not stay where it is held"):
        Leaky(LSTMCell(), [Clamp("forget", 0.5, [0])])


def test_a_run_of_a_layer_can_be_done_again_in_other_hands() -> None:
    layer = LSTM(2, 3, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 2, 2))
    layer(x)
    shut = Intervened(layer.cell, [Clamp("input", 0.0)])
    run = run_cell(shut, {name.rpartition(".")[2]: a for name, a in layer.params.items()}, x)
    assert not run["h"].any()

"""The gradient that reaches each state, against differences: something is added to the state where it comes to be."""

from typing import Any

import numpy as np
import pytest

from rnncore import sequence
from rnncore.cells import Now, Weights
from rnncore.regularise import Noise, Regulariser
from rnncore.trace import Trace
from tests.rnncore.differences import assert_gradient
from tests.rnncore.problems import ALL, Problem, problem
from tests.rnncore.reference_variants import normal, sigmoid

LENGTHS = (4, 3, 1)  # falling, so that columns stand as the caller has them
WITH_C = [name for name in ALL if "c" in ALL[name]().state]


def follow(p: Weights, now: Now, gates: dict[str, Any]) -> None:
    """Compute again what the step computes from c_t, whatever the cell."""
    c, o = now.next[1], gates.get("output", 1.0)
    squashed = np.tanh(c) if "alpha_c" not in p else np.tanh((normal(c.T)[0] * p["alpha_c"] + p["beta_c"]).T)
    if "squashed" in gates:
        squashed = c
    now.next[0][...] = p["V"] @ (o * squashed) if "V" in p else o * squashed
    if len(now.next) == 3:
        now.next[2][-len(c) :] = o


def injecting(name: str, state: int, extra: Any) -> Any:
    """A cell that adds `extra` (T, B, ...) to a state, and goes on from there."""
    kind = type(ALL[name]())

    class Injecting(kind):  # type: ignore[misc, valid-type]
        columnwise = False  # it has something of its own for every sequence

        def step(self, p: Weights, now: Now) -> None:
            super().step(p, now)
            e = extra[self.t, : now.a.shape[1]].T
            self.t += 1
            now.next[state][...] += e
            if state == 0:
                return
            gates = dict(zip(self.gates, now.gates, strict=True))
            o = gates.get("output")
            if "P" in p and o is not None:
                k, H = self.gates.index("output"), len(o)
                gates["output"] = sigmoid(np.log(o / (1 - o)) + p["P"][k * H : (k + 1) * H, None] * e)
            if getattr(self, "variant", "") == "NOAF":
                gates["squashed"] = None
            follow(p, now, gates)

    cell = Injecting()
    vars(cell).update(vars(ALL[name]()))
    return cell


def loss(case: Problem, trace: Trace) -> float:
    last = sum((s * d).sum() for s, d in zip(trace.last, case.dlast, strict=True))
    return float((trace.output * case.dh).sum() + last)


def inputs(case: Problem) -> tuple[Any, ...]:
    return case.p, case.x, case.initial, case.lengths


@pytest.mark.parametrize(
    ("name", "state"), [*((name, "h") for name in ALL), *((name, "c") for name in WITH_C)], ids=str
)
def test_the_gradient_of_a_state_is_what_differences_say(name: str, state: str) -> None:
    case = problem(name, 4, 3, 2, 3, LENGTHS)
    trace = sequence.forward(case.cell, *inputs(case))
    sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
    extra = np.zeros_like(trace[state])
    cell = injecting(name, trace.cell.state.index(state), extra)

    def injected() -> float:
        cell.t = 0
        return loss(case, sequence.forward(cell, *inputs(case)))

    assert injected() == pytest.approx(loss(case, trace), rel=1e-13)
    assert_gradient(injected, extra, trace.gradient(state), 1e-6 if name == "LSTM-layernorm" else 1e-8)
    assert not trace.gradient(state)[case.padding].any()


@pytest.mark.parametrize("state", ["h", "c"])
@pytest.mark.parametrize("rates", [{"h": 0.4, "c": 0.4}, {"c": 0.4}])
def test_under_zoneout_it_is_that_of_the_state_that_is_carried_on(
    rates: dict[str, float], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in its own step is computed from it, but where that state has no zoneout."""
    case = problem("LSTM", 4, 3, 2, 3, LENGTHS)
    noise = Regulariser(rates, 0.2, seed=3)
    trace = sequence.forward(case.cell, *inputs(case), regulariser=noise)
    sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
    extra, k, original = np.zeros_like(trace[state]), trace.cell.state.index(state), Noise.step

    def step(self: Noise, cell: Any, p: Any, now: Now, t: int) -> None:
        original(self, cell, p, now, t)
        b = min(now.a.shape[1], extra.shape[1])
        now.next[k][:, :b] += extra[t, :b].T

    monkeypatch.setattr(Noise, "step", step)
    assert_gradient(
        lambda: loss(case, sequence.forward(case.cell, *inputs(case), regulariser=noise)), extra, trace.gradient(state)
    )


def test_gates_and_their_state_agree_in_full_gate_recurrence() -> None:
    case = problem("Greff-FGR", 4, 3, 2, 3, LENGTHS)
    trace = sequence.forward(case.cell, *inputs(case))
    sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
    values = trace["ifo"]
    slopes = trace.gradient("ifo") * values * (1 - values)
    gates = np.concatenate([trace.gradient(k) for k in ("input", "forget", "output")], axis=2)
    np.testing.assert_allclose(slopes, gates, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "LSTM-projection-2"])
def test_keeping_changes_no_bit_and_is_for_one_pass(name: str) -> None:
    case = problem(name, 4, 3, 2, 3, (2, 4, 0))
    plain, want = case.run()
    trace = sequence.forward(case.cell, *inputs(case))
    got = sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
    for key, value in want.params.items():
        np.testing.assert_array_equal(got.params[key], value)
    np.testing.assert_array_equal(got.x, want.x)
    assert trace.gradient("h").shape == trace["h"].shape
    with pytest.raises(RuntimeError, match="were not kept"):
        plain.gradient("h")
    sequence.backward(trace.cell, case.p, trace, case.dh)
    with pytest.raises(RuntimeError, match="were not kept"):
        trace.gradient("h")


def test_a_cell_that_does_not_tell_shows_what_arrives_from_the_next_step_alone() -> None:
    class Silent(type(ALL["LSTM"]())):  # type: ignore[misc]
        def step_backward(self, p: Weights, now: Now, dstate: Any) -> None:
            super().step_backward(p, now._replace(reaching=()), dstate)

    case = problem("LSTM", 4, 3, 2, 3)
    trace = sequence.forward(Silent(), *inputs(case))
    sequence.backward(trace.cell, case.p, trace, case.dh, case.dlast, keep_state_gradients=True)
    np.testing.assert_array_equal(trace.gradient("c")[-1], case.dlast[1])

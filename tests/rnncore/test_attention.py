"""Attention around a cell: gradients, what it looks at, memory that sequences share, and planted mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from rnncore import sequence
from rnncore.cells import CELLS, GRU, LSTM, RNN, GRUBefore, find_cell
from rnncore.cells.attention import Attention
from rnncore.cells.base import Cell
from rnncore.gradcheck import GradientError, check_cell, check_function
from rnncore.params import Params
from rnncore.regularise import Regulariser
from rnncore.trace import Now

SIZE, WIDTH, PLACES = 3, 4, 6


class WithMemory(Attention):
    """Attention whose memory of three rows is among its parameters, so that `check_cell` checks its gradients too."""

    def __init__(self, cell: Cell, selector: bool = False) -> None:
        super().__init__(cell, SIZE, WIDTH, PLACES, selector)

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        memory = {"keys": (3, PLACES, SIZE), "values": (3, PLACES, WIDTH)}
        return super().shapes(input_size, hidden_size) | memory


@pytest.mark.parametrize(("name", "selector"), [*((name, True) for name in CELLS), ("GRU", False), ("LSTM", False)])
def test_gradients_around_every_cell(name: str, selector: bool) -> None:
    print(name, check_cell(WithMemory(find_cell(name), selector), sizes=(3, 3, 2, 4)))


@pytest.mark.parametrize("cell", [LSTM(), GRU()])
def test_gradients_under_recurrent_dropout(cell: Cell) -> None:
    print(check_cell(WithMemory(cell, True), regulariser=Regulariser({"h": 0.2}, recurrent_dropout=0.4, seed=3)))


class WithoutQuery(WithMemory):
    """The gradient of h through the query is forgotten."""

    def step_backward(self, p: Mapping[str, Any], now: Now, dstate: tuple[Any, ...]) -> None:
        super().step_backward({**p, "query": 0 * p["query"]}, now, dstate)


class WithTiltedScores(WithMemory):
    """Something is added to the gradient of every score."""

    def step_backward(self, p: Mapping[str, Any], now: Now, dstate: tuple[Any, ...]) -> None:
        super().step_backward(p, now, dstate)
        now.dgates[len(self.cell.preactivations) + 1][...] += 1e-3


@pytest.mark.parametrize("broken", [WithoutQuery, WithTiltedScores])
def test_planted_mistakes_are_caught(broken: type[WithMemory]) -> None:
    with pytest.raises(GradientError):
        check_cell(broken(GRU(), True))


def problem(dtype: Any = np.float64, selector: bool = True) -> tuple[Attention, dict[str, Any], Any, list[int]]:
    """Five sequences of falling length, of three pictures."""
    cell, rng = Attention(GRU(), SIZE, WIDTH, PLACES, selector), np.random.default_rng(0)
    p = Params(cell.shapes(2, 5), dtype)
    p.flat[...] = rng.normal(0, 0.7, p.size)
    memory = {"keys": rng.normal(size=(3, PLACES, SIZE)), "values": rng.normal(size=(3, PLACES, WIDTH))}
    given = {**p, **{name: a.astype(dtype) for name, a in memory.items()}, "owner": np.array([2, 0, 1, 0, 2])}
    return cell, given, rng.normal(size=(4, 5, 2)).astype(dtype), [4, 4, 3, 2, 1]


def test_weights_and_context_are_those_of_the_equations() -> None:
    cell, p, x, lengths = problem()
    trace = sequence.forward(cell, p, x, lengths=lengths)
    h, weights, context = trace["h"], trace["weights"], trace["context"]
    for b, length in enumerate(lengths):
        keys, values = p["keys"][p["owner"][b]], p["values"][p["owner"][b]]
        for t in range(length):
            before = h[t - 1, b] if t else np.zeros(5)
            scores = np.tanh(keys + p["query"] @ before) @ p["energy"]
            alpha = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[t, b], alpha, atol=1e-14)
            np.testing.assert_allclose(context[t, b], alpha @ values, atol=1e-14)


def test_sequences_that_share_a_row_share_its_gradient() -> None:
    cell, p, x, lengths = problem()
    dh, dweights = np.random.default_rng(1).normal(size=(4, 5, 5)), np.random.default_rng(2).normal(size=(5, PLACES))
    trainable = {name: a for name, a in p.items() if name != "owner"}

    def loss() -> float:
        trace = sequence.forward(cell, p, x, lengths=lengths)
        outside = trace.packing.sum_over_time(trace.rows("weights")) * dweights
        return float((trace.output * dh).sum() + outside.sum())

    trace = sequence.forward(cell, p, x, lengths=lengths)
    grads = {name: np.full_like(a, np.nan) for name, a in trainable.items()}
    sequence.backward(cell, {**p, "dweights": dweights}, trace, dh, grads=grads)
    print(check_function(loss, trainable, grads))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, p, x, lengths = problem()
    found = []
    for block in (1, 1 << 17):
        monkeypatch.setattr("rnncore.cells.attention.BLOCK", block)
        trace = sequence.forward(cell, p, x, lengths=lengths)
        grads = {name: np.empty_like(a) for name, a in p.items() if name != "owner"}
        back = sequence.backward(cell, p, trace, np.ones((4, 5, 5)), grads=grads)
        found.append([trace.output.copy(), back.x, *grads.values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_large_scores_do_not_overflow() -> None:
    cell, p, x, lengths = problem()
    p["energy"][...] = 1000.0  # scores of both signs, beyond what exp can hold
    trace = sequence.forward(cell, p, x, lengths=lengths)
    scores = np.tanh(p["keys"][p["owner"]]) @ p["energy"]  # of the first step, where h is zero
    assert np.ptp(scores, axis=1).max() > 1000
    np.testing.assert_array_equal(trace["weights"][0].argmax(1), scores.argmax(1))
    np.testing.assert_allclose(trace["weights"][0].sum(1), 1, atol=1e-14)


@pytest.mark.parametrize("cell", [RNN(), LSTM(), GRU(), GRUBefore()])
def test_a_context_of_weight_zero_changes_nothing_under_noise_either(cell: Cell) -> None:
    looking = Attention(cell, SIZE, WIDTH, PLACES)
    rng, noise = np.random.default_rng(0), Regulariser({"h": 0.2}, recurrent_dropout=0.4, seed=3)
    p = Params(looking.shapes(2, 5), np.float64)
    p.flat[...] = rng.normal(0, 0.7, p.size)
    p["context"][...] = 0
    x, memory = rng.normal(size=(6, 3, 2)), {"keys": rng.normal(size=(3, PLACES, SIZE))}
    memory["values"] = rng.normal(size=(3, PLACES, WIDTH))
    outputs = [sequence.forward(c, {**p, **memory}, x, regulariser=noise).output for c in (looking, cell)]
    np.testing.assert_allclose(*outputs, atol=1e-14)


def test_first_values() -> None:
    cell = Attention(LSTM(), size=2000, width=30, places=PLACES, selector=True)
    p = Params(cell.shapes(4, 50), np.float64).initialise(cell.initialisers(), seed=0)
    assert abs(p["energy"].mean()) < 3 / 2000  # three standard errors of a mean of deviation A^-1/2
    np.testing.assert_allclose(p["energy"].std(), 2000**-0.5, rtol=0.05)
    limit = (6 / (50 + 30)) ** 0.5  # each gate's block of Z by itself
    assert 0.99 * limit < np.abs(p["context"]).max() <= limit
    assert not p["selector"].any()
    assert not p["selector_bias"].any()


@pytest.mark.parametrize(("block", "together"), [(2 * PLACES * SIZE, 2), (3 * PLACES * SIZE - 1, 2), (1, 1)])
def test_a_block_has_as_many_sequences_as_fit_and_one_at_least(
    block: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncore.cells.attention.BLOCK", block)
    cell, p, _, _ = problem()
    found = [(here, rows.tolist()) for here, rows in cell._blocks(p, 5)]
    starts = range(0, 5, together)
    assert found == [(slice(k, min(k + together, 5)), p["owner"][k : k + together].tolist()) for k in starts]
    assert list(cell._blocks(p, 0)) == []


def test_float32_stays_float32() -> None:
    cell, p, x, lengths = problem(np.float32)
    trace = sequence.forward(cell, p, x, lengths=lengths)
    grads = {name: np.empty_like(a) for name, a in p.items() if name != "owner"}
    back = sequence.backward(cell, p, trace, np.ones_like(trace.output), grads=grads)
    assert back.x is not None
    assert {a.dtype for a in (trace.output, trace["weights"], back.x, *grads.values())} == {np.dtype(np.float32)}


def test_one_of_each_is_enough_and_a_selector_is_asked_for() -> None:
    smallest = Attention(LSTM(), size=1, width=1, places=1)
    assert "selector" not in smallest.shapes(2, 3)
    assert "selector" in Attention(LSTM(), 1, 1, 1, selector=True).shapes(2, 3)


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="places: expected at least 1, got 0"):
        Attention(GRU(), 2, 2, 0)

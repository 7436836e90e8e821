"""Our side: what a user of `rnncore.LSTM` and `rnncore.GRU` would write."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.problem import Problem
from benchmarks.turns import Competitor


def training(problem: Problem) -> Competitor:
    """Forward, backward through time, the gradients of all weights and of x; returns output, dx and dU."""
    layer, packing = problem.layer, problem.packing
    x, dy = packing.pack(problem.x), packing.pack(problem.dy)
    lengths: Any = packing if problem.mixed else None
    if not problem.mixed:
        x, dy = problem.x, problem.dy

    def call() -> Any:
        output, _ = layer(x, lengths=lengths)
        dx, _ = layer.backward(dy)
        return output, dx

    return Competitor(call)


def forward(problem: Problem) -> Competitor:
    """Forward alone, as one evaluates: no trace is kept; returns the output."""
    layer, x = problem.layer, problem.x
    layer.training = layer.keeps_trace = False
    return Competitor(lambda: layer(x)[:1])


def step(problem: Problem) -> Competitor:
    """One step of a stream, the state carried; returns the output."""
    stepper, x = problem.layer.stepper(problem.B), problem.x[0]
    zero = stepper.state

    def reset() -> None:
        stepper.state = zero

    return Competitor(lambda: (stepper.step(x),), reset)

"""Our side: what a user of `rnncore.LSTM` and `rnncore.GRU` would write, with `fused=True` and without."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.problem import Problem
from benchmarks.record import has_fused
from benchmarks.rows import FUSED
from benchmarks.turns import Competitor


def sides(call: str, problem: Problem) -> dict[str, Competitor]:
    """Return ours, and ours with fused kernels where these can be had; `call` names a function below."""
    make = {"training": training, "forward": forward, "step": step}[call]
    return {"ours": make(problem)} | ({FUSED: make(problem, fused=True)} if has_fused() else {})


def training(problem: Problem, fused: bool = False) -> Competitor:
    """Forward, backward through time, the gradients of all weights and of x; returns output, dx and dU."""
    layer, packing = problem.layer_of(fused), problem.packing
    x, dy = packing.pack(problem.x), packing.pack(problem.dy)
    lengths: Any = packing if problem.mixed else None
    if not problem.mixed:
        x, dy = problem.x, problem.dy

    def call() -> Any:
        output, _ = layer(x, lengths=lengths)
        dx, _ = layer.backward(dy)
        return output, dx

    return Competitor(call)


def forward(problem: Problem, fused: bool = False) -> Competitor:
    """Forward alone, as one evaluates: no trace is kept; returns the output."""
    layer, x = problem.layer_of(fused), problem.x
    layer.training = layer.keeps_trace = False
    return Competitor(lambda: layer(x)[:1])


def step(problem: Problem, fused: bool = False) -> Competitor:
    """One step of a stream, the state carried; returns the output."""
    stepper, x = problem.layer_of(fused).stepper(problem.B), problem.x[0]
    zero = stepper.state

    def reset() -> None:
        stepper.state = zero

    return Competitor(lambda: (stepper.step(x),), reset)

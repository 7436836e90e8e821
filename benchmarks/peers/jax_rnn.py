"""The same layers in JAX: one compiled `scan`, the input's product for all steps before it, JAX's own gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers.problem import Problem
from benchmarks.turns import Competitor


def training(problem: Problem) -> dict[str, Competitor]:
    """Forward, and the gradients of all weights and of x."""
    p, run = _weights(problem), _layer(problem.cell, problem.H)
    x, dy = jnp.asarray(problem.x), jnp.asarray(problem.dy)

    @jax.jit
    def both(p: Any, x: Any, dy: Any) -> Any:
        output, back = jax.vjp(run, p, x)
        return output, *back(dy)

    def call() -> Any:
        output, _, dx = jax.block_until_ready(both(p, x, dy))
        return output, dx

    return {"jax": Competitor(call)}


def forward(problem: Problem) -> dict[str, Competitor]:
    """Forward alone."""
    p, x, run = _weights(problem), jnp.asarray(problem.x), jax.jit(_layer(problem.cell, problem.H))
    return {"jax": Competitor(lambda: (jax.block_until_ready(run(p, x)),))}


def _weights(problem: Problem) -> dict[str, Any]:
    """Our weights, W and U with rows for inputs, as x W wants them."""
    params = {name.removeprefix("layer0."): value for name, value in problem.layer.params.items()}
    return {name: jnp.asarray(value.T.copy() if value.ndim == 2 else value) for name, value in params.items()}


def _layer(cell: str, H: int) -> Any:
    """Return the function (parameters, x) -> output, to be compiled."""
    step = _lstm if cell == "LSTM" else _gru

    def run(p: Any, x: Any) -> Any:
        xW = x @ p["W"] + p["b"]
        zero = jnp.zeros((x.shape[1], H), x.dtype)
        initial = (zero, zero) if cell == "LSTM" else (zero,)
        return jax.lax.scan(lambda state, a: step(p, state, a), initial, xW)[1]

    return run


def _lstm(p: Any, state: Any, a: Any) -> Any:
    """Blocks i, f, o, g, as `rnncore.cells.LSTM` has them."""
    h, c = state
    i, f, o, g = jnp.split(a + h @ p["U"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _gru(p: Any, state: Any, a: Any) -> Any:
    """Blocks r, z, n, reset after the product."""
    (h,) = state
    (r, z, n), (Ur, Uz, q) = jnp.split(a, 3, axis=-1), jnp.split(h @ p["U"] + p["b_U"], 3, axis=-1)
    r, z = jax.nn.sigmoid(r + Ur), jax.nn.sigmoid(z + Uz)
    h = (1 - z) * jnp.tanh(n + r * q) + z * h
    return (h,), h

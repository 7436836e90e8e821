"""A task that a handful of units can learn, and whose gates one can read: keep a value until told to take the next.

At each step the network reads a value and a mark; it is to say the value that was there when the mark was last set:

    value   0.3 -0.8  0.5  0.1 -0.2
    mark      1    0    0    1    0
    wanted  0.3  0.3  0.3  0.1  0.1

Source: a latch in continuous values, after the latching problem of Y. Bengio, P. Simard & P. Frasconi, Learning
long-term dependencies with gradient descent is difficult, IEEE Trans. Neural Networks 5 (1994), section II.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnncore.cells.base import Cell
from rnncore.layers import Linear
from rnncore.optim import Adam, clip_global_norm
from rnncore.params import Params
from rnncore.recurrent import Recurrent
from rnncore.study.run import Floats, Run

INPUTS = ("value", "mark")


def latch_batch(rng: np.random.Generator, steps: int, batch: int, rate: float = 0.2) -> tuple[Floats, Floats]:
    """Return x (T, B, 2) and what is wanted (T, B, 1), float32; marks come at this rate, and one at the start."""
    value = rng.uniform(-1, 1, (steps, batch))
    mark = rng.random((steps, batch)) < rate
    mark[0] = True
    latest = np.maximum.accumulate(np.where(mark, np.arange(steps)[:, None], 0), axis=0)
    wanted = np.take_along_axis(value, latest, axis=0)
    return np.stack([value, mark], axis=2).astype(np.float32), wanted[:, :, None].astype(np.float32)


@dataclass(frozen=True)
class Learned:
    """A layer that has learned the latch, its readout w·h + b, and its mean square error on new sequences."""

    layer: Recurrent
    w: Floats
    b: float
    error: float


def learn_latch(cell: Cell, hidden: int = 6, steps: int = 400, seed: int = 0, rate: float = 0.02) -> Learned:
    """Train a cell on the latch, by Adam on the mean square error; equal seeds give equal networks."""
    rng = np.random.default_rng(seed)
    layer = Recurrent(cell, len(INPUTS), hidden, seed=seed)
    head = Linear(hidden, 1)
    params = Params(head.shapes()).initialise(head.initialisers(), seed)
    grads = params.like()
    optimisers = [(Adam(layer.params, rate), layer.grads), (Adam(params, rate), grads)]
    for _ in range(steps):
        x, wanted = latch_batch(rng, steps=20, batch=32)
        output, _ = layer(x)
        rows = output.reshape(-1, hidden)
        miss = head.forward(params, rows) - wanted.reshape(-1, 1)
        doutput = head.backward(params, rows, 2 * miss / miss.size, grads)
        assert doutput is not None  # it was asked for
        layer.backward(doutput.reshape(output.shape), need_dx=False)
        for optimiser, gradient in optimisers:
            clip_global_norm(gradient, 1.0)
            optimiser.step(gradient.flat)
    x, wanted = latch_batch(rng, steps=20, batch=256)
    said = head.forward(params, layer(x)[0].reshape(-1, hidden))
    error = float(((said - wanted.reshape(-1, 1)) ** 2).mean())
    return Learned(layer, params["W"][0].copy(), float(params["b"][0]), error)


def latch_run(learned: Learned, steps: int = 24, seed: int = 7, name: str | None = None) -> Run:
    """Return a run of a learned layer over one new sequence."""
    x, _ = latch_batch(np.random.default_rng(seed), steps, 1)
    learned.layer(x)
    return Run.of(learned.layer, name=name)

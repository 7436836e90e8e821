"""A cell of your own in one file: an LSTM whose gates look at the memory cell, checked, stacked and trained.

    python examples/own_cell.py                     # check it, then learn to count with it
    python -m pytest --doctest-modules examples/own_cell.py

    i_t = s(W_i x_t + U_i h_{t-1} + p_i c_{t-1} + b_i)        o_t = s(W_o x_t + U_o h_{t-1} + p_o c_t + b_o)
    f_t = s(W_f x_t + U_f h_{t-1} + p_f c_{t-1} + b_f)        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t c_{t-1} + i_t g_t                               h_t = o_t tanh c_t

Source: F. Gers & J. Schmidhuber, Recurrent nets that time and count, IJCNN 2000. Here the gradients go through the
peepholes too, which the source cuts off.
"""

from __future__ import annotations

import argparse

import numpy as np

from rnncore import Adam, Recurrent, check_cell
from rnncore.array import Array, sigmoid
from rnncore.cells import Now, Weights, recurrent_initialisers
from rnncore.finite import check_finite
from rnncore.params import Initialiser, gate_constant, normal
from rnncore.trace import Trace


class Peephole:
    """LSTM with peepholes.

    Parameters: `W` (4H, D), `U` (4H, H), `b` (4H,) in the blocks i, f, o, g, and `peep` (3, H) of i, f, o.

    >>> check_cell(Peephole()).error < 1e-7
    True
    """

    gates: tuple[str, ...] = ("input", "forget", "output", "candidate")
    preactivations: tuple[str, ...] = gates
    state: tuple[str, ...] = ("h", "c")
    saved: tuple[str, ...] = ("tanh_c",)

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        D, H = input_size, hidden_size
        return {"W": (4 * H, D), "U": (4 * H, H), "b": (4 * H,), "peep": (3, H)}

    def initialisers(self) -> dict[str, Initialiser]:
        return recurrent_initialisers(4) | {"b": gate_constant(1, 4, 1.0), "peep": normal(0.1)}

    def step(self, p: Weights, now: Now) -> None:
        xp, (h, c), (h_next, c_next), (tanh_c,) = now.xp, now.prev, now.next, now.saved
        i, f, o, g = now.gates  # views of now.a, which holds W x + b
        p_i, p_f, p_o = p["peep"][:, :, None]
        now.a[...] += xp.matmul(p["U"], h)
        sigmoid(i + p_i * c, out=i)
        sigmoid(f + p_f * c, out=f)
        xp.tanh(g, out=g)
        c_next[...] = f * c + i * g
        sigmoid(o + p_o * c_next, out=o)
        xp.tanh(c_next, out=tanh_c)
        h_next[...] = o * tanh_c

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        xp, (dh, dc), (_, c), (tanh_c,) = now.xp, dstate, now.prev, now.saved
        i, f, o, g = now.gates
        di, df, do, dg = now.dgates  # views of now.da
        p_i, p_f, p_o = p["peep"][:, :, None]
        do[...] = dh * tanh_c * o * (1 - o)
        dc += dh * o * (1 - tanh_c**2) + p_o * do
        now.reached(1, dc)  # dc is whole now: for trace.gradient("c")
        di[...] = dc * g * i * (1 - i)
        df[...] = dc * c * f * (1 - f)
        dg[...] = dc * i * (1 - g**2)
        dc *= f
        dc += p_i * di + p_f * df
        xp.matmul(p["U"].T, now.da, out=dh)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        H = trace.hidden
        before, after = trace.rows_before("c").T, trace.rows_after("c").T
        trace.xp.matmul(da, trace.previous_rows, out=grads["U"])
        grads["peep"][0] = (da[:H] * before).sum(1)
        grads["peep"][1] = (da[H : 2 * H] * before).sum(1)
        grads["peep"][2] = (da[2 * H : 3 * H] * after).sum(1)


def spikes(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (T, B, 1) with spikes, and a target that is 1 at every third spike of a sequence."""
    x = (rng.random((steps, batch, 1)) < 0.3).astype(np.float32)
    return x, ((np.cumsum(x, 0) % 3 == 0) & (x > 0)).astype(np.float32)


def train(layer: Recurrent, steps: int, seed: int) -> list[float]:
    """Learn to mark every third spike by the mean of the layer's outputs; return the losses."""
    rng, adam, losses = np.random.default_rng(seed), Adam(layer.params, learning_rate=0.01), []
    for step in range(steps):
        x, target = spikes(rng, steps=24, batch=16)
        output, _ = layer(x)
        error = output.mean(2, keepdims=True) - target
        losses.append(float((error**2).mean()))
        layer.backward(np.broadcast_to(2 * error / error.size / output.shape[2], output.shape))
        check_finite(step, losses[-1], layer.grads)
        adam.step(layer.grads.flat)
    return losses


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hidden", type=int, default=24, help="units in each direction of each layer")
    parser.add_argument("--steps", type=int, default=600, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    print(f"gradients hold: {check_cell(Peephole())}")
    deep = Recurrent(Peephole(), 1, 4, layers=2, bidirectional=True, dropout=0.2)
    output, (h, c) = deep(spikes(np.random.default_rng(0), 6, 3)[0], lengths=[6, 2, 4])
    print(f"two layers in both directions: output {output.shape}, h {h.shape}, c {c.shape}")

    layer = Recurrent(Peephole(), 1, options.hidden, layers=2, seed=options.seed)
    losses = train(layer, options.steps, options.seed)
    tenth = max(1, len(losses) // 10)
    print(f"{layer}: error {np.mean(losses[:tenth]):.4f} at first, {np.mean(losses[-tenth:]):.4f} at last")
    peep = layer.params["layer0.peep"]
    print("mean peephole of the gates i, f, o:", ", ".join(f"{w:+.3f}" for w in peep.mean(1)))


if __name__ == "__main__":
    main()

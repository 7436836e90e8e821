"""The adding problem: remember two numbers of a long sequence, and add them at its end. LSTM beside a plain RNN.

    python examples/adding_problem.py                # 50 steps, LSTM and RNN
    python examples/adding_problem.py --length 150 --steps 6000

The problem is `rnncore.tasks.Adding`: each step shows a number from [0, 1] and a mark; two steps are marked, and the
target is the sum of their numbers. Always to say 1 gives a mean squared error of 1/6 = 0.167: below that a network has
remembered. Here a network is put together and trained by hand; `python -m rnncore.tasks study adding` compares many.
"""

from __future__ import annotations

import argparse

import numpy as np

from rnncore import GRU, LSTM, RNN, Adam, Linear, Params, Recurrent, clip_global_norm
from rnncore.finite import check_finite
from rnncore.tasks import Adding

KINDS: dict[str, type[LSTM] | type[GRU] | type[RNN]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


class Adder:
    """A recurrent layer, and a linear map of its last h."""

    def __init__(self, layer: Recurrent, learning_rate: float, seed: int) -> None:
        self.layer, self.head = layer, Linear(layer.hidden_size, 1)
        self.params = Params(self.head.shapes()).initialise(self.head.initialisers(), seed)
        self.grads = self.params.like()
        self.optimisers = [Adam(params, learning_rate) for params in (layer.params, self.params)]

    def error(self, x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean squared error, and what was wrong (B, 1)."""
        _, (h, *_) = self.layer(x)
        self.h = h
        wrong = self.head.forward(self.params, h) - target
        return float((wrong**2).mean()), wrong

    def step(self, number: int, x: np.ndarray, target: np.ndarray) -> float:
        """Take one step and return the error before it."""
        error, wrong = self.error(x, target)
        dh = self.head.backward(self.params, self.h, 2 * wrong / len(wrong), self.grads)
        self.layer.backward(None, [dh] + [None] * (len(self.layer.cell.state) - 1), need_dx=False)
        check_finite(number, error, self.layer.grads)
        clip_global_norm(self.layer.grads, 1.0)
        for optimiser, grads in zip(self.optimisers, (self.layer.grads, self.grads), strict=True):
            optimiser.step(grads.flat)
        return error


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["LSTM", "RNN"])
    parser.add_argument("--length", type=int, default=50, help="steps of a sequence, at least 2")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        task = Adding(options.length)
    except ValueError as error:
        parser.error(str(error))

    test = task.batch(np.random.default_rng(options.seed + 1), 256)
    for kind in options.kinds:
        layer = KINDS[kind](2, options.hidden, seed=options.seed)
        adder, rng = Adder(layer, options.learning_rate, options.seed), np.random.default_rng(options.seed)
        for number in range(1, options.steps + 1):
            batch = task.batch(rng, options.batch)
            adder.step(number, batch.x, batch.targets)
            if number % max(1, options.steps // 5) == 0:
                print(
                    f"{kind} after {number} steps: error {adder.error(test.x, test.targets)[0]:.4f} (always 1: 0.1667)"
                )


if __name__ == "__main__":
    main()

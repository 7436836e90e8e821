"""A stream without end: learn from it chunk by chunk, then forecast it live, one sample at a time.

    python examples/streaming.py

Several sensors each send a sum of two waves and noise. A GRU reads them as they come: truncated back-propagation with
carried state while it learns, a `Stepper` once it serves. At the end the live outputs are held to those of one batch
call over the same samples, and a gradient over a long record is taken with memory for about two roots of its length.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from rnncore import GRU, Adam, Linear, Params
from rnncore.finite import check_finite
from rnncore.recompute import Recomputed
from rnncore.stream import Truncated


def sensors(batch: int, chunk: int, seed: int) -> Iterator[np.ndarray]:
    """Yield chunks (k + 1, B, 1) without end, each beginning with the last sample of the one before."""
    rng, start = np.random.default_rng(seed), 0
    phase, speed = rng.uniform(0, 2 * np.pi, (2, batch)), rng.uniform(0.08, 0.4, (2, batch))
    last = None
    while True:
        t = np.arange(start, start + chunk + 1)[:, None, None]
        wave = np.sin(phase + speed * t).mean(1) + rng.normal(0, 0.02, (chunk + 1, batch))
        wave[0] = wave[0] if last is None else last
        last, start = wave[-1], start + chunk
        yield wave[..., None].astype(np.float32)


class Forecaster:
    """A GRU, and a linear map of its output to the change that the next sample brings."""

    def __init__(self, hidden: int, layers: int, seed: int) -> None:
        self.gru, self.head = GRU(1, hidden, layers=layers, seed=seed), Linear(hidden, 1)
        self.params = Params(self.head.shapes()).initialise(self.head.initialisers(), seed)
        self.grads = self.params.like()

    def forecast(self, output: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Return the next samples (..., 1) of outputs (..., H) and samples (..., 1)."""
        change = self.head.forward(self.params, output.reshape(-1, output.shape[-1]))
        forecast: np.ndarray = now + change.reshape(now.shape)
        return forecast

    def learn(self, stream: Truncated, x: np.ndarray, target: np.ndarray) -> float:
        """Write the gradients of one chunk and return its mean squared error."""
        output = stream(x)
        wrong = self.forecast(output, x) - target
        flat, dy = output.reshape(-1, output.shape[-1]), (2 * wrong / wrong.size).reshape(-1, 1)
        doutput = self.head.backward(self.params, flat, dy, self.grads)
        assert doutput is not None
        self.gru.backward(doutput.reshape(output.shape), need_dx=False)
        return float((wrong**2).mean())


def serve(model: Forecaster, record: np.ndarray, state: tuple[np.ndarray, ...]) -> float:
    """Forecast live, sample by sample; return the error, after holding it to a batch call over the same samples."""
    live, forecasts = model.gru.stepper(state=state), []
    for sample in record[:-1]:
        forecasts.append(model.forecast(live.step(sample), sample))
    output, _ = model.gru(record[:-1], state)
    difference = np.abs(np.stack(forecasts) - model.forecast(output, record[:-1])).max()
    print(f"live and batch differ by {difference:.1e} at most")
    return float(((np.stack(forecasts) - record[1:]) ** 2).mean())


def main(arguments: list[str] | None = None) -> None:
    """Run the stream as the command line says, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sensors", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=32, help="samples that gradients go back")
    parser.add_argument("--steps", type=int, default=400, help="chunks to learn from")
    parser.add_argument("--record", type=int, default=2500, help="samples of the long record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    model = Forecaster(options.hidden, options.layers, options.seed)
    stream, source = Truncated(model.gru), sensors(options.sensors, options.chunk, options.seed)
    optimisers = [Adam(params, 3e-3) for params in (model.gru.params, model.params)]
    for step in range(1, options.steps + 1):
        samples = next(source)
        error = model.learn(stream, samples[:-1], samples[1:])
        check_finite(step, error, model.gru.grads)
        for optimiser, grads in zip(optimisers, (model.gru.grads, model.grads), strict=True):
            optimiser.step(grads.flat)
        if step % max(1, options.steps // 5) == 0:
            idle = float(((samples[1:] - samples[:-1]) ** 2).mean())
            print(f"after {step} chunks: error {error:.5f}, against {idle:.5f} of saying that nothing changes")

    assert stream.state is not None
    print(f"live error {serve(model, next(source), stream.state):.5f}")
    record = next(sensors(2, options.record, options.seed))
    sparse = Recomputed(model.gru)
    _, (h,) = sparse(record[:-1], need_output=False)
    _, (dh,) = sparse.backward(dstate=np.ones_like(h), need_dx=False)
    print(f"over {options.record} samples the first state still moves the last by {float(np.abs(dh).max()):.1e}")


if __name__ == "__main__":
    main()

"""A language model of characters: truncated back-propagation over long streams, perplexity, and sampling.

    python examples/char_lm.py                              # learns the language reference that comes with Python
    python examples/char_lm.py --text book.txt --steps 5000

Source: A. Karpathy, The unreasonable effectiveness of recurrent neural networks (2015); regularised as by S. Merity,
N. Keskar & R. Socher, Regularizing and optimizing LSTM language models, ICLR 2018.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rnncore import LSTM, Adam, Embedding, Linear, Params, clip_global_norm, softmax_cross_entropy
from rnncore.finite import check_finite
from rnncore.losses import log_softmax
from rnncore.params import join
from rnncore.stream import Truncated


class CharacterModel:
    """Embedding, LSTM layers, and a linear map to one logit a character."""

    def __init__(self, characters: int, hidden: int, layers: int, dropconnect: float, seed: int) -> None:
        dropout = 0.2 if layers > 1 else 0.0
        self.lstm = LSTM(32, hidden, layers=layers, dropout=dropout, dropconnect=dropconnect, seed=seed)
        self.embedding, self.head = Embedding(characters, 32, padding=None), Linear(hidden, characters)
        parts: dict[str, Embedding | Linear] = {"embedding": self.embedding, "head": self.head}
        self.params = Params(join({name: part.shapes() for name, part in parts.items()}))
        starts = {f"{name}.{n}": fill for name, part in parts.items() for n, fill in part.initialisers().items()}
        self.params.initialise(starts, seed)
        self.grads = self.params.like()

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """Return (..., 32) for the characters (...)."""
        rows: np.ndarray = self.embedding.forward(self.params.scope("embedding"), ids.ravel())
        return rows.reshape(*ids.shape, 32)

    def logits(self, output: np.ndarray) -> np.ndarray:
        """Return (N, characters) for the LSTM's output (..., H)."""
        flat = output.reshape(-1, output.shape[-1])
        logits: np.ndarray = self.head.forward(self.params.scope("head"), flat)
        return logits

    def loss(self, stream: Truncated, ids: np.ndarray, targets: np.ndarray, train: bool) -> float:
        """Run over one chunk (k, B) with carried state; with `train` the gradients are written."""
        self.lstm.training = train
        output = stream(self.embed(ids))
        loss, dlogits = softmax_cross_entropy(self.logits(output), targets.ravel())
        if train:
            grads, flat = self.grads, output.reshape(-1, output.shape[-1])
            doutput = self.head.backward(self.params.scope("head"), flat, dlogits, grads.scope("head"))
            assert doutput is not None
            dx, _ = self.lstm.backward(doutput.reshape(output.shape))
            assert dx is not None
            self.embedding.backward(
                self.params.scope("embedding"), ids.ravel(), dx.reshape(-1, 32), grads.scope("embedding")
            )
        return loss

    def sample(self, start: int, count: int, temperature: float, rng: np.random.Generator) -> list[int]:
        """Return `count` characters, each drawn by what the model expects after those before, one step at a time."""
        live, ids = self.lstm.stepper(batch=1), [start]
        for _ in range(count):
            logits = self.logits(live.step(self.embed(np.array(ids[-1:])))) / temperature
            p = np.exp(log_softmax(logits)[0].astype(np.float64))
            ids.append(int(rng.choice(len(p), p=p / p.sum())))
        return ids[1:]


def read(path: Path | None) -> str:
    """Return the text of a file, or of the language reference that every Python has."""
    if path is not None:
        return path.read_text("utf-8")
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def chunks(ids: np.ndarray, batch: int, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield characters (k, B) and those that follow them: the text is cut into B streams that are read side by side."""
    steps = (len(ids) - 1) // batch
    if steps < 1:
        raise SystemExit(f"a text of {len(ids)} characters is too short for {batch} streams; lower --batch")
    streams, following = (ids[k : k + steps * batch].reshape(batch, steps).T for k in (0, 1))
    for start in range(0, steps, length):
        yield streams[start : start + length], following[start : start + length]


def perplexity(model: CharacterModel, ids: np.ndarray) -> float:
    """Return the exponential of the mean loss a character, without noise."""
    stream, total, count = Truncated(model.lstm), 0.0, 0
    for x, y in chunks(ids, min(16, len(ids) - 1), 64):
        total, count = total + model.loss(stream, x, y, train=False) * y.size, count + y.size
    return math.exp(total / count)


def train(model: CharacterModel, ids: np.ndarray, held_out: np.ndarray, options: argparse.Namespace) -> None:
    """Take `options.steps` steps, over the text again and again."""
    optimisers = [Adam(params, options.learning_rate) for params in (model.params, model.lstm.params)]
    step, mean = 0, math.log(len(set(ids.tolist())))
    while step < options.steps:
        stream = Truncated(model.lstm)
        for x, y in chunks(ids, options.batch, options.length):
            loss = model.loss(stream, x, y, train=True)
            check_finite(step, loss, model.lstm.grads)
            clip_global_norm(model.lstm.grads, 1.0)
            for optimiser, grads in zip(optimisers, (model.grads, model.lstm.grads), strict=True):
                optimiser.step(grads.flat)
            mean, step = mean + 0.02 * (loss - mean), step + 1
            if step % max(1, options.steps // 10) == 0:
                print(f"step {step}: loss {mean:.3f}, perplexity held out {perplexity(model, held_out):.2f}")
            if step >= options.steps:
                return


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", type=Path, help="a file in UTF-8; Python's language reference when left out")
    parser.add_argument("--characters", type=int, help="use only so many of the text's first characters")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropconnect", type=float, default=0.2, help="rate of the zeros in every U")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32, help="streams that are read side by side")
    parser.add_argument("--length", type=int, default=64, help="steps that gradients go back")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--sample", type=int, default=400, help="characters to write at the end")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    text = read(options.text)[: options.characters]
    alphabet = sorted(set(text))
    ids = np.searchsorted(alphabet, list(text))
    cut = int(0.95 * len(ids))
    model = CharacterModel(len(alphabet), options.hidden, options.layers, options.dropconnect, options.seed)
    print(f"{len(text):,} characters, {len(alphabet)} different; {model.lstm}")
    train(model, ids[:cut], ids[cut:], options)
    written = model.sample(int(ids[0]), options.sample, options.temperature, np.random.default_rng(options.seed))
    print("".join(alphabet[k] for k in written))


if __name__ == "__main__":
    main()

"""A training step of the whole captioner, beside the same model in PyTorch, in turns within one run.

Everything that training does is in the time: dropout, the vocabulary's softmax, clipping, Adam. The competitors take
the same batches. PyTorch gets its better form: sequences padded, or packed; logits only where a word is predicted;
fused Adam. Before anything is timed both models are given equal parameters and must give equal losses.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import cycle, islice
from typing import Any
from unittest.mock import patch

from benchmarks.peers.corpus import Corpus, batches, find_corpus, fused, trainer
from benchmarks.record import has_fused
from benchmarks.rows import FUSED
from benchmarks.turns import Competitor, take_turns
from captioning import model as model_module
from captioning import network as network_module
from captioning.model import Batch
from captioning.train import Trainer
from rnncore.optim import clip_global_norm

#: By recipe, captions a batch, and what the ratio of times to PyTorch's should at most be, for the LSTM and the GRU.
BARS = {
    "paper": {15: (0.90, 0.65), 64: (0.65, 0.55), 256: (0.50, 0.45)},
    "default": {100: (1.0, 1.0)},
}
#: Different batches that a competitor goes through, and batches whose parts are timed.
DIFFERENT, PROFILED = 24, 60


def ours(trainer: Trainer) -> Callable[[Batch], float]:
    """Return our training step."""
    model, settings = trainer.model, trainer.settings

    def step(batch: Batch) -> float:
        loss = model.loss_and_gradients(batch)
        if settings.clip_norm:
            clip_global_norm(model.grads, settings.clip_norm)
        trainer.optimiser.step(model.grads.flat)
        return loss

    return step


def competitors(trainer: Trainer, captions: int) -> dict[str, Competitor]:
    """Return ours, fused and not, and PyTorch's two forms, each going round the same batches."""
    steps: dict[str, Callable[[Batch], float]] = {"ours": ours(trainer)}
    if has_fused():
        steps[FUSED] = ours(fused(trainer))
    if find_spec("torch") is not None:
        from benchmarks.peers.torch_captioner import TorchCaptioner

        for form in ("padded", "packed"):
            steps[f"torch {form}"] = TorchCaptioner(trainer, packed=form == "packed").training_step
    different = list(islice(batches(trainer, captions), DIFFERENT))

    def round_and_round(step: Callable[[Batch], float]) -> Callable[[], float]:
        endless = cycle(different)
        return lambda: step(next(endless))

    return {name: Competitor(round_and_round(step)) for name, step in steps.items()}


def measure(
    rounds: int,
    quick: bool = False,
    corpus: Corpus | None = None,
    there: Collection[tuple[str, int]] = (),
    recipe: str = "paper",
) -> Iterator[dict[str, Any]]:
    """Yield a row of a recipe for every cell and size of batch, but for those that are `there` already."""
    corpus = corpus or find_corpus()
    for captions, bars in list(BARS[recipe].items())[: 1 if quick else None]:
        for cell, bar in zip(("LSTM", "GRU"), bars, strict=True):
            if (cell, captions) in there:
                continue
            trained = trainer(corpus, cell, recipe)
            # A turn is DIFFERENT steps at most, so that all go through the same batches in one.
            seconds = take_turns(competitors(trained, captions), rounds, turn=0.4)
            yield {
                "work": "captioner's training step",
                "cell": cell,
                "captions": captions,
                "bar": bar,
                "data": corpus.dataset.name,
                "parameters": trained.model.parameter_counts()["total"],
                "seconds": seconds,
                "parts": profile(trained, captions),
                **({"parts fused": profile(fused(trained), captions)} if has_fused() else {}),
            }


def profile(trainer: Trainer, captions: int) -> dict[str, float]:
    """Return the share of each part in our own step."""
    step, different = ours(trainer), list(islice(batches(trainer, captions, seed=1), PROFILED))
    with timed_parts(trainer) as seconds:
        started = time.perf_counter()
        for batch in different:
            step(batch)
        whole = time.perf_counter() - started
    shares = {part: spent / whole for part, spent in sorted(seconds.items(), key=lambda item: -item[1])}
    return shares | {"ReLU, clipping and the rest": 1 - sum(shares.values())}


@contextmanager
def timed_parts(trainer: Trainer) -> Iterator[dict[str, float]]:
    """Add up the seconds that each part of our step takes, in the dict that is yielded."""
    seconds: dict[str, float] = defaultdict(float)

    def wrap(owner: Any, name: str, part: str) -> Any:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                seconds[part] += time.perf_counter() - started

        return patch.object(owner, name, timed)

    model = trainer.model
    parts = model.parts
    layers = {"picture": parts.entry.picture, "embedding": parts.embedding, **parts.head.parts()}
    patches = [wrap(layer, way, part) for part, layer in layers.items() for way in ("forward", "backward")]
    patches += [wrap(dropout, way, "dropout") for dropout in model.dropout.values() for way in ("forward", "backward")]
    patches += [wrap(network_module.sequence, way, f"cell {way}") for way in ("forward", "backward")]
    patches += [wrap(model_module, "softmax_cross_entropy", "softmax"), wrap(trainer.optimiser, "step", "optimiser")]
    for each in patches:
        each.start()
    try:
        yield seconds
    finally:
        for each in patches:
            each.stop()

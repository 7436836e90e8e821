"""One training epoch of the captioner, beside the same model in PyTorch, in turns within one run.

    python -m benchmarks.captioner_epoch --data Flickr8k/ --features features.npz --glove glove.6B.200d.txt \\
        --recipe paper --json benchmarks/results/captioner-paper.json

Everything that training does is in the time: dropout, the vocabulary's softmax, clipping, Adam. The competitors take
turns, a block of batches each, the same batches, so that the machine's moods hit all alike; between turns there is a
pause in which the other library's threads stop spinning. The ratio is the median over blocks. PyTorch gets its better
form: sequences padded, or packed; logits only where a word is predicted; fused Adam.
Before anything is timed both models are given equal parameters and must give equal losses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.torch_captioner import TorchCaptioner
from captioning import model as model_module
from captioning import network as network_module
from captioning.config import load_recipe, parse_override
from captioning.data import load_dataset
from captioning.model import Batch
from captioning.train import Trainer
from encoders import open_features
from rnncore.machine import command_line, describe_machine
from rnncore.optim import clip_global_norm

BLOCK, PAUSE, PROFILED = 25, 0.1, 60


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


def measure(trainer: Trainer, most: int | None) -> dict[str, Any]:
    """Run an epoch, or its first `most` batches, through every competitor in turn."""
    torch_models = {form: TorchCaptioner(trainer, packed=form == "packed") for form in ("padded", "packed")}
    steps = {"ours": ours(trainer)} | {form: each.training_step for form, each in torch_models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    batches = list(trainer.train_split.batches(trainer.settings.pictures_per_batch, np.random.default_rng(0)))[:most]
    size = min(BLOCK, max(1, len(batches) // 10))
    captions = 0
    for first in range(0, len(batches) - size + 1, size):
        block = batches[first : first + size]
        for name, step in steps.items():
            time.sleep(PAUSE)
            if not seconds[name]:
                step(block[0])  # the first step of all allocates
            started = time.perf_counter()
            for batch in block:
                step(batch)
            seconds[name].append(time.perf_counter() - started)
        captions += sum(batch.packing.batch for batch in block)
    better = min(torch_models, key=lambda form: statistics.median(seconds[form]))
    ratios = sorted(a / b for a, b in zip(seconds["ours"], seconds[better], strict=True))
    quarter = len(ratios) // 4
    return {
        "captions": captions,
        "batches_a_block": size,
        "blocks": len(ratios),
        "captions_per_second": {name: captions / sum(each) for name, each in seconds.items()},
        "median_ms_a_batch": {name: 1e3 * statistics.median(each) / size for name, each in seconds.items()},
        "torch_form": better,
        "ratio": {"median": statistics.median(ratios), "quartiles": [ratios[quarter], ratios[-1 - quarter]]},
    }


def profile(trainer: Trainer) -> dict[str, float]:
    """Return the share of each part in our own step."""
    step = ours(trainer)
    batches = trainer.train_split.batches(trainer.settings.pictures_per_batch, np.random.default_rng(1))
    with timed_parts(trainer) as seconds:
        started = time.perf_counter()
        for _, batch in zip(range(PROFILED), batches, strict=False):
            step(batch)
        whole = time.perf_counter() - started
    shares = {part: spent / whole for part, spent in sorted(seconds.items(), key=lambda item: -item[1])}
    return shares | {"batches, ReLU, clipping and the rest": 1 - sum(shares.values())}


def main() -> None:
    """Read the arguments, measure every cell, print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--glove", type=Path)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--batches", type=int, help="only so many batches of the epoch")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import torch

    recipe = load_recipe(args.recipe).with_overrides(dict(parse_override(text) for text in args.settings))
    dataset, features = load_dataset(args.data), open_features(args.features)
    result: dict[str, Any] = {
        "command": command_line("python -m benchmarks.captioner_epoch"),
        "machine": describe_machine() | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()},
        "recipe": recipe.to_dict(),
        "features": features.description,
        "cells": {},
    }
    for cell in ("LSTM", "GRU"):
        with tempfile.TemporaryDirectory() as folder:
            own = recipe.with_overrides({"model.cell": cell})
            trainer = Trainer(own, dataset, features, Path(folder), args.glove)
            measured = measure(trainer, args.batches)
            result["cells"][cell] = measured | {"parts": profile(trainer)}
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in measured["captions_per_second"].items())
        print(f"{cell}: captions/s {rates}; ours / torch {measured['torch_form']} {measured['ratio']['median']:.2f}")
        for part, share in result["cells"][cell]["parts"].items():
            print(f"    {part}: {100 * share:.0f} %")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

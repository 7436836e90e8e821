"""What training needs besides cells: optimisers, clipping, the loss, the vocabulary's projection, the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnncore import SGD, Adam, AdamW, Embedding, Linear, Params, clip_global_norm, softmax_cross_entropy

#: Of the paper's captioner, about: 1.8 million parameters; words a batch of 15, 64 and 256 captions; words known.
PARAMETERS, ROWS, WORDS, UNITS = 1_800_000, (150, 640, 2560), 1652, 256


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD])
@pytest.mark.benchmark(group="optimiser")
def test_optimiser(benchmark: Any, kind: Any) -> None:
    """A step over all parameters."""
    params = Params({"w": (PARAMETERS,)})
    grads = np.random.default_rng(0).standard_normal(PARAMETERS, np.float32)
    benchmark.extra_info.update(parameters=PARAMETERS, bytes=4 * PARAMETERS * (3 + 2 * len(kind.slots)))
    benchmark(kind(params, learning_rate=1e-3).step, grads)


@pytest.mark.benchmark(group="optimiser")
def test_clipping(benchmark: Any) -> None:
    """The norm of all gradients, which is under the bound."""
    grads = Params({"w": (PARAMETERS,)})
    grads.flat[...] = 1e-3
    benchmark.extra_info.update(parameters=PARAMETERS, bytes=4 * PARAMETERS)
    benchmark(clip_global_norm, grads, 1e9)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.benchmark(group="loss")
def test_softmax_cross_entropy(benchmark: Any, rows: int) -> None:
    """Loss and gradient of a batch of words."""
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((rows, WORDS), np.float32), rng.integers(0, WORDS, rows)
    benchmark.extra_info.update(rows=rows, words=WORDS, bytes=4 * rows * WORDS * 2)
    benchmark(softmax_cross_entropy, logits, targets)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.benchmark(group="layers")
def test_projection_to_the_vocabulary(benchmark: Any, rows: int) -> None:
    """Logits of a batch of words, and all gradients."""
    layer, rng = Linear(UNITS, WORDS), np.random.default_rng(0)
    params = Params(layer.shapes())
    params.initialise(layer.initialisers(), 0)
    grads, x = params.like(), rng.standard_normal((rows, UNITS), np.float32)
    dy = rng.standard_normal((rows, WORDS), np.float32)
    benchmark.extra_info.update(rows=rows, parameters=params.size, flops=3 * 2 * rows * UNITS * WORDS)

    def both_ways() -> None:
        layer.forward(params, x)
        layer.backward(params, x, dy, grads)

    benchmark(both_ways)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.benchmark(group="layers")
def test_embedding(benchmark: Any, rows: int) -> None:
    """Vectors of a batch of words, and their gradient, which few rows have."""
    layer, rng = Embedding(WORDS, UNITS, padding=0), np.random.default_rng(0)
    params = Params(layer.shapes())
    grads, ids = params.like(), rng.zipf(1.5, rows) % WORDS
    dy = rng.standard_normal((rows, UNITS), np.float32)
    benchmark.extra_info.update(rows=rows, parameters=params.size)

    def both_ways() -> None:
        layer.forward(params, ids)
        layer.backward(params, ids, dy, grads)

    benchmark(both_ways)

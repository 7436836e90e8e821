"""What a captioner costs: parameters, operations of its cell, memory of a training step."""

from __future__ import annotations

import tracemalloc

from captioning.evaluate import Evaluator
from captioning.model import Captioner
from captioning.setup import make_optimiser


def sizes(model: Captioner) -> dict[str, int]:
    """Return the parameters of model and cell, and the operations of the cell's products for a word, forward.

    A product with a matrix of n numbers counts 2n operations. Biases and the gates' functions are left out, and so is
    what attention does once a place. Of several layers it is the sum.
    """
    counts, layers = model.parameter_counts(), model.parts.layers
    weights = sum(array.size for layer in layers for array in model.params.scope(layer).values() if array.ndim == 2)
    cell = sum(counts[layer] for layer in layers)
    return {"parameters": counts["total"], "cell_parameters": cell, "cell_flop": 2 * weights}


def step_memory(evaluator: Evaluator) -> float | None:
    """Return the most memory of a training step in MiB: parameters, gradients, moments, activations of one batch.

    It is what NumPy asks for, as `tracemalloc` hears of it, on a batch of the evaluated split; None on a GPU.
    """
    if evaluator.model.xp.__name__ != "numpy":
        return None
    settings = evaluator.checkpoint.recipe.training
    batch = next(evaluator.split.batches(settings.pictures_per_batch))
    tracemalloc.start()
    try:
        model = evaluator.checkpoint.model()
        optimiser = make_optimiser(settings, model)
        model.loss_and_gradients(batch)
        optimiser.step(model.grads.flat)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()

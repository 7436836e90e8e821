"""The captioner's training from end to end, recipe `default`: captions a second and memory, by captions a batch.

A step makes its batch, and does all that training does: dropout, the vocabulary's softmax, clipping, Adam. PyTorch's
captioner (`benchmarks.peers.torch_captioner`) takes batches made the same way, its tensors the memory of our arrays;
it stands in both its forms, sequences padded and packed. Both models begin with equal parameters and must give equal
losses. 'tf32' holds for all products on both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.gpu.card import finish, finish_torch, peak_bytes, peak_bytes_torch, round_products
from benchmarks.peers.captioner import ours
from benchmarks.peers.corpus import Corpus, batches, trainer
from benchmarks.turns import Competitor, take_turns
from captioning.batch import Batch
from captioning.train import Trainer
from rnncore.array import module_for

CAPTIONS = (64, 256, 1024, 4096)
CELLS = ("LSTM", "GRU")
PRODUCTS = {"float32": "", "tf32": "TF32"}
#: How far the losses of the two models may be apart.
AGREE = {"float32": 1e-4, "tf32": 1e-2}
#: Steps after which memory has grown to what it will be: batches differ in their lengths.
STEPS = 5


def rows() -> Iterator[dict[str, Any]]:
    """Yield what names each row of the table."""
    for captions in CAPTIONS:
        for cell in CELLS:
            for products in PRODUCTS:
                yield {"cell": cell, "captions": captions, "products": products}


def measure(
    corpus: Corpus, torch: bool, *, cell: str, captions: int, products: str, device: str = "cuda", **options: Any
) -> dict[str, Any]:
    """Return the figures of a row: captions a second and peak bytes of each, and the ratio to PyTorch's better form."""
    name = cell if device == "cpu" else f"rnncore.kernels:Fused{cell}{PRODUCTS[products]}"
    trained = trainer(corpus, name, "default", device=device)
    work = endless(trained, captions, ours(trained), lambda: finish(device))
    sides = {"ours": Competitor(work, lambda: round_ours(products, device))}
    bytes_taken = {"ours": peak_bytes(device, lambda: [sides["ours"].first() for _ in range(STEPS)])}
    if torch:
        from benchmarks.peers.torch_captioner import TorchCaptioner

        round_products(products)  # for the losses that are compared when a captioner of PyTorch is made
        for form in ("padded", "packed"):
            step = TorchCaptioner(trained, packed=form == "packed", agree=AGREE[products]).training_step
            work = endless(trained, captions, step, lambda: finish_torch(device))
            side = sides[f"torch {form}"] = Competitor(work, lambda: round_products(products))
            bytes_taken[f"torch {form}"] = peak_bytes_torch(device, lambda s=side: [s.first() for _ in range(STEPS)])
    times = take_turns(sides, **options)
    seconds = {name: statistics.median(each) for name, each in times.items()}
    found: dict[str, Any] = {
        "data": corpus.dataset.name,
        "captions_per_second": {name: captions / each for name, each in seconds.items()},
        "peak_bytes": bytes_taken,
    }
    if torch:
        best = min((name for name in seconds if name != "ours"), key=lambda name: seconds[name])
        found |= {"best": best}
        found["ratio"] = statistics.median(a / b for a, b in zip(times["ours"], times[best], strict=True))
    return found


def endless(trained: Trainer, captions: int, step: Callable[[Batch], float], wait: Callable[[], None]) -> Any:
    """Return a call that makes the next batch, learns from it, and waits until that is done."""
    coming = batches(trained, captions)

    def call() -> float:
        loss = step(next(coming))
        wait()
        return loss

    return call


def round_ours(products: str, device: str) -> None:
    """Let CuPy's products, which all layers but the recurrent ones use, round their operands or not."""
    if device == "cuda":
        linalg = module_for(device)._core._routines_linalg  # CuPy has no public function for what CUPY_TF32=1 sets
        kind = linalg.COMPUTE_TYPE_TF32 if products == "tf32" else linalg.COMPUTE_TYPE_FP32
        linalg.set_compute_type(np.float32, kind)

"""The whole captioner: part of an epoch, and captions from a model that has learnt a little."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import Any

import pytest

from benchmarks.peers import captioner, decoding
from benchmarks.peers.corpus import batches, find_corpus, fused, trainer
from benchmarks.record import fused_kernels, has_fused
from captioning.train import Trainer

CELLS, STEPS = ("LSTM", "GRU", "LSTM-fused", "GRU-fused"), 20


@cache
def taught(cell: str) -> Trainer:
    """A model after some training, so that its captions end where captions end; or the same model, fused."""
    if cell.endswith("-fused"):
        if not has_fused():
            pytest.skip(str(fused_kernels()["why"]))
        return fused(taught(cell.removesuffix("-fused")))
    made = trainer(find_corpus(), cell)
    step = captioner.ours(made)
    for batch in islice(batches(made, 64), 100):
        step(batch)
    return made


@pytest.mark.parametrize("captions", captioner.BARS["paper"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.benchmark(group="captioner")
def test_part_of_an_epoch(benchmark: Any, cell: str, captions: int) -> None:
    """Training steps over different batches."""
    made = taught(cell)
    step, different = captioner.ours(made), list(islice(batches(made, captions), STEPS))

    def part() -> None:
        for batch in different:
            step(batch)

    benchmark.pedantic(part, rounds=5, warmup_rounds=1)
    words = sum(batch.packing.rows for batch in different)
    counts = made.model.parameter_counts()
    benchmark.extra_info.update(cell=cell, captions=STEPS * captions, words=words, parameters=counts["total"])


@pytest.mark.parametrize(("beam", "pictures"), decoding.BARS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.benchmark(group="decoding")
def test_decoding(benchmark: Any, cell: str, beam: int, pictures: int) -> None:
    """A search over pictures, greedy or by beam."""
    work = decoding.ours(taught(cell), beam, pictures)
    benchmark.pedantic(work, rounds=3 if pictures > 1 else 20, warmup_rounds=1)
    benchmark.extra_info.update(cell=cell, beam=beam, pictures=pictures)

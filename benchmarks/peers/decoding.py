"""Captions from a trained model, a picture: greedy and beam 3, a thousand pictures together and one alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.peers.captioner import ours as training_step
from benchmarks.peers.corpus import Corpus, batches, find_corpus, fused, trainer
from benchmarks.record import has_fused
from benchmarks.rows import FUSED, WHOLE_BEAMS
from benchmarks.turns import Competitor, take_turns
from captioning.decode import beam_search
from captioning.train import Trainer

#: (beam, pictures): what the ratio of times to PyTorch's should at most be.
BARS = {(1, 1000): 0.65, (3, 1000): 0.62, (1, 1): 1.0, (3, 1): 1.0}
#: Batches of training, about four epochs: the less a model has learnt, the more of its captions begin alike, and of
#: these the captioner's network runs but one.
TAUGHT, LONGEST = 2000, 34


def measure(
    rounds: int, quick: bool = False, corpus: Corpus | None = None, there: Collection[tuple[str, int, int]] = ()
) -> Iterator[dict[str, Any]]:
    """Yield a row for every cell, beam and number of pictures, but for those that are `there` already."""
    corpus = corpus or find_corpus()
    for cell in ("LSTM",) if quick else ("LSTM", "GRU"):
        if all((cell, *which) in there for which in BARS):
            continue
        taught = trainer(corpus, cell)
        step = training_step(taught)
        for batch in islice(batches(taught, 64), 5 if quick else TAUGHT):
            step(batch)
        for (beam, pictures), bar in BARS.items():
            if (cell, beam, pictures) in there:
                continue
            count = min(pictures, 50) if quick else pictures
            found = competitors(taught, beam, count)
            captions = {name: each.first() for name, each in found.items()}
            seconds = take_turns(found, rounds, turn=0.2)
            yield {
                "work": "decoding",
                "cell": cell,
                "beam": beam,
                "pictures": count,
                "bar": bar,
                "data": corpus.dataset.name,
                "words_a_caption": float(np.mean([len(caption) for caption in captions["ours"]])),
                "same_captions": agreement(captions),
                "beginnings": beginnings(captions["ours"]),
                "seconds": {name: [s / count for s in each] for name, each in seconds.items()},
            }


def ours(taught: Trainer, beam: int, pictures: int) -> Callable[[], list[tuple[int, ...]]]:
    """Return our search over training pictures; it gives the words of each best caption."""
    features = taught.train_split.features[:pictures]
    decoding = replace(taught.recipe.decoding, beam=beam, max_length=LONGEST, length_normalisation=0.0)

    def search() -> list[tuple[int, ...]]:
        found = beam_search(taught.model, features, taught.vocabulary, decoding)
        return [best[0].words for best in found]

    return search


def competitors(taught: Trainer, beam: int, pictures: int) -> dict[str, Competitor]:
    """Return our search, fused and not, and PyTorch's over the same pictures."""
    found = {"ours": Competitor(ours(taught, beam, pictures))}
    if has_fused():
        found[FUSED] = Competitor(ours(fused(taught), beam, pictures))
    if find_spec("torch") is not None:
        found |= _torch(taught, taught.train_split.features[:pictures], beam)
    return found


def agreement(captions: dict[str, list[tuple[int, ...]]]) -> float | None:
    """Return the share of pictures for which all competitors say the same; None where there is but one."""
    if len(captions) < 2:
        return None
    same = [len(set(each)) == 1 for each in zip(*captions.values(), strict=True)]
    return sum(same) / len(same)


def beginnings(captions: list[tuple[int, ...]]) -> float:
    """Return how many different beginnings captions have, as a share of all their beginnings."""
    found = [caption[:length] for caption in captions for length in range(len(caption) + 1)]
    return len(set(found)) / len(found)


def _torch(taught: Trainer, features: Any, beam: int) -> dict[str, Competitor]:
    import torch

    from benchmarks.peers.torch_captioner import TorchCaptioner
    from benchmarks.peers.torch_decoding import TorchDecoder
    from benchmarks.peers.torch_rnn import tuned

    model, vocabulary = TorchCaptioner(taught, packed=False), taught.vocabulary
    given = torch.from_numpy(np.ascontiguousarray(features.vectors))

    def competitor(whole_beams: bool) -> Competitor:
        decoder = TorchDecoder(model, vocabulary, beam, LONGEST, whole_beams)

        def search() -> list[tuple[int, ...]]:
            return [tuple(word for word in caption if word != vocabulary.end) for caption in decoder(given).tolist()]

        return tuned(search)

    return {"torch": competitor(False)} | ({WHOLE_BEAMS: competitor(True)} if beam > 1 else {})

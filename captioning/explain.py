"""Why these words: the probability of each, and where on the picture attention lay before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from captioning.batch import Batch, Pictures
from captioning.decode import Hypothesis
from captioning.ensemble import Ensemble, PicturesOfAll
from captioning.model import Captioner
from captioning.vocabulary import Vocabulary
from rnncore.array import to_host
from rnncore.losses import log_softmax
from rnncore.packing import Packing


class Word(NamedTuple):
    """One word of a caption, the end among them.

    probability : that the model gave it, after the words before. weights : of attention over the places of the grid,
    (rows, columns), adding up to 1; None where the model has no attention.
    """

    word: str
    probability: float
    weights: np.ndarray[Any, Any] | None


def explain(
    model: Captioner | Ensemble,
    pictures: Pictures | PicturesOfAll,
    captions: Sequence[Hypothesis],
    vocabulary: Vocabulary,
) -> list[list[Word]]:
    """Return the words of one caption a picture, each with its probability and attention's weights.

    An ensemble's are the means of its members' probabilities, and of the weights of those members that have attention.
    """
    order = sorted(range(len(captions)), key=lambda k: -len(captions[k].words))
    said = [(*captions[k].words, vocabulary.end) for k in order]
    packing = Packing([len(words) for words in said])
    ids = np.full((len(said), packing.steps + 1), vocabulary.start, np.intp)
    for k, words in enumerate(said):
        ids[k, 1 : len(words) + 1] = words
    xp, chances, maps = model.xp, [], []
    inputs, targets = (xp.asarray(packing.gather(ids, first)) for first in (0, 1))
    for member, own in _members(model, pictures):
        batch = Batch(own, xp.asarray(np.array(order)), inputs, targets, packing)
        log_p = log_softmax(member.logits(batch))
        chances.append(np.exp(to_host(log_p[xp.arange(packing.rows), targets]).astype(np.float64)))
        if member.looks:
            maps.append(member.weights(packing))
    chance = packing.unpack(np.mean(chances, axis=0)[:, None])[:, :, 0]
    weights = packing.unpack(np.mean(maps, axis=0)) if maps else None
    found: list[list[Word]] = [[] for _ in said]
    for row, words in enumerate(said):
        found[order[row]] = [
            Word(vocabulary.words[word], float(chance[t, row]), None if weights is None else weights[t, row])
            for t, word in enumerate(words)
        ]
    return found


def _members(model: Any, pictures: Any) -> list[tuple[Captioner, Pictures]]:
    """Return each captioner with its own pictures."""
    if isinstance(model, Ensemble):
        return list(zip(model.members, pictures.of, strict=True))
    return [(model, pictures)]

"""What the gates of a trained captioner do: runs over captions, interventions and their price, and the page.

A gate that is held is a `rnncore.study.Intervened` cell in the place of the model's own, for as long as `held` lasts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from captioning.checkpoint import Checkpoint, source_of
from captioning.corpus import Split, build_split, cleaning_of
from captioning.data import Dataset
from captioning.decode import beam_search
from captioning.errors import CaptioningError
from captioning.model import Captioner
from captioning.text import clean
from captioning.vocabulary import Vocabulary
from encoders import Features
from rnncore.array import to_host
from rnncore.cells.attention import Attention
from rnncore.losses import log_softmax
from rnncore.study import Clamp, Intervened, Run
from rnncore.study.intervene import Intervention

#: What stands at the step at which a model reads the picture as its first word.
PICTURE = "(picture)"

Following = list[list[tuple[str, float]]]


@dataclass(frozen=True)
class Studied:
    """A captioner and a split of pictures, under a name."""

    name: str
    model: Captioner
    split: Split
    vocabulary: Vocabulary
    checkpoint: Checkpoint

    @classmethod
    def of(cls, name: str, checkpoint: Checkpoint, dataset: Dataset, features: Features, split: str) -> Studied:
        """Build the model and its split; features that are not the model's own are refused."""
        checkpoint.refuse_features(source_of(features, checkpoint.recipe))
        model, vocabulary = checkpoint.model(), checkpoint.vocabulary
        arrays = build_split(dataset, split, checkpoint.recipe, vocabulary, features, model)
        return cls(name, model, arrays, vocabulary, checkpoint)

    def run(self, captions: np.ndarray[Any, Any] | Sequence[int], layer: int = -1) -> Run:
        """Return what a layer did over some of the split's captions, by their numbers, with the loss's gradients.

        Sequences are in the order of falling length, as they are batched.
        """
        batch = self.split.batch(np.asarray(captions, np.intp))
        self.model.loss_and_gradients(batch, train=False)
        network = self.model.network
        trace = network.traces[layer]
        assert trace is not None  # the pass above has left it
        ids = to_host(batch.packing.unpack(batch.inputs[:, None]))[..., 0]
        tokens = [[self.vocabulary.words[w] for w in ids[:n, b]] for b, n in enumerate(batch.packing.lengths)]
        if int(trace.packing.lengths[0]) == len(tokens[0]) + 1:
            tokens = [[PICTURE, *words] for words in tokens]
        return Run.from_trace(trace, network.params[layer], tokens, self.name)

    def first(self, pictures: int | None) -> Studied:
        """Return the same model with the first pictures of the split and their captions; all when None."""
        if pictures is None or pictures >= len(self.split.names):
            return self
        split, captions = self.split, slice(int(self.split.of_picture[pictures][0]))
        few = replace(
            split,
            names=split.names[:pictures],
            features=split.features[:pictures],
            ids=split.ids[captions],
            lengths=split.lengths[captions],
            of_picture=split.of_picture[:pictures],
            picture=split.picture[captions],
        )
        return replace(self, split=few)

    def reading(self, picture: int, words: Sequence[int]) -> Studied:
        """Return the same model with a split of one caption: these words, without markers, of a picture's number."""
        ids = [self.vocabulary.start, *words, self.vocabulary.end]
        one, zero = np.array([picture], np.intp), np.zeros(1, np.intp)
        split = replace(
            self.split,
            names=(self.split.names[picture],),
            features=self.split.features[self.model.xp.asarray(one)],
            ids=np.array([ids], np.intp),
            lengths=np.array([len(ids)], np.intp),
            of_picture=(zero,),
            picture=zero,
        )
        return replace(self, split=split)

    def following(self, most: int = 3) -> Following:
        """Return the likeliest next words, with their probabilities, at each step of the split's first caption."""
        log_p = to_host(log_softmax(self.model.logits(self.split.batch(np.zeros(1, np.intp)))))
        best = np.argsort(-log_p, axis=1, kind="stable")[:, :most]
        words = self.vocabulary.words
        return [[(words[w], float(np.exp(row[w]))) for w in places] for row, places in zip(log_p, best, strict=True)]

    def caption(self, picture: int) -> list[int]:
        """Return the numbers of the words that the model writes of a picture, greedily."""
        pictures = self.split.features[self.model.xp.asarray(np.array([picture], np.intp))]
        decoding = replace(self.checkpoint.recipe.decoding, beam=1)
        (best,) = beam_search(self.model, pictures, self.vocabulary, decoding)
        return list(best[0].words)

    def words_of(self, text: str) -> list[int]:
        """Return the numbers of a sentence's words, cleaned as the model's captions were.

        Raises
        ------
        CaptioningError
            If a word is not in the vocabulary; near ones are named.
        """
        said = clean(text, cleaning_of(self.checkpoint.recipe))
        for word in said:
            if word not in self.vocabulary.index:
                near = difflib.get_close_matches(word, self.vocabulary.words, n=3)
                hint = f"; near it: {', '.join(near)}" if near else ""
                raise CaptioningError(f"{word!r} is not in the vocabulary of {len(self.vocabulary):,} words{hint}")
        longest = self.checkpoint.recipe.text.max_length - 2
        if len(said) > longest:
            raise CaptioningError(f"a caption has at most {longest} words here, got {len(said)}")
        return [self.vocabulary.index[word] for word in said]

    def picture_number(self, name: str) -> int:
        """Return the place of a picture in the split."""
        if name not in self.split.names:
            near = difflib.get_close_matches(name, self.split.names, n=1)
            raise CaptioningError(f"no picture {name!r} in this split; did you mean {near or self.split.names[:1]}?")
        return self.split.names.index(name)


@contextmanager
def held(model: Captioner, interventions: Sequence[Intervention], layer: int = -1) -> Iterator[None]:
    """Hold gates of a layer of the model, in losses and in decoding, until the block ends."""
    cells = list(model.network.cells)
    if interventions and isinstance(cells[layer], Attention):
        raise CaptioningError("gates beside attention cannot be held from outside; study a model without attention")
    if interventions:
        changed = list(cells)
        changed[layer] = Intervened(cells[layer], interventions)
        model.network.cells = changed
    try:
        yield
    finally:
        model.network.cells = cells


def clamps_of(asked: Sequence[Mapping[str, Any]]) -> list[Clamp]:
    """Return the clamps that the page asks for."""
    found = []
    for each in asked:
        units = each.get("units")
        found.append(Clamp(str(each["gate"]), float(each["value"]), None if units is None else [int(k) for k in units]))
    return found


def picture_file(dataset: Dataset, name: str) -> Path | None:
    """Return the file of a picture, None where only its features are there."""
    path = None if dataset.pictures is None else dataset.pictures / name
    return path if path is not None and path.is_file() else None

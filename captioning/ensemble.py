"""Several trained captioners that speak as one: the mean of their probabilities at every word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from captioning.batch import Batch, Pictures
from captioning.checkpoint import Checkpoint, FeatureSource, load_checkpoint
from captioning.errors import CaptioningError
from captioning.grid import Grids
from captioning.model import Captioner
from captioning.stepping import State
from captioning.vocabulary import Vocabulary
from rnncore.array import Array
from rnncore.losses import log_softmax

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class PicturesOfAll:
    """The same pictures as each member has prepared them."""

    of: tuple[Pictures, ...]

    def __len__(self) -> int:
        return len(self.of[0])

    @property
    def xp(self) -> ModuleType:
        """numpy or cupy."""
        return self.of[0].xp

    def __getitem__(self, rows: slice | Array) -> PicturesOfAll:
        return PicturesOfAll(tuple(pictures[rows] for pictures in self.of))


@dataclass(frozen=True)
class StateOfAll:
    """Where each member stands."""

    of: tuple[State, ...]

    def select(self, rows: Array) -> StateOfAll:
        """Return the state of the captions `rows`."""
        return StateOfAll(tuple(state.select(rows) for state in self.of))


class Ensemble:
    """Captioners of one vocabulary, decoded and measured as if they were one.

    .. math:: p(w \\mid \\text{picture, words so far}) = \\tfrac1M \\sum_m p_m(w \\mid \\text{picture, words so far})
    """

    def __init__(self, members: Sequence[Captioner]) -> None:
        self.members = tuple(members)
        self.xp = members[0].xp

    @property
    def looks(self) -> bool:
        """Whether any member looks at the grid."""
        return any(member.looks for member in self.members)

    def prepare(self, vectors: np.ndarray[Any, Any], grids: Grids | None = None) -> PicturesOfAll:
        """Return pictures as each member takes them."""
        return PicturesOfAll(tuple(member.prepare(vectors, grids) for member in self.members))

    def start(self, pictures: PicturesOfAll) -> StateOfAll:
        """Return the state before the first word."""
        return StateOfAll(tuple(m.start(own) for m, own in zip(self.members, pictures.of, strict=True)))

    def step(self, state: StateOfAll, words: Array) -> tuple[Array, StateOfAll]:
        """Read one word a caption and return the logarithm of the mean probabilities, (B, V), and the new state."""
        found = [m.step(own, words) for m, own in zip(self.members, state.of, strict=True)]
        return self._mean([log_p for log_p, _ in found]), StateOfAll(tuple(after for _, after in found))

    def loss(self, batch: Batch) -> float:
        """Return the mean loss in nats a word; the batch's pictures are those of all members."""
        everyone: Any = batch.pictures
        found = [
            log_softmax(m.logits(replace(batch, pictures=own)))
            for m, own in zip(self.members, everyone.of, strict=True)
        ]
        return -float(self._mean(found)[self.xp.arange(len(batch.targets)), batch.targets].mean())

    def _mean(self, log_p: list[Array]) -> Array:
        """Return the logarithm of the mean of probabilities, (R, V), overwriting them."""
        highest = log_p[0].copy()
        for each in log_p[1:]:
            self.xp.maximum(highest, each, out=highest)
        total = self.xp.zeros_like(highest)
        for each in log_p:
            each -= highest
            total += self.xp.exp(each, out=each)
        total /= len(log_p)
        return self.xp.log(total, out=total) + highest


@dataclass
class EnsembleCheckpoint(Checkpoint):
    """The checkpoints of an ensemble; what they share is that of the first."""

    members: tuple[Checkpoint, ...] = field(default=())

    def model(self, device: str = "cpu") -> Any:
        """Return the ensemble of their models."""
        return Ensemble([member.model(device) for member in self.members])

    def refuse_other(self, vocabulary: Vocabulary, features: FeatureSource) -> None:
        """Raise CaptioningError unless vocabulary and features are those of every member."""
        for member in self.members:
            member.refuse_other(vocabulary, features)

    def refuse_features(self, features: FeatureSource) -> None:
        """Raise CaptioningError unless the features are those of every member."""
        for member in self.members:
            member.refuse_features(features)


def open_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a file, that of a run's folder, or of a folder of runs the ensemble of all of them.

    Raises
    ------
    CaptioningError
        If there is none, or the runs in a folder have different vocabularies.
    """
    files = sorted(path.glob(f"*/{CHECKPOINT}"))
    if not path.is_dir() or (path / CHECKPOINT).exists() or not files:
        return load_checkpoint(path / CHECKPOINT if path.is_dir() else path)
    members = tuple(load_checkpoint(file) for file in files)
    first = members[0]
    for other in members[1:]:
        if other.vocabulary.hash != first.vocabulary.hash:
            raise CaptioningError(
                f"an ensemble needs one vocabulary: that of {first.path} is {first.vocabulary.hash}, that of "
                f"{other.path} is {other.vocabulary.hash}"
            )
    looking = next((m for m in members if m.features.grid is not None), first)
    return EnsembleCheckpoint(
        looking.recipe, first.vocabulary, looking.features, first.best_epoch, path=path, members=members
    )

"""Character-level text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncore.tasks.base import Baseline, Batch, Task, at_least, one_hot

HELD_OUT = 0.1  # the end of the text


class Corpus(NamedTuple):
    """A text as numbers of its alphabet: what is learned from, and the end, which is held out."""

    alphabet: str
    train: np.ndarray[Any, Any]
    held_out: np.ndarray[Any, Any]
    fingerprint: str


@dataclass(frozen=True)
class Text(Task):
    r"""Predict the next character of a text, from windows drawn anywhere in it; its last tenth is held out.

    The baseline knows how frequent each character is and nothing else. With :math:`p` from the part to learn from, a
    count of one added to each so that none is zero, and :math:`q` the frequencies of the part held out,

    .. math:: L = -\sum_k q_k \ln p_k \text{ nats a character}, \qquad \text{error } 1 - q_{\arg\max p}.

    path : of a file in UTF-8; the language reference that comes with every Python when empty. length : T of a window.

    Source: A. Karpathy, J. Johnson & L. Fei-Fei, Visualizing and understanding recurrent networks, arXiv 1506.02078
    (2015), for the task. `examples/char_lm.py` carries the state from chunk to chunk and writes text.
    """

    path: str = ""
    length: int = 64

    name = "text"
    measure = "share of wrong characters"
    solved = None
    source = "Karpathy, Johnson & Fei-Fei 2015"

    def __post_init__(self) -> None:
        at_least(self.name, "length", self.length, 1, "a window needs a character")

    @property
    def corpus(self) -> Corpus:
        """The text."""
        return _corpus(self.path, self.length)

    @property
    def input_size(self) -> int:
        """D: the alphabet."""
        return len(self.corpus.alphabet)

    @property
    def output_size(self) -> int:
        """K: the alphabet."""
        return len(self.corpus.alphabet)

    def settings(self) -> dict[str, Any]:
        """Return also a fingerprint of the text: another text under the same name is another task."""
        return {**super().settings(), "fingerprint": self.corpus.fingerprint}

    def baseline(self) -> Baseline:
        """Return what the frequencies of single characters reach."""
        corpus, size = self.corpus, self.output_size
        counts = np.bincount(corpus.train, minlength=size) + 1
        q = np.bincount(corpus.held_out, minlength=size) / len(corpus.held_out)
        return Baseline(float(-(q @ np.log(counts / counts.sum()))), float(1 - q[counts.argmax()]), "frequencies alone")

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """Return one-hot characters (T, B, K) of random windows, and those that follow them (T, B)."""
        return self._windows(self.corpus.train, rng, size)

    def held_out(self, rng: np.random.Generator, size: int) -> Batch:
        """Return windows of the end of the text."""
        return self._windows(self.corpus.held_out, rng, size)

    def _windows(self, ids: np.ndarray[Any, Any], rng: np.random.Generator, size: int) -> Batch:
        starts = rng.integers(0, len(ids) - self.length, size)
        window = ids[starts + np.arange(self.length + 1)[:, None]]
        return Batch(one_hot(window[:-1], self.output_size), window[1:], at_end=False)


@lru_cache(maxsize=4)
def _corpus(path: str, length: int) -> Corpus:
    """Read and number a text.

    Raises
    ------
    ValueError, OSError
        If it cannot be read, is not UTF-8, or is too short for a window in its last tenth.
    """
    try:
        text = Path(path).read_text("utf-8") if path else _reference()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (at byte {error.start}); save the text as UTF-8") from error
    alphabet = "".join(sorted(set(text)))
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    ids = np.searchsorted(np.frombuffer(alphabet.encode("utf-32-le"), np.uint32), codes)
    cut = int(len(ids) * (1 - HELD_OUT))
    if len(ids) - cut <= length:
        raise ValueError(
            f"{path or 'the text'} has {len(ids):,} characters, of which the last {len(ids) - cut} are held out: too "
            f"few for a window of length {length} and the character after it; take a longer text or a smaller length"
        )
    return Corpus(alphabet, ids[:cut], ids[cut:], hashlib.sha256(text.encode()).hexdigest()[:16])


def _reference() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics.values())

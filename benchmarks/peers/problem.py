"""The work that all competitors do: the same layer, the same numbers; and the check that they do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.turns import Competitor
from rnncore import GRU, LSTM, Packing
from rnncore.interop.pytorch import to_pytorch

LAYERS: dict[str, Callable[..., LSTM | GRU]] = {"LSTM": LSTM, "GRU": GRU}

#: How many of Flickr8k's 30,000 training captions are a sequence of 2, 3, 4, ... steps for the captioner: the words of
#: recipe `paper` that are in its vocabulary, and one marker. Counted in Flickr8k.token.txt.
CAPTION_LENGTHS = (35, 154, 563, 1354, 2429, 3308, 3833, 3881, 3538, 3033, 2353, 1736, 1296, 877, 575, 363, 241, 160)
CAPTION_LENGTHS += (107, 52, 44, 29, 13, 12, 6, 6, 0, 1, 1)


@dataclass(frozen=True)
class Problem:
    """A layer of one cell over a batch; the numbers follow from the shape alone.

    mixed : whether the sequences' lengths are distributed as Flickr8k's captions; T is then the longest.
    """

    cell: str
    T: int
    B: int
    D: int
    H: int
    mixed: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """T, B, D, H."""
        return self.T, self.B, self.D, self.H

    @cached_property
    def layer(self) -> LSTM | GRU:
        """Our layer, with the values that all start from."""
        return LAYERS[self.cell](self.D, self.H, seed=1)

    @cached_property
    def fused_layer(self) -> LSTM | GRU:
        """The same layer, its steps fused kernels."""
        return LAYERS[self.cell](self.D, self.H, seed=1, fused=True)

    def layer_of(self, fused: bool) -> LSTM | GRU:
        """Our layer in one of its two ways."""
        return self.fused_layer if fused else self.layer

    @cached_property
    def torch_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """Those values under PyTorch's names."""
        return to_pytorch(self.layer)

    @cached_property
    def packing(self) -> Packing:
        """The lengths, longest first, as every library is quickest with."""
        if not self.mixed:
            return Packing.dense(self.T, self.B)
        return Packing(caption_lengths(self.B, self.T), self.T)

    @cached_property
    def x(self) -> np.ndarray[Any, Any]:
        """(T, B, D) of standard normal numbers."""
        return np.random.default_rng(2).standard_normal((self.T, self.B, self.D), np.float32)

    @cached_property
    def dy(self) -> np.ndarray[Any, Any]:
        """(T, B, H): the gradient of the output that training starts from."""
        return np.random.default_rng(3).standard_normal((self.T, self.B, self.H), np.float32)

    def check(self, competitors: Mapping[str, Competitor]) -> None:
        """Raise RuntimeError unless all competitors' calls return equal arrays, up to rounding."""
        names = list(competitors)
        results = {name: [np.asarray(a) for a in competitors[name].first()] for name in names}
        for name in names[1:]:
            for k, (mine, theirs) in enumerate(zip(results[names[0]], results[name], strict=False)):
                scale = np.abs(mine).max()
                if mine.shape != theirs.shape or not np.abs(mine - theirs).max() <= 1e-3 * scale:
                    raise RuntimeError(f"{self}: array {k} of {name} is not that of {names[0]}; nothing is timed")


def caption_lengths(count: int, longest: int = 30) -> np.ndarray[Any, Any]:
    """Return `count` lengths, falling, at even distances through Flickr8k's distribution."""
    everything = np.repeat(np.arange(2, 2 + len(CAPTION_LENGTHS)), CAPTION_LENGTHS)
    chosen = everything[((np.arange(count) + 0.5) * len(everything) / count).astype(int)]
    return np.minimum(chosen, longest)[::-1].copy()

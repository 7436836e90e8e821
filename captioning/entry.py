"""Where the picture's vector enters the captioner: after the network, or in it, in one of three places.

    merge-add, merge-concatenate   to what the network puts out, at every word
    init                           as the state before the first word
    pre                            as the first word
    par                            beside every word

Each has a `Linear` of the picture and a function after it, and says what the network reads, where it begins, and what
the vocabulary's layers see; a step forward stands beside its step backward.

Source: M. Tanti, A. Gatt & K. Camilleri, Where to put the image in an image caption generator, Natural Language
Engineering 24 (2018), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rnncore.array import Array, array_module
from rnncore.layers import Linear, relu, relu_backward
from rnncore.packing import Packing

States = tuple[Array, ...]


class Sizes(NamedTuple):
    """The numbers in a picture's vector, in a word's, and in each state of each of the network's layers."""

    picture: int
    word: int
    states: tuple[tuple[int, ...], ...]

    @property
    def output(self) -> int:
        """Numbers that the network puts out at a word: the first state of the last layer."""
        return self.states[-1][0]


class Entry:
    """A picture that enters nowhere; each kind says where it does.

    picture : the layer that makes v (B, K) of the prepared vectors (B, F).
    reads : numbers that the network reads a word. merged : numbers that the vocabulary's layers see a word.
    in_input : whether v is in what the network reads.
    after : whether v enters after the network, whose states then depend on the words alone.
    """

    in_input = False
    after = False

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.picture = Linear(sizes.picture, self.width())
        self.reads, self.merged = sizes.word, sizes.output

    def width(self) -> int:
        """Return K."""
        return self.sizes.output

    def project(self, p: Mapping[str, Array], vectors: Array) -> Array:
        """Return v (B, K)."""
        return self.picture.forward(p, vectors)

    def project_backward(
        self, p: Mapping[str, Array], vectors: Array, v: Array, dv: Array, grads: Mapping[str, Array]
    ) -> None:
        """Write the gradients of the layer."""
        self.picture.backward(p, vectors, dv, grads, need_dx=False)

    def first(self, v: Array) -> Array | None:
        """Return what the network reads before the first word, (B, E)."""
        return None

    def states(self, v: Array) -> list[States] | None:
        """Return the states of every layer before that, (B, H) each; zeros when None."""
        return None

    def states_backward(self, dstates: Sequence[States]) -> Array | None:
        """Return dv from the gradients of those states."""
        return None

    def read(self, v: Array, words: Array, packing: Packing) -> Array:
        """Return what the network reads, (N, reads), of the words (N, E)."""
        return words

    def read_backward(self, dx: Array, packing: Packing) -> tuple[Array, Array | None]:
        """Return the gradient of the words, and dv."""
        return dx, None

    def merge(self, v: Array, h: Array, packing: Packing, out: Array) -> Array:
        """Return what the vocabulary's layers see, (N, merged), of the network's output h (N, H); `out` may be used."""
        return h

    def merge_backward(self, dmerged: Array, packing: Packing) -> tuple[Array, Array | None]:
        """Return dh (N, H) and dv."""
        return dmerged, None

    def split(self, W: Array) -> tuple[Array, Array]:
        """Return U and V of W merge(v, h) = U h + V v, where v enters after the network."""
        raise NotImplementedError(f"{type(self).__name__}: v enters in the network or before it")


class _Relu(Entry):
    """v goes through ReLU."""

    def project(self, p: Mapping[str, Array], vectors: Array) -> Array:
        v = super().project(p, vectors)
        return relu(v, out=v)

    def project_backward(
        self, p: Mapping[str, Array], vectors: Array, v: Array, dv: Array, grads: Mapping[str, Array]
    ) -> None:
        super().project_backward(p, vectors, v, relu_backward(v, dv, out=dv), grads)


class MergeAdd(_Relu):
    """Added to the output: v + h."""

    after = True

    def split(self, W: Array) -> tuple[Array, Array]:
        return W, W

    def merge(self, v: Array, h: Array, packing: Packing, out: Array) -> Array:
        merged = packing.spread(v, out=out)
        merged += h
        return merged

    def merge_backward(self, dmerged: Array, packing: Packing) -> tuple[Array, Array | None]:
        return dmerged, packing.sum_over_time(dmerged)


class MergeConcatenate(_Relu):
    """Beside the output: [h, v]."""

    after = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.merged = sizes.output + self.width()

    def split(self, W: Array) -> tuple[Array, Array]:
        return W[:, : self.sizes.output], W[:, self.sizes.output :]

    def merge(self, v: Array, h: Array, packing: Packing, out: Array) -> Array:
        out[:, : h.shape[1]] = h
        out[:, h.shape[1] :] = packing.spread(v)
        return out

    def merge_backward(self, dmerged: Array, packing: Packing) -> tuple[Array, Array | None]:
        xp, H = array_module(dmerged), self.sizes.output
        return xp.ascontiguousarray(dmerged[:, :H]), packing.sum_over_time(dmerged[:, H:])


class Init(Entry):
    """The state before the first word: every state of every layer is a part of v, which goes through tanh."""

    def width(self) -> int:
        return sum(sum(layer) for layer in self.sizes.states)

    def project(self, p: Mapping[str, Array], vectors: Array) -> Array:
        v = super().project(p, vectors)
        return array_module(v).tanh(v, out=v)

    def project_backward(
        self, p: Mapping[str, Array], vectors: Array, v: Array, dv: Array, grads: Mapping[str, Array]
    ) -> None:
        super().project_backward(p, vectors, v, dv * (1 - v * v), grads)

    def states(self, v: Array) -> list[States] | None:
        found, start = [], 0
        for layer in self.sizes.states:
            ends = [start + sum(layer[: k + 1]) for k in range(len(layer))]
            found.append(tuple(v[:, end - size : end] for end, size in zip(ends, layer, strict=True)))
            start = ends[-1]
        return found

    def states_backward(self, dstates: Sequence[States]) -> Array | None:
        parts = [d for layer in dstates for d in layer]
        return array_module(*parts).concatenate(parts, axis=1)


class Pre(Entry):
    """The first word: the network reads v, then the caption."""

    in_input = True

    def width(self) -> int:
        return self.sizes.word

    def first(self, v: Array) -> Array | None:
        return v


class Par(_Relu):
    """Beside every word: [x, v]."""

    in_input = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.reads = sizes.word + self.width()

    def width(self) -> int:
        return self.sizes.word

    def read(self, v: Array, words: Array, packing: Packing) -> Array:
        return array_module(v, words).concatenate([words, packing.spread(v)], axis=1)

    def read_backward(self, dx: Array, packing: Packing) -> tuple[Array, Array | None]:
        E = self.sizes.word
        return array_module(dx).ascontiguousarray(dx[:, :E]), packing.sum_over_time(dx[:, E:])


KINDS: dict[str, type[Entry]] = {
    "merge-add": MergeAdd,
    "merge-concatenate": MergeConcatenate,
    "init": Init,
    "pre": Pre,
    "par": Par,
}
ENTRIES = tuple(KINDS)

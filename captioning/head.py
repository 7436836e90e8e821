"""From what the network puts out to the logits of the vocabulary: an optional layer, dropout, and one row a word."""

from __future__ import annotations

from collections.abc import Mapping

from rnncore.array import Array, array_module
from rnncore.layers import Linear, relu, relu_backward

ACTIVATIONS = ("relu", "tanh", "none")
Parts = Mapping[str, Mapping[str, Array]]


class Head:
    """merged (N, M) -> Linear, activation -> dropout -> W x + b, where W may be the embedding.

    merged, dense, words : M, units between (0 for none), and the size of the vocabulary.
    tied : the part 'words' has no W of its own then; it is `embedding.E`, whose rows are as long as what it meets.
    """

    def __init__(self, merged: int, dense: int, words: int, activation: str, tied: bool) -> None:
        self.dense = Linear(merged, dense) if dense else None
        self.words = Linear(dense or merged, words)
        self.activation, self.tied = activation, tied

    def parts(self) -> dict[str, Linear]:
        """Return the layers by the names of their parts."""
        return ({"dense": self.dense} if self.dense else {}) | {"words": self.words}

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return the shapes of each part's parameters."""
        shapes = {part: layer.shapes() for part, layer in self.parts().items()}
        if self.tied:
            del shapes["words"]["W"]
        return shapes

    def before(self, p: Parts, merged: Array, out: Array | None = None) -> Array:
        """Return what dropout is applied to, (N, dense), in `out` if it is given."""
        if self.dense is None:
            return merged
        return self.activate(self.dense.forward(p["dense"], merged, out=out))

    def activate(self, dense: Array) -> Array:
        """Apply the function between the two layers, in place."""
        if self.activation == "relu":
            relu(dense, out=dense)
        elif self.activation == "tanh":
            array_module(dense).tanh(dense, out=dense)
        return dense

    def before_backward(self, p: Parts, merged: Array, dense: Array, d: Array, g: Parts) -> Array:
        """Return the gradient of `merged` from that of `before`, which is used up; write the layer's."""
        if self.dense is None:
            return d
        if self.activation == "relu":
            relu_backward(dense, d, out=d)
        elif self.activation == "tanh":
            d *= 1 - dense * dense
        dmerged = self.dense.backward(p["dense"], merged, d, g["dense"])
        assert dmerged is not None
        return dmerged

    def logits(self, p: Parts, hidden: Array, out: Array | None = None) -> Array:
        """Return the logits (N, V), in `out` if it is given."""
        return self.words.forward(self._weights(p), hidden, out=out)

    def logits_backward(self, p: Parts, hidden: Array, dlogits: Array, g: Parts, dE: Array | None) -> Array:
        """Return the gradient of `hidden`; write that of the vocabulary's matrix, where it is tied into `dE`."""
        grads = {**g["words"], "W": dE} if self.tied else g["words"]
        dhidden = self.words.backward(self._weights(p), hidden, dlogits, grads)
        assert dhidden is not None
        return dhidden

    def _weights(self, p: Parts) -> Mapping[str, Array]:
        return {**p["words"], "W": p["embedding"]["E"]} if self.tied else p["words"]

"""The merge model: the picture meets the sentence after the recurrent network (Tanti et al. 2018, figure 2b).

    picture (2048) -> dropout -> Linear, ReLU --------+
                                                      add -> Linear, ReLU -> dropout -> Linear -> softmax
    words -> Embedding -> dropout -> LSTM or GRU -----+

The network runs once over a caption and predicts a word at every step. All rows are packed: nothing is computed for
padding, in the vocabulary's softmax least of all. Forward and backward are written out side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from captioning.config import Recipe
from captioning.errors import CaptioningError
from rnncore import sequence
from rnncore.array import Array, Workspace, module_for
from rnncore.cells import find_cell
from rnncore.layers import Dropout, Embedding, Linear, relu, relu_backward
from rnncore.losses import log_softmax, softmax_cross_entropy
from rnncore.packing import Packing
from rnncore.params import Params, Shapes, join
from rnncore.trace import Trace


@dataclass(frozen=True)
class Batch:
    """Captions as the model trains on them, N = sum of their lengths without the last word.

    features (B, F) prepared by `Captioner.prepare`, one row a caption; inputs and targets (N,) word numbers, packed:
    the word at each step, and the one after it.
    """

    features: Array
    inputs: Array
    targets: Array
    packing: Packing


class State(NamedTuple):
    """Where the decoding of some captions stands: the pictures (B, H) and the cell's states (B, H) each."""

    picture: Array
    cell: tuple[Array, ...]

    def select(self, rows: Array) -> State:
        """Return the state of the captions `rows`, which may repeat: beam search goes on from these."""
        return State(self.picture[rows], tuple(s[rows] for s in self.cell))


class _Activations(NamedTuple):
    """What the backward pass needs of the forward pass, beside the trace."""

    features: Array
    picture: Array
    embedded_mask: Array | None
    merged: Array
    dense: Array
    hidden: Array
    hidden_mask: Array | None
    logits: Array


class Captioner:
    """The captioning model of a recipe: parameters, gradients, loss, and single steps for decoding.

    Parameters
    ----------
    recipe : sizes, cell, dropout rates, and the seed of parameters and dropout.
    words : size of the vocabulary. features : numbers a picture.
    vectors : (words, size) first values of the embedding; needed if the recipe says 'glove'.
    dtype : float32, or float64 for gradient checks.
    device : 'cpu' or 'cuda'.
    tensors : every parameter and constant of a trained model, by name, in place of first values.

    Attributes
    ----------
    params, grads : all that is trained, and its gradients, one flat buffer each.
    constants : what is not: a frozen embedding, and the mean and deviation of the features.
    """

    def __init__(
        self,
        recipe: Recipe,
        words: int,
        features: int,
        vectors: np.ndarray[Any, Any] | None = None,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
        tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ) -> None:
        model, size, seed = recipe.model, recipe.embedding.size, recipe.training.seed
        self.xp = module_for(device)
        self.cell = find_cell(model.cell)
        self.picture = Linear(features, model.hidden)
        self.embedding = Embedding(words, size, padding=0)
        self.dense = Linear(model.hidden, model.dense)
        self.words = Linear(model.dense, words)
        rates = (model.picture_dropout, model.word_dropout, model.output_dropout)
        self.dropout = tuple(Dropout(rate, seed=3 * seed + k) for k, rate in enumerate(rates))
        self.trains_embedding = recipe.embedding.train

        parts: dict[str, Shapes] = {"picture": self.picture.shapes(), "rnn": self.cell.shapes(size, model.hidden)}
        parts |= {"dense": self.dense.shapes(), "words": self.words.shapes()}
        fixed: dict[str, Shapes] = {"picture": {"mean": (features,), "deviation": (features,)}}
        (parts if self.trains_embedding else fixed)["embedding"] = self.embedding.shapes()
        self.params = Params(join(parts), dtype, self.xp)
        self.constants = Params(join(fixed), dtype, self.xp)
        self.grads = self.params.like()
        if tensors is None:
            self._initialise(seed, vectors, glove=recipe.embedding.vectors == "glove")
        else:
            self._assign(tensors)
        self._p = {part: {**self.params.scope(part), **self.constants.scope(part)} for part in (*parts, *fixed)}
        self._g = {part: self.grads.scope(part) for part in parts}
        self._memory = Workspace(dtype, self.xp)
        self._stepper = sequence.Stepper(self.cell, self._p["rnn"])
        self.trace: Trace | None = None

    def _initialise(self, seed: int, vectors: np.ndarray[Any, Any] | None, glove: bool) -> None:
        """Each part draws from a generator of its own, so that two cells start from equal other parts."""
        makers: dict[str, Any] = {"picture": self.picture, "embedding": self.embedding, "rnn": self.cell}
        makers |= {"dense": self.dense, "words": self.words}
        for home in (self.params, self.constants):
            for k, (part, maker) in enumerate(makers.items()):
                rng = np.random.default_rng([seed, k])
                for name, fill in maker.initialisers().items():
                    if (view := home.get(f"{part}.{name}")) is not None:
                        view[...] = self.xp.asarray(fill(rng, view.shape))
        self.constants["picture.deviation"][...] = 1
        if not glove:
            return
        table = self.params.get("embedding.E", self.constants.get("embedding.E"))
        if vectors is None or vectors.shape != table.shape:
            got = "none" if vectors is None else f"an array of shape {vectors.shape}"
            raise CaptioningError(
                f"the recipe needs GloVe vectors of shape {table.shape}, got {got}: give --glove FILE"
            )
        table[...] = self.xp.asarray(vectors)

    def _assign(self, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for home in (self.params, self.constants):
            missing = [name for name in home if name not in tensors]
            if missing:
                raise CaptioningError(f"a trained model needs every tensor; missing: {', '.join(missing)}")
            home.assign({name: self.xp.asarray(tensors[name]) for name in home})

    def parameter_counts(self) -> dict[str, int]:
        """Return how many parameters each part has, a frozen embedding among them, and the 'total'."""
        counts = {part: sum(int(a.size) for a in self._p[part].values()) for part in self._p}
        counts["picture"] -= self.constants["picture.mean"].size * 2
        return counts | {"total": sum(counts.values())}

    def standardise(self, features: np.ndarray[Any, Any]) -> None:
        """Take the mean and deviation of each feature over the training pictures (n, F)."""
        self.constants["picture.mean"][...] = self.xp.asarray(features.mean(0))
        deviation = features.std(0)
        self.constants["picture.deviation"][...] = self.xp.asarray(np.where(deviation > 0, deviation, 1))

    def prepare(self, features: np.ndarray[Any, Any]) -> Array:
        """Return features (n, F) on the model's device, in its precision, standardised if the recipe says so."""
        constants = self.constants
        prepared = self.xp.asarray(features.astype(constants.flat.dtype))
        prepared -= constants["picture.mean"]
        prepared /= constants["picture.deviation"]
        return prepared

    def loss(self, batch: Batch) -> float:
        """Return the mean loss in nats a word, without dropout and without gradients."""
        logits = self._forward(batch, train=False).logits
        return float(softmax_cross_entropy(logits, batch.targets, inplace=True).loss)

    def loss_and_gradients(self, batch: Batch, train: bool = True) -> float:
        """Return the mean loss in nats a word and write its gradients into `grads`.

        With `train` off there is no dropout; the gradients are written all the same.
        """
        seen = self._forward(batch, train)
        loss, dlogits = softmax_cross_entropy(seen.logits, batch.targets, inplace=True)
        self._backward(batch, seen, dlogits)
        return float(loss)  # not sooner: on a GPU this waits

    def _forward(self, batch: Batch, train: bool) -> _Activations:
        p, take, n = self._p, self._memory.take, batch.packing.rows
        on_picture, on_words, on_output = self.dropout
        features, _ = on_picture.forward(batch.features, train)
        picture = self.picture.forward(p["picture"], features)
        relu(picture, out=picture)

        embedded = self.embedding.forward(p["embedding"], batch.inputs)
        embedded, embedded_mask = on_words.forward(embedded, train, out=embedded)
        self.trace = sequence.forward(self.cell, p["rnn"], embedded, lengths=batch.packing, trace=self.trace)

        merged = batch.packing.spread(picture, out=take("merged", n, picture.shape[1]))
        merged += self.trace.output
        dense = self.dense.forward(p["dense"], merged, out=take("dense", n, self.dense.output_size))
        relu(dense, out=dense)
        hidden, hidden_mask = on_output.forward(dense, train)
        logits = self.words.forward(p["words"], hidden, out=take("logits", n, self.words.output_size))
        return _Activations(features, picture, embedded_mask, merged, dense, hidden, hidden_mask, logits)

    def _backward(self, batch: Batch, seen: _Activations, dlogits: Array) -> None:
        p, g = self._p, self._g
        on_output, on_words = self.dropout[2], self.dropout[1]
        dhidden = self.words.backward(p["words"], seen.hidden, dlogits, g["words"])
        ddense = on_output.backward(dhidden, seen.hidden_mask, out=dhidden)
        relu_backward(seen.dense, ddense, out=ddense)
        dmerged = self.dense.backward(p["dense"], seen.merged, ddense, g["dense"])

        dpicture = batch.packing.sum_over_time(dmerged)
        relu_backward(seen.picture, dpicture, out=dpicture)
        self.picture.backward(p["picture"], seen.features, dpicture, g["picture"], need_dx=False)

        assert self.trace is not None
        wanted = self.trains_embedding
        dx = sequence.backward(self.cell, p["rnn"], self.trace, dmerged, grads=g["rnn"], need_dx=wanted).x
        if wanted:
            dx = on_words.backward(dx, seen.embedded_mask, out=dx)
            self.embedding.backward(p["embedding"], batch.inputs, dx, g["embedding"])

    def start(self, features: Array) -> State:
        """Return the state before the first word, of prepared features (B, F)."""
        picture = self.picture.forward(self._p["picture"], features)
        relu(picture, out=picture)
        zero = self.xp.zeros_like(picture)
        return State(picture, tuple(zero for _ in self.cell.state))

    def step(self, state: State, words: Array) -> tuple[Array, State]:
        """Read one word a caption, (B,), and return the log-probabilities of the next, (B, V), and the new state."""
        p, stepper = self._p, self._stepper
        stepper.state = state.cell
        merged = stepper.step(self.embedding.forward(p["embedding"], words)) + state.picture
        dense = self.dense.forward(p["dense"], merged)
        relu(dense, out=dense)
        return log_softmax(self.words.forward(p["words"], dense)), State(state.picture, stepper.state)

    def tensors(self) -> Mapping[str, Array]:
        """Return everything that makes the model what it is, by name: parameters and constants."""
        return {**self.params, **self.constants}

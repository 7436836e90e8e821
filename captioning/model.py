"""The captioner: a picture, a recurrent network and a vocabulary, put together as a recipe says.

    picture (F) -> dropout -> Linear -------------------------+ enters in one of several places: captioning.entry
    grid (L, P) -> Linear, ReLU -> dropout -> attention ------+
    words (E) -> dropout --------------------------------> network -> Linear -> dropout -> Linear -> softmax

The network runs once over a caption and predicts a word at every step. All rows are packed: nothing is computed for
padding, in the vocabulary's softmax least of all. Forward and backward are written out side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from captioning.batch import Batch, Pictures
from captioning.config import Recipe
from captioning.errors import CaptioningError
from captioning.grid import Grids, Look
from captioning.network import Network, fused_cells, held_mask
from captioning.parts import Parts
from captioning.stepping import State, Stepping
from rnncore.array import Array, Workspace, module_for, to_host
from rnncore.layers import Dropout
from rnncore.losses import softmax_cross_entropy
from rnncore.packing import Packing
from rnncore.params import Params, join

#: From the logits (N, V), which it may overwrite, to a loss and its gradient (N, V).
Objective = Callable[[Array], tuple[float, Array]]


class _Activations(NamedTuple):
    """What the backward pass needs of the forward pass, beside the traces."""

    vectors: Array
    picture: Array
    look: Look | None
    words_mask: Array | None
    merged: Array
    dense: Array
    hidden: Array
    hidden_mask: Array | None
    logits: Array


class Captioner:
    """The captioning model of a recipe: parameters, gradients, loss, and single steps for decoding.

    Parameters
    ----------
    recipe : parts, sizes, cell, dropout rates, and the seed of parameters and dropout.
    words : size of the vocabulary. features : numbers in a picture's vector.
    grid : (C, rows, columns) of a picture's grid, for attention.
    vectors : (words, size) first values of the embedding; needed if the recipe says 'glove'.
    dtype : float32, or float64 for gradient checks.
    device : 'cpu' or 'cuda'.
    tensors : every parameter and constant of a trained model, by name, in place of first values.
    fused : whether cells and softmax run as compiled loops (`rnncore.kernels`).

    Attributes
    ----------
    params, grads : all that is trained, and its gradients, one flat buffer each.
    constants : what is not: a frozen embedding, the mean and deviation of the features, the grid's components.
    network : the recurrent layers, with their traces.
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
        grid: tuple[int, ...] | None = None,
        fused: bool = False,
    ) -> None:
        self.recipe, self.xp = recipe, module_for(device)
        self.parts = parts = Parts(recipe, words, features, grid)
        self.params = Params(join(parts.trained()), dtype, self.xp)
        self.constants = Params(join(parts.constant()), dtype, self.xp)
        self.grads = self.params.like()
        if tensors is None:
            parts.initialise(self.params, self.constants)
            self._take_vectors(vectors)
        else:
            self._assign(tensors)
        names = {name.partition(".")[0] for name in (*self.params, *self.constants)}
        self._p = {part: {**self.params.scope(part), **self.constants.scope(part)} for part in names}
        self._g = {part: self.grads.scope(part) for part in names}
        model, seed = recipe.model, recipe.training.seed
        weights, gradients = ([home[name] for name in parts.layers] for home in (self._p, self._g))
        self.fused = fused and self.xp is np  # on a GPU it is the cells alone
        cells = fused_cells(parts.cells) if fused else parts.cells
        self.network = Network(cells, weights, gradients, model, seed)
        rates = {"picture": model.picture_dropout, "words": model.word_dropout, "output": model.output_dropout}
        rates |= {"grid": model.picture_dropout} if parts.grid else {}
        self.dropout = {place: Dropout(rate, 3 * seed + k) for k, (place, rate) in enumerate(rates.items())}
        self._stepping = Stepping(parts, self._p, self.network, self.fused)
        self._memory = Workspace(dtype, self.xp)

    def _take_vectors(self, vectors: np.ndarray[Any, Any] | None) -> None:
        """Begin with given word vectors, where the recipe asks for them."""
        if self.recipe.embedding.vectors != "glove":
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
        counts: dict[str, int] = {}
        for name, array in {**self.params, **self.constants}.items():
            part = name.partition(".")[0]
            fitted = name in self.constants and part != "embedding"
            counts[part] = counts.get(part, 0) + (0 if fitted else int(array.size))
        return counts | {"total": sum(counts.values())}

    def fit(self, vectors: np.ndarray[Any, Any], grids: Grids | None = None) -> None:
        """Take from the training pictures, vectors (n, F) and grids (n, C, rows, columns), how to prepare any."""
        if self.recipe.model.standardise_features:
            self.constants["picture.mean"][...] = self.xp.asarray(vectors.mean(0))
            deviation = vectors.std(0)
            self.constants["picture.deviation"][...] = self.xp.asarray(np.where(deviation > 0, deviation, 1))
        if self.parts.grid:
            assert grids is not None
            self.parts.grid.fit(self.constants, grids)

    def prepare(self, vectors: np.ndarray[Any, Any], grids: Grids | None = None) -> Pictures:
        """Return pictures on the model's device, in its precision, standardised if the recipe says so."""
        constants = self.constants
        prepared = self.xp.asarray(vectors.astype(constants.flat.dtype))
        prepared -= constants["picture.mean"]
        prepared /= constants["picture.deviation"]
        if self.parts.grid is None:
            return Pictures(prepared)
        assert grids is not None
        return Pictures(prepared, self.parts.grid.prepare(constants, grids))

    def loss(self, batch: Batch) -> float:
        """Return the mean loss in nats a word, without dropout and without gradients."""
        logits = self._forward(batch, train=False, keep=False).logits
        return float(softmax_cross_entropy(logits, batch.targets, inplace=True, fused=self.fused).loss)

    def logits(self, batch: Batch) -> Array:
        """Return the logits of the word after each row, (N, V), without dropout; the next pass overwrites them."""
        return self._forward(batch, train=False).logits

    def loss_and_gradients(self, batch: Batch, train: bool = True, objective: Objective | None = None) -> float:
        """Return what is minimised, in nats a word, and write its gradients into `grads`.

        In training that is the loss with label smoothing, and attention's penalty added, under dropout. With `train`
        off it is the mean loss. `objective` takes the place of the loss.
        """
        seen = self._forward(batch, train)
        smoothing = self.recipe.training.label_smoothing if train else 0.0
        if objective is None:
            loss, dlogits = softmax_cross_entropy(seen.logits, batch.targets, None, True, smoothing, self.fused)
        else:
            loss, dlogits = objective(seen.logits)
        penalty, dweights = self._unevenness(train)
        self._backward(batch, seen, dlogits, dweights)
        return float(loss) + penalty  # not sooner: on a GPU this waits

    def _unevenness(self, train: bool) -> tuple[float, Array | None]:
        grid, trace = self.parts.grid, self.network.traces[0]
        if grid is None or trace is None or not (train and grid.penalty):
            return 0.0, None
        return grid.unevenness(trace)

    def _forward(self, batch: Batch, train: bool, keep: bool = True) -> _Activations:
        p, entry, head, take, packing = self._p, self.parts.entry, self.parts.head, self._memory.take, batch.packing
        vectors, _ = self.dropout["picture"].forward(batch.vectors, train)
        picture = entry.project(p["picture"], vectors)
        look = self._look(batch.pictures, train)
        memory = {} if look is None else {**look.memory, "owner": packing.sort(batch.owner)}

        words = self.parts.embedding.forward(p["embedding"], batch.inputs)
        words, words_mask = self._drop("words", words, packing, train)
        x, run = entry.read(picture, words, packing), packing
        first = entry.first(picture)
        if first is not None:
            x, run = self.xp.concatenate([packing.sort(first), x]), Packing(packing.lengths + 1)
        h = self.network.forward(x, run, entry.states(picture), memory, train, keep)[run.rows - packing.rows :]

        merged = entry.merge(picture, h, packing, out=take("merged", packing.rows, entry.merged))
        dense = head.before(p, merged, out=take("dense", packing.rows, head.words.input_size))
        hidden, hidden_mask = self._drop("output", dense, packing, train)
        logits = head.logits(p, hidden, out=take("logits", packing.rows, head.words.output_size))
        return _Activations(vectors, picture, look, words_mask, merged, dense, hidden, hidden_mask, logits)

    def _backward(self, batch: Batch, seen: _Activations, dlogits: Array, dweights: Array | None) -> None:
        p, g, entry, head = self._p, self._g, self.parts.entry, self.parts.head
        take, packing = self._memory.take, batch.packing
        table, trains = p["embedding"]["E"], self.recipe.embedding.train
        dE = self._memory.take("dE", *table.shape)
        dhidden = head.logits_backward(p, seen.hidden, dlogits, g, dE)
        ddense = self.dropout["output"].backward(dhidden, seen.hidden_mask, out=dhidden)
        dmerged = head.before_backward(p, seen.merged, seen.dense, ddense, g)

        dh, after = entry.merge_backward(dmerged, packing)
        first = entry.first(seen.picture) is not None
        if first:
            dh = self.xp.concatenate([self.xp.zeros((packing.batch, dh.shape[1]), dh.dtype), dh])
        dmemory = {} if seen.look is None else {name: take(name, *a.shape) for name, a in seen.look.memory.items()}
        dx, dstates = self.network.backward(dh, trains or entry.in_input, dmemory, dweights)
        before = entry.states_backward(dstates)
        if first:
            assert dx is not None
            before, dx = packing.unsort(dx[: packing.batch]), dx[packing.batch :]
        dx, beside = entry.read_backward(dx, packing)
        (dpicture,) = (d for d in (after, before, beside) if d is not None)
        entry.project_backward(p["picture"], seen.vectors, seen.picture, dpicture, g["picture"])
        if seen.look is not None and self.parts.grid is not None:
            self.parts.grid.look_backward(p, seen.look, dmemory, self.dropout["grid"], g)
        if trains:
            dx = self.dropout["words"].backward(dx, seen.words_mask, out=dx)
            self.parts.embedding.backward(p["embedding"], batch.inputs, dx, g["embedding"])
            if head.tied:
                g["embedding"]["E"][...] += dE

    def _drop(self, place: str, x: Array, packing: Packing, train: bool) -> tuple[Array, Array | None]:
        """Return rows (N, D) after dropout, and the mask: one a word, or one a caption where the recipe says so."""
        dropout = self.dropout[place]
        if not self.recipe.model.variational_dropout:
            return dropout.forward(x, train)
        mask = held_mask(dropout, x, packing) if train else None
        return (x if mask is None else x * mask), mask

    @property
    def looks(self) -> bool:
        """Whether the model looks at the picture's grid."""
        return self.parts.grid is not None

    def weights(self, packing: Packing) -> np.ndarray[Any, Any]:
        """Return attention's weights before each word in the last pass, (N, rows, columns), on the host."""
        grid, trace = self.parts.grid, self.network.traces[0]
        assert grid is not None
        assert trace is not None
        rows = trace.rows("weights")[trace.packing.rows - packing.rows :]
        return to_host(rows).reshape(-1, *grid.shape)

    def _look(self, pictures: Pictures, train: bool) -> Look | None:
        """Return what attention sees of the pictures."""
        if self.parts.grid is None:
            return None
        return self.parts.grid.look(self._p, pictures.grids, self.dropout["grid"], train)

    def start(self, pictures: Pictures) -> State:
        """Return the state before the first word of each picture's caption."""
        return self._stepping.start(pictures.vectors, self._look(pictures, train=False))

    def step(self, state: State, words: Array) -> tuple[Array, State]:
        """Read one word a caption, (B,), and return the log-probabilities of the next, (B, V), and the new state.

        Any number of decodings may take turns, from one thread at a time.

        Raises
        ------
        TypeError, IndexError, ValueError
            If words are no integers, none of the vocabulary, or not as many as captions.
        """
        return self._stepping.step(state, words)

    def tensors(self) -> Mapping[str, Array]:
        """Return everything that makes the model what it is, by name: parameters and constants."""
        return {**self.params, **self.constants}

    def noise(self) -> dict[str, Any]:
        """Return where the generators of all dropout stand, ready for JSON."""
        return {"passes": self.network.passes, **{place: d.state() for place, d in self.dropout.items()}}

    def set_noise(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where the generators stood when `noise` was called."""
        self.network.passes = int(state["passes"])
        for place, dropout in self.dropout.items():
            dropout.set_state(state[place])

"""A cell that looks at a memory before each step: additive attention around any other cell."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from rnncore.array import Array, is_on_gpu, sigmoid, sum_over_rows
from rnncore.cells.base import Cell, Weights
from rnncore.params import Initialiser, blockwise, glorot, zeros
from rnncore.trace import Now, Trace, sizes_of

#: Numbers of the memory handled at a time on the host, so that the passes over them stay in the processor's L2 cache.
BLOCK = 1 << 17


class Attention:
    r"""Additive attention: a cell around a cell, which reads a weighted mean of L places beside x.

    .. math::
        q_t &= Q h_{t-1} & \text{query} \\
        e_{tl} &= w^\top \tanh(k_l + q_t) & \text{score of place } l \\
        \alpha_t &= \operatorname{softmax}(e_t) & \text{weights} \\
        z_t &= \beta_t \sum_l \alpha_{tl} v_l, \qquad \beta_t = \sigma(s^\top h_{t-1} + b_s)
            & \text{context; without selector } \beta_t = 1 \\
        h_t &= \text{step of the inner cell with } W x_t + Z z_t + b

    Parameters: those of the inner cell with their names, and `query` Q (A, H), `energy` w (A,), `context` Z (G·H, M);
    with a selector also `selector` s (H,) and `selector_bias` (1,).

    The memory comes with the parameters, since it is the same at every step: `keys` k (R, L, A) and `values` v
    (R, L, M). Row j is what the j-th sequence looks at, sequences sorted by falling length as in
    `rnncore.packing.Packing`; or where `owner` (B,) is there too, which row each sorted sequence looks at, so that
    several may share one. Their gradients are those of `keys` and `values` in what `sequence.backward` returns, if
    `grads` has a place for them. `dweights` (B, L), if it is there in backward, is a gradient of the weights, the same
    at every step, from outside: that of a penalty on their sum over time.

    What is kept in the Trace: `weights` (L), `context` (M) before the selector, and `selector` (1).

    Parameters
    ----------
    cell : the inner cell. size : A. width : M. places : L.
    selector : whether the context is scaled by :math:`\beta_t`.

    Source: D. Bahdanau, K. Cho & Y. Bengio, Neural machine translation by jointly learning to align and translate,
    ICLR 2015, appendix A.1.2; K. Xu et al., Show, attend and tell, ICML 2015, sections 3.1.2 and 4.2 (`selector` is
    the gating scalar of 4.2.1).
    """

    def __init__(self, cell: Cell, size: int, width: int, places: int, selector: bool = False) -> None:
        for name, value in (("size", size), ("width", width), ("places", places)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self.cell, self.size, self.width, self.places, self.selector = cell, size, width, places, selector
        self.gates, self.state = cell.gates, cell.state
        self.preactivations = (*cell.preactivations, "query", "score", *(("selector",) if selector else ()))
        self.saved = (*cell.saved, "weights", "context", *(("selector",) if selector else ()))
        self.carries = bool(getattr(cell, "carries", False))

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return the rows of what differs from H: the inner cell's own, and all that attention keeps."""
        own = {"query": self.size, "score": self.places, "weights": self.places, "context": self.width, "selector": 1}
        return sizes_of(self.cell, hidden_size) | own

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inner cell's parameters and of attention's."""
        inner = self.cell.shapes(input_size, hidden_size)
        out = sizes_of(self.cell, hidden_size)[self.state[0]]
        own: dict[str, tuple[int, ...]] = {"query": (self.size, out), "energy": (self.size,)}
        own["context"] = (inner["W"][0], self.width)
        return inner | own | ({"selector": (out,), "selector_bias": (1,)} if self.selector else {})

    def initialisers(self) -> dict[str, Initialiser]:
        """Glorot matrices, an energy that begins small, a selector that begins at one half."""
        own: dict[str, Initialiser] = {"query": glorot, "context": blockwise(glorot, len(self.gates))}
        own["energy"] = lambda rng, shape: rng.normal(0.0, shape[0] ** -0.5, shape)
        return self.cell.initialisers() | own | {"selector": zeros, "selector_bias": zeros}

    def step(self, p: Weights, now: Now) -> None:
        """Look at the memory, add Z z to the gates, and run the inner cell."""
        xp, h, (weights, context, *beta) = now.xp, now.recalled, self._own(now)
        query = xp.matmul(h.T, p["query"].T)
        scores = xp.empty((len(query), self.places), h.dtype)
        for here, rows in self._blocks(p, len(query)):
            scores[here] = xp.matmul(_tanh(xp, p["keys"][rows], query[here]), p["energy"])
        _softmax(xp, scores)
        weights[...] = scores.T
        for here, rows in self._blocks(p, len(query)):
            context[:, here] = xp.matmul(scores[here][:, None], p["values"][rows])[:, 0].T
        z = context
        if self.selector:
            beta[0][...] = p["selector"] @ h + p["selector_bias"]
            z = context * sigmoid(beta[0], out=beta[0])
        now.a[...] += xp.matmul(p["context"], z, out=now.scratch)
        self.cell.step(p, self._inner(now))

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        r"""Go back through the inner cell, then through the look.

        .. math::
            \delta z_t &= Z^\top \delta a_t &
            \delta \alpha_{tl} &= \beta_t\, v_l^\top \delta z_t \\
            \delta e_{tl} &= \alpha_{tl} (\delta \alpha_{tl} - \sum_m \alpha_{tm} \delta \alpha_{tm}) &
            \delta q_t &= \sum_l \delta e_{tl}\, w \odot (1 - \tanh^2(k_l + q_t)) \\
            \delta b_t &= \beta_t (1 - \beta_t)\, \delta z_t^\top \sum_l \alpha_{tl} v_l &
            \delta h_{t-1} &\mathrel{+}= Q^\top \delta q_t + s\, \delta b_t
        """
        xp, h, (weights, context, *beta) = now.xp, now.recalled, self._own(now)
        self.cell.step_backward(p, self._inner(now), dstate)
        dquery, dscore, *dbeta = now.dgates[len(self.cell.preactivations) :]
        dz = xp.matmul(now.da[: len(now.a)].T, p["context"])
        if self.selector:
            xp.multiply(beta[0], 1 - beta[0], out=dbeta[0])
            dbeta[0][...] *= (dz * context.T).sum(1)
            dz *= beta[0].T
        query, alpha = xp.matmul(h.T, p["query"].T), xp.ascontiguousarray(weights.T)
        for here, rows in self._blocks(p, len(query)):
            d = xp.matmul(p["values"][rows], dz[here][:, :, None])[:, :, 0]
            if "dweights" in p:
                d += p["dweights"][here]
            d -= (d * alpha[here]).sum(1, keepdims=True)
            d *= alpha[here]
            dscore[:, here] = d.T
            slope = _tanh(xp, p["keys"][rows], query[here])
            slope *= slope  # the gradients of the scores add up to 0, so that the 1 of 1 - tanh^2 drops out
            dquery[:, here] = -p["energy"][:, None] * xp.matmul(d[:, None], slope)[:, 0].T
        through = xp.matmul(p["query"].T, dquery)
        if self.selector:
            through += p["selector"][:, None] * dbeta[0]
        dstate[0][...] += now.masked(through)

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        """Write the inner cell's gradients, then attention's: products over all time."""
        xp, sizes, before = trace.xp, trace.sizes, trace.previous_rows
        inner = sum(sizes[name] for name in self.cell.preactivations)
        self.cell.recurrent_grads(p, trace, da[:inner], grads)
        dquery, dscore = da[inner : inner + self.size], da[inner + self.size :][: self.places]
        xp.matmul(dquery, before, out=grads["query"])
        dgates, context = da[: len(p["context"])], trace.rows("context")
        dz = xp.matmul(dgates.T, p["context"])
        if self.selector:
            beta = trace.rows("selector")
            context *= beta
            dz *= beta
            xp.matmul(da[-1], before, out=grads["selector"])
            sum_over_rows(da[-1:], out=grads["selector_bias"])
        xp.matmul(dgates, context, out=grads["context"])
        self._memory_grads(p, trace, xp.matmul(before, p["query"].T), dscore.T, dz, grads)

    def _memory_grads(
        self, p: Weights, trace: Trace, query: Array, dscore: Array, dz: Array, grads: dict[str, Array]
    ) -> None:
        """Write the gradients of `energy`, `keys` and `values`, one row of the memory after another.

        tanh is computed once more: to keep it for all steps would take T·B·L·A numbers.
        """
        xp, packing, weights = trace.xp, trace.packing, trace.rows("weights")
        owner = p["owner"] if "owner" in p else xp.arange(packing.batch)
        owner_of_row = packing.spread(packing.unsort(owner))
        grads["energy"][...] = 0
        for row, key in enumerate(p["keys"]):
            mine = xp.flatnonzero(owner_of_row == row)
            dkey = xp.zeros_like(key)
            for here, _ in self._blocks(p, len(mine)):
                slope, d = _tanh(xp, key[None], query[mine[here]]), dscore[mine[here]]
                grads["energy"][...] += xp.matmul(d.reshape(-1), slope.reshape(-1, self.size))
                slope *= slope
                xp.subtract(1, slope, out=slope)
                slope *= d[:, :, None]
                dkey += slope.sum(0)
            if "keys" in grads:
                xp.multiply(dkey, p["energy"], out=grads["keys"][row])
            if "values" in grads:
                xp.matmul(weights[mine].T, dz[mine], out=grads["values"][row])

    def _blocks(self, p: Weights, count: int) -> Iterator[tuple[slice, Array | slice]]:
        """Yield some sequences at a time, and the rows of the memory that they look at."""
        together = count if is_on_gpu(p["keys"]) else max(1, BLOCK // (self.places * self.size))
        for first in range(0, count, max(1, together)):
            here = slice(first, min(first + together, count))
            yield here, (p["owner"][here] if "owner" in p else here)

    def _own(self, now: Now) -> tuple[Array, ...]:
        """What attention keeps, after what the inner cell keeps."""
        return now.saved[len(self.cell.saved) :]

    def _inner(self, now: Now) -> Now:
        """The views that the inner cell knows."""
        dgates = now.dgates[: len(self.cell.preactivations)]
        rows = sum(len(d) for d in dgates)
        return now._replace(saved=now.saved[: len(self.cell.saved)], da=now.da[:rows], dgates=dgates)


def _tanh(xp: ModuleType, keys: Array, query: Array) -> Array:
    """Return tanh(k + q), (n, L, A), a new array."""
    out = keys + query[:, None]
    return xp.tanh(out, out=out)


def _softmax(xp: ModuleType, scores: Array) -> None:
    """Turn the scores (b, L) into weights, in place."""
    scores -= scores.max(1, keepdims=True)
    xp.exp(scores, out=scores)
    scores /= scores.sum(1, keepdims=True)

"""Layers that look at one row at a time: Linear, Embedding, Dropout, ReLU.

A layer is a definition: it holds sizes and no parameters. Parameters come as a mapping of arrays, gradients
are written into a mapping of the same names (overwriting what was there), so both may be views of one flat
buffer (`rnncore.params.Params`). Rows are (N, features): a padded (T, B, D) or a packed batch is reshaped
outside.

Examples
--------
>>> import numpy as np
>>> from rnncore.params import Params
>>> layer = Linear(3, 2)
>>> p = Params(layer.shapes()).initialise(layer.initialisers(), seed=0)
>>> grads = p.like()
>>> x = np.ones((4, 3), np.float32)
>>> y = layer.forward(p, x)
>>> dx = layer.backward(p, x, np.ones_like(y), grads)
>>> y.shape, dx.shape, grads["b"].tolist()
((4, 2), (4, 3), [4.0, 4.0])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore.array import Array, array_module, check_float, check_shape, is_on_gpu, sum_rows
from rnncore.params import Initialiser, glorot, normal, zeros

# Up to so many rows OpenBLAS takes W x.T in half to two thirds of the time of x W.T; at 64 they are even.
_FEW = 32


class Linear:
    r"""Affine map of each row, :math:`y = x W^\top + b`.

    Parameters: W (out, in), Glorot uniform; b (out,), zero.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        self.input_size = _positive("input_size", input_size)
        self.output_size = _positive("output_size", output_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter by name."""
        return {"W": (self.output_size, self.input_size), "b": (self.output_size,)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Return how each parameter gets its first values."""
        return {"W": glorot, "b": zeros}

    def forward(self, p: Mapping[str, Array], x: Array, out: Array | None = None) -> Array:
        """Return y (N, out) of x (N, in), written into `out` when it is given."""
        check_float("x", x, p["W"].dtype)
        check_shape("x", x, {"N": None, "in": self.input_size})
        xp = array_module(x, W=p["W"])
        if xp is np and len(x) <= _FEW:
            return np.add(np.matmul(p["W"], x.T).T, p["b"], out=out, order="C")
        y = xp.matmul(x, p["W"].T, out=out)
        y += p["b"]
        return y

    def backward(
        self, p: Mapping[str, Array], x: Array, dy: Array, grads: Mapping[str, Array], need_dx: bool = True
    ) -> Array | None:
        r"""Write :math:`dW = dy^\top x`, :math:`db = \sum_n dy_n`; return dx = dy W, if needed."""
        check_shape("dy", dy, {"N": len(x), "out": self.output_size})
        xp = array_module(x, dy=dy, W=p["W"])
        xp.matmul(dy.T, x, out=grads["W"])
        xp.matmul(xp.ones(len(dy), dy.dtype), dy, out=grads["b"])  # several times faster than dy.sum(0)
        return xp.matmul(dy, p["W"]) if need_dx else None


class Embedding:
    """Rows of a table, y[n] = E[ids[n]]: one row a word.

    Parameters: E (words, size), normal with deviation 0.1.

    Parameters
    ----------
    words, size : rows of the table and numbers in a row.
    padding : index whose row begins at zero and gets no gradient, so that it stays zero; None for no such
    row.
    frozen : further indices whose rows get no gradient (pretrained vectors to be kept).
    """

    def __init__(self, words: int, size: int, padding: int | None = 0, frozen: Sequence[int] = ()) -> None:
        self.words, self.size = _positive("words", words), _positive("size", size)
        self.padding = padding
        still = [*frozen] if padding is None else [padding, *frozen]
        outside = [k for k in still if not 0 <= k < words]
        if outside:
            raise ValueError(f"padding and frozen rows must be in [0, {words}), got {outside[0]}")
        self._still = np.unique(np.asarray(still, np.intp))
        self._still_on_gpu: Array = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter by name."""
        return {"E": (self.words, self.size)}

    def initialisers(self) -> dict[str, Initialiser]:
        """Return how each parameter gets its first values."""

        def fill(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
            table = normal(0.1)(rng, shape)
            if self.padding is not None:
                table[self.padding] = 0
            return table

        return {"E": fill}

    def forward(self, p: Mapping[str, Array], ids: Array) -> Array:
        """Return the rows (N, size) of the integers `ids` (N,).

        Raises
        ------
        IndexError
            If an id is outside [0, words); it is named.
        """
        array_module(ids=ids, E=p["E"])
        check_ids("ids", ids, self.words)
        return p["E"][ids]

    def backward(self, p: Mapping[str, Array], ids: Array, dy: Array, grads: Mapping[str, Array]) -> None:
        """Write dE: each row the sum of dy (N, size) over its word's places; frozen rows zero."""
        check_shape("dy", dy, {"N": len(ids), "size": self.size})
        dE = grads["E"]
        sum_rows(dy, ids, out=dE)
        if is_on_gpu(dE) and self._still_on_gpu is None:
            self._still_on_gpu = array_module(dE).asarray(self._still)  # sent there once
        dE[self._still_on_gpu if is_on_gpu(dE) else self._still] = 0


class Dropout:
    r"""Inverted dropout: a number is zero with probability `rate`, or else scaled by :math:`1/(1 - rate)`.

    It draws from a generator of its own on the host, so that equal seeds give equal masks on every device,
    whatever else is random, and `state` restores it exactly. Rates are kept to a resolution of 1/65536
    (Srivastava et al. 2014).
    """

    def __init__(self, rate: float, seed: int) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"the dropout rate must be in [0, 1), got {rate}")
        self.rate = float(rate)
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def forward(self, x: Array, train: bool = True, out: Array | None = None) -> tuple[Array, Array | None]:
        """Return (y, mask) with y = x * mask, in `out` (which may be x) when it is given.

        Without training, or at rate 0, they are x itself and None, and `out` is left alone.
        """
        if not train or self.rate == 0:
            return x, None
        check_float("x", x)
        mask = self._mask(x)
        return array_module(x).multiply(x, mask, out=out), mask

    def backward(self, dy: Array, mask: Array | None, out: Array | None = None) -> Array:
        """Return dx = dy * mask, in `out` (which may be dy) when it is given; a mask of None passes dy on."""
        return dy if mask is None else array_module(dy, mask=mask).multiply(dy, mask, out=out)

    def _mask(self, x: Array) -> Array:
        """Draw a mask of 0 and 1/(1 - rate) with the shape and precision of x, on its device."""
        xp = array_module(x)
        if self.rate == 0.5:
            keep = xp.unpackbits(xp.asarray(self._bytes((x.size + 7) // 8)))[: x.size]  # one random bit a number
        else:
            draws = self._bytes(2 * x.size).view(np.uint16)
            keep = xp.asarray(draws) >= round(self.rate * 65536)
        mask = keep.astype(x.dtype).reshape(x.shape)
        mask *= 1 / (1 - self.rate)
        return mask

    def _bytes(self, count: int) -> np.ndarray[Any, Any]:
        """Draw random bytes, eight at a time: far faster than `Generator.bytes`."""
        return self._rng.integers(0, 2**64, (count + 7) // 8, np.uint64).view(np.uint8)[:count]

    def state(self) -> dict[str, Any]:
        """Return the generator's state: numbers and strings only, ready for JSON."""
        return dict(self._rng.bit_generator.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where the generator stood when `state` was taken."""
        self._rng.bit_generator.state = dict(state)


#: Row k holds the eight bits of k.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)


def relu(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0), written into `out` (which may be x) when it is given."""
    return array_module(x).maximum(x, 0, out=out)


def relu_backward(y: Array, dy: Array, out: Array | None = None) -> Array:
    """Return dx = dy where the output y of `relu` is positive, else 0, into `out` (which may be dy)."""
    return array_module(y, dy).multiply(dy, y > 0, out=out)


def check_ids(name: str, ids: Array, limit: int) -> None:
    """Raise unless `ids` are integers (TypeError) in [0, limit) (IndexError naming one that is not).

    The values of ids on a GPU are not looked at, for that would wait for the device: check them before they go there.
    """
    if getattr(ids, "dtype", np.dtype(object)).kind not in "iu":
        raise TypeError(f"{name}: expected an array of integers, got {getattr(ids, 'dtype', type(ids).__name__)}")
    if ids.size == 0 or is_on_gpu(ids):
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        raise IndexError(f"{name}: {wrong} is outside [0, {limit}); were these ids made with another vocabulary?")


def _positive(name: str, value: int) -> int:
    """Return `value` if it is at least 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value

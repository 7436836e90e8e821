"""Parameters: named arrays that are views of ONE flat buffer, and how they get their first values.

An optimiser and gradient clipping see a single vector; a cell sees a mapping with the names of its equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore.array import FLOATS, Array, aligned_zeros, array_module, is_on_gpu, module_for, to_host

Shapes = Mapping[str, tuple[int, ...]]
#: Fills a new array of the given shape: (generator, shape) -> float64 values.
Initialiser = Callable[["np.random.Generator", tuple[int, ...]], np.ndarray]  # in quotes: loaded when first drawn from


class Params(Mapping[str, Array]):
    """Named arrays laid end to end in one buffer, `flat`.

    Parameters
    ----------
    shapes : name -> shape, in the order in which the arrays lie in the buffer.
    dtype : float32 (default) or float64.
    xp : the array module, numpy (default) or cupy.

    Examples
    --------
    >>> p = Params({"W": (2, 3), "b": (2,)})
    >>> p["b"][:] = 1
    >>> p.flat
    array([0., 0., 0., 0., 0., 0., 1., 1.], dtype=float32)
    """

    def __init__(self, shapes: Shapes, dtype: DTypeLike = np.float32, xp: ModuleType = np) -> None:
        if np.dtype(dtype) not in FLOATS:
            raise TypeError(f"parameters are float32 or float64, got {np.dtype(dtype).name}")
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.flat: Array = aligned_zeros(sum(math.prod(s) for s in self.shapes.values()), dtype, xp)
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            self._views[name] = self.flat[start:stop].reshape(shape)
            start = stop

    def __getitem__(self, name: str) -> Array:
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self._views)}") from None

    def __setitem__(self, name: str, value: Array) -> None:
        """Copy a value in; the array stays the view that it is. ValueError if the shape is another."""
        view = self[name]
        if np.shape(value) not in (view.shape, ()):
            raise ValueError(f"{name}: expected the shape {view.shape}, got {np.shape(value)}")
        view[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return f"Params({arrays}): {self.size:,} numbers of {self.flat.dtype}"

    @property
    def size(self) -> int:
        """How many numbers there are in all."""
        return int(self.flat.size)

    def scope(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names begin with `prefix.`, under the rest of their names: the same views."""
        head = prefix + "."
        return {name[len(head) :]: view for name, view in self._views.items() if name.startswith(head)}

    def like(self, dtype: DTypeLike | None = None) -> Params:
        """Return zeros with the same names and shapes, on the same device: the home of gradients."""
        return Params(self.shapes, dtype or self.flat.dtype, array_module(self.flat))

    def copy(self, dtype: DTypeLike | None = None) -> Params:
        """Return an independent copy, in another precision if `dtype` is given."""
        other = self.like(dtype)
        other.flat[...] = self.flat
        return other

    def assign(self, values: Mapping[str, Array]) -> None:
        """Copy `values` in, by name.

        Raises
        ------
        KeyError
            If a name is missing or unknown.
        ValueError
            If a shape differs; nothing is copied then.
        """
        missing, unknown = sorted(set(self) - set(values)), sorted(set(values) - set(self))
        if missing or unknown:
            raise KeyError(f"parameters do not match: missing {missing}, unknown {unknown}")
        for name, view in self.items():
            if tuple(values[name].shape) != view.shape:
                raise ValueError(f"{name}: expected the shape {view.shape}, got {tuple(values[name].shape)}")
        for name, view in self.items():
            view[...] = values[name]

    def initialise(self, initialisers: Mapping[str, Initialiser], seed: int | np.random.Generator) -> Params:
        """Fill every array by the initialiser of its name, in the order of the names, and return self.

        Values are drawn on the host in float64, so that equal seeds give equal values on every device and in
        every precision (up to rounding).
        """
        if lacking := sorted(set(self) - set(initialisers)):
            raise KeyError(f"no initialiser for {', '.join(lacking)}")
        rng = np.random.default_rng(seed)
        xp = array_module(self.flat)
        for name, view in self.items():
            values = np.asarray(initialisers[name](rng, view.shape))
            if values.shape != view.shape:
                raise ValueError(f"{name}: its initialiser was asked for {view.shape}, and gave {values.shape}")
            view[...] = xp.asarray(values.astype(view.dtype))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What a copy begins with: its arrays are views of its own buffer, from which the default would tear them."""
        return {"shapes": self.shapes, "flat": to_host(self.flat).copy(), "on_gpu": is_on_gpu(self.flat)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        flat: np.ndarray = state["flat"]
        Params.__init__(self, state["shapes"], flat.dtype, module_for("cuda" if state["on_gpu"] else "cpu"))
        self.flat[...] = array_module(self.flat).asarray(flat)


def join(parts: Mapping[str, Shapes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of several parts as one, names prefixed `part.`; `Params.scope` takes them apart again."""
    return {f"{part}.{name}": shape for part, shapes in parts.items() for name, shape in shapes.items()}


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All zero: biases."""
    return np.zeros(shape)


def uniform(limit: float) -> Initialiser:
    """Uniform in [-limit, limit]."""
    return lambda rng, shape: rng.uniform(-limit, limit, shape)


def normal(deviation: float) -> Initialiser:
    """Normal with mean 0 and the given standard deviation."""
    return lambda rng, shape: rng.normal(0.0, deviation, shape)


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    r"""Uniform in :math:`\pm\sqrt{6 / (n_{in} + n_{out})}` for a matrix (out, in) (Glorot & Bengio 2010, eq. 16)."""
    limit = math.sqrt(6.0 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random (semi-)orthogonal matrix: orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.normal(size=(max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return np.ascontiguousarray(q if rows >= columns else q.T)


def blockwise(initialiser: Initialiser, blocks: int) -> Initialiser:
    """Apply `initialiser` to each of `blocks` equal row blocks on its own: one block per gate."""

    def fill(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        block = (shape[0] // blocks, *shape[1:])
        return np.concatenate([initialiser(rng, block) for _ in range(blocks)])

    return fill


def gate_constant(gate: int, gates: int, value: float) -> Initialiser:
    """Zero everywhere but in one gate's block, which gets `value`: the forget bias (Jozefowicz et al. 2015)."""

    def fill(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape)
        block = shape[0] // gates
        out[gate * block : (gate + 1) * block] = value
        return out

    return fill

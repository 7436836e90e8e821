"""The picture's grid, what attention looks at: fewer numbers a place, then a vector and a key of each place.

grid (C, rows, columns) -> mean off, principal components (L, P), once a picture
-> Linear, ReLU, dropout: the places' vectors v (L, M) -> Linear: their keys k (L, A), once a picture and batch
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from captioning.config import Model
from captioning.errors import CaptioningError
from rnncore.array import Array, array_module
from rnncore.layers import Dropout, Linear, relu, relu_backward
from rnncore.params import Params, Shapes
from rnncore.trace import Trace

# Places that the principal components are taken from, and pictures whose grids are prepared together.
_PLACES_FITTED, _TOGETHER = 50_000, 100
Parts = Mapping[str, Mapping[str, Array]]


class Grids(Protocol):
    """Grids (n, C, rows, columns): an array, or what reads them a slice at a time, since all of them are gigabytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> np.ndarray[Any, Any]: ...


class Look(NamedTuple):
    """What attention sees of n pictures: rows (n·L, P), the mask of the values, and the memory.

    memory : `values` (n, L, M) and `keys` (n, L, A).
    """

    rows: Array
    mask: Array | None
    memory: dict[str, Array]


class Grid:
    """The layers between a picture's grid and attention; `shape` is that of the grid, (C, rows, columns)."""

    def __init__(self, model: Model, shape: tuple[int, ...]) -> None:
        self.channels, self.shape, self.places = shape[0], shape[1:], int(np.prod(shape[1:]))
        self.components = min(model.grid_components, self.channels)
        self.vectors = Linear(self.components, model.annotation)
        self.keys = Linear(model.annotation, model.attention_size)
        self.penalty = model.attention_penalty

    def layers(self) -> dict[str, Linear]:
        """Return the trained layers by the names of their parts."""
        return {"grid": self.vectors, "keys": self.keys}

    def constants(self) -> dict[str, Shapes]:
        """Return the shapes of what is fitted to the training pictures, and not trained."""
        return {"grid": {"center": (self.channels,), "components": (self.components, self.channels)}}

    def fit(self, constants: Params, grids: Grids) -> None:
        """Take the principal components of the channels, each at unit variance, over places of the grids (n, C, ...).

        Places are taken from pictures evenly spread over all. The components are scaled to a mean square of 1 a
        number, all by the same factor, so that their order in size stays.
        """
        every = max(1, len(grids) * self.places // _PLACES_FITTED)
        rows = self._rows(grids[::every]).astype(np.float32)
        center, deviation = rows.mean(0), rows.std(0)
        deviation = np.where(deviation > 0, deviation, 1)
        rows -= center
        rows /= deviation
        covariance = (rows.T @ rows / np.float32(len(rows))).astype(np.float64)
        variances, axes = np.linalg.eigh(covariance)
        first = slice(-1, -self.components - 1, -1)
        scale = np.sqrt(self.components / max(float(variances[first].sum()), 1e-12))
        components = axes[:, first].T * scale / deviation
        xp = array_module(constants.flat)
        constants["grid.center"][...] = xp.asarray(center)
        constants["grid.components"][...] = xp.asarray(components)

    def prepare(self, constants: Params, grids: Grids) -> Array:
        """Return grids (n, C, ...) as (n, L, P), on the device and in the precision of `constants`."""
        xp, dtype = array_module(constants.flat), constants.flat.dtype
        out = xp.empty((len(grids), self.places, self.components), dtype)
        for first in range(0, len(grids), _TOGETHER):
            some = xp.asarray(self._rows(grids[first : first + _TOGETHER]).astype(dtype))
            if not bool(xp.isfinite(some).all()):
                raise CaptioningError("some pictures have NaN or infinity in their grid; encode them again")
            some -= constants["grid.center"]
            out[first : first + _TOGETHER] = (some @ constants["grid.components"].T).reshape(-1, *out.shape[1:])
        return out

    def look(self, p: Parts, grids: Array, dropout: Dropout, train: bool) -> Look:
        """Return what attention sees of the grids (n, L, P)."""
        rows = grids.reshape(-1, self.components)
        values = self.vectors.forward(p["grid"], rows)
        relu(values, out=values)
        values, mask = dropout.forward(values, train, out=values)
        keys = self.keys.forward(p["keys"], values)
        memory = {"keys": keys, "values": values}
        return Look(rows, mask, {name: a.reshape(len(grids), self.places, -1) for name, a in memory.items()})

    def look_backward(self, p: Parts, seen: Look, dmemory: Mapping[str, Array], dropout: Dropout, g: Parts) -> None:
        """Write the gradients of both layers from those of the memory."""
        rows = len(seen.rows)
        values = seen.memory["values"].reshape(rows, -1)
        through = self.keys.backward(p["keys"], values, dmemory["keys"].reshape(rows, -1), g["keys"])
        assert through is not None
        through += dmemory["values"].reshape(rows, -1)
        relu_backward(values, through, out=through)
        through = dropout.backward(through, seen.mask, out=through)
        self.vectors.backward(p["grid"], seen.rows, through, g["grid"], need_dx=False)

    def unevenness(self, trace: Trace) -> tuple[float, Array]:
        r"""Return Xu et al.'s penalty in nats a word, and its gradient in attention's weights, (B, L), sorted.

        :math:`\frac{\lambda}{N} \sum_b \sum_l (1 - \sum_t \alpha_{btl})^2`: every place shall be looked at.
        """
        packing = trace.packing
        left = 1 - packing.sort(packing.sum_over_time(trace.rows("weights")))
        share = self.penalty / packing.rows
        return share * float((left * left).sum()), (-2 * share) * left

    def _rows(self, grids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return (n, C, ...) as one row a place, (n·L, C)."""
        flat = np.asarray(grids).reshape(len(grids), self.channels, self.places)
        return flat.transpose(0, 2, 1).reshape(-1, self.channels)

"""The weights of a stack of recurrent layers, apart from any layer: what every format is read into and written from.

A `Bundle` is the name of a cell and its arrays, named as `Recurrent` names them: "layer0.W", "layer0.reverse.W",
"layer1.W" ... All sizes follow from the arrays' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore.array import FLOATS, Array, array_module, to_host
from rnncore.cells import CELLS, LSTMP, Cell
from rnncore.cells.base import plain
from rnncore.trace import sizes_of

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

#: The parameters of one layer in one direction, by the names of the cell's equations.
Part = Mapping[str, Array]
#: A part for every direction (forward, reverse) of every layer.
Parts = Sequence[Sequence[Part]]

_NAME = re.compile(r"layer(\d+)\.(reverse\.)?([^.]+)")


@dataclass(frozen=True)
class Bundle:
    """Arrays by name, and the name of the cell that they belong to.

    cell : a name in `rnncore.cells.CELLS`, or `module:Class` of a user's own; None if the arrays are not those of a
        stack of recurrent layers, but a whole model's, say.
    params : host arrays, "layer0.W" and so on.
    about : whatever else a file's header says; JSON values.

    Raises
    ------
    ValueError
        If a cell of the library is named and an array is missing, left over, or has another shape than its cell,
        its layer and its direction ask for.

    Examples
    --------
    >>> from rnncore import LSTM
    >>> bundle = Bundle.of(LSTM(3, 4, layers=2, bidirectional=True))
    >>> bundle.cell, bundle.input_size, bundle.hidden_size, bundle.layers, bundle.directions
    ('LSTM', 3, 4, 2, 2)
    >>> bundle.layer()
    Recurrent(3, 4, layers=2, bidirectional): 672 parameters
    """

    cell: str | None
    params: Mapping[str, np.ndarray[Any, Any]]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cell in CELLS:
            self._check(self._cell())

    @classmethod
    def of(cls, layer: Recurrent | Bundle) -> Bundle:
        """Return the bundle of a layer, its arrays copied to the host; a bundle as it is."""
        if isinstance(layer, Bundle):
            return layer
        return cls(cell_name(layer.cell), {name: to_host(a).copy() for name, a in layer.params.items()})

    @property
    def parts(self) -> list[list[dict[str, Array]]]:
        """The parameters of every layer and direction, by the names of the cell's equations: the same arrays."""
        found: dict[int, dict[int, dict[str, Array]]] = {}
        for name, array in self.params.items():
            match = _NAME.fullmatch(name)
            if match is None:
                raise ValueError(f"expected names such as layer0.W and layer0.reverse.W, got {name!r}")
            layer, reverse, rest = match.groups()
            found.setdefault(int(layer), {}).setdefault(int(bool(reverse)), {})[rest] = array
        layers = [[directions[d] for d in sorted(directions)] for _, directions in sorted(found.items())]
        if sorted(found) != list(range(len(found))) or any(sorted(d) != [*range(len(d))] for d in found.values()):
            raise ValueError(f"layers are numbered from 0, each with a forward direction; got {sorted(self.params)}")
        if not layers or len({len(directions) for directions in layers}) != 1:
            raise ValueError(f"expected as many directions in every layer, got {sorted(self.params)}")
        return layers

    @property
    def layers(self) -> int:
        """How many layers."""
        return len(self.parts)

    @property
    def directions(self) -> int:
        """1, or 2 if each layer also runs in reverse."""
        return len(self.parts[0])

    @property
    def input_size(self) -> int:
        """D of the first layer."""
        return int(self.params["layer0.W"].shape[1])

    @property
    def hidden_size(self) -> int:
        """H."""
        if self.cell not in CELLS:
            raise ValueError(f"the sizes of {self.cell} are not known here; ask the cell itself")
        return int(self.params["layer0.W"].shape[0]) // len(self._cell().gates)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        first = next(iter(self.params.values()))
        dtype: np.dtype[Any] = first.dtype
        return dtype

    def astype(self, dtype: DTypeLike) -> Bundle:
        """Return a copy in another precision."""
        return Bundle(self.cell, {name: a.astype(dtype) for name, a in self.params.items()}, self.about)

    def layer(self, cell: Cell | None = None, **options: Any) -> Recurrent:
        """Return a `Recurrent` with copies of these weights.

        Parameters
        ----------
        cell : needed for a user's own, which is never imported because a file says so; for the library's, None.
        options : further options of `Recurrent`: dropout, batch_first, device.

        Raises
        ------
        ValueError, KeyError
            If the cell is missing or another, or its parameters are not these.
        """
        from rnncore.recurrent import Recurrent

        if cell is None and self.cell not in CELLS:
            raise ValueError(f"these are weights of {self.cell}; give the cell itself: layer(cell=MyCell())")
        cell = self._cell() if cell is None else cell
        if cell_name(cell) != self.cell:
            raise ValueError(f"these are weights of {self.cell}, got the cell {cell_name(cell)}")
        hidden = int(self.params["layer0.W"].shape[0]) // len(cell.gates)
        sizes = {"layers": self.layers, "bidirectional": self.directions == 2, "dtype": self.dtype}
        made = Recurrent(cell, self.input_size, hidden, **{**sizes, **options})
        xp = array_module(made.params.flat)
        made.params.assign({name: xp.asarray(a) for name, a in self.params.items()})
        return made

    def _cell(self) -> Cell:
        """Return the library's cell of this name; the one whose shapes have a size of their own reads it off here."""
        kind = CELLS[str(self.cell)]
        return kind(len(self.params["layer0.V"])) if kind is LSTMP and "layer0.V" in self.params else kind()

    def _check(self, cell: Cell) -> None:
        """Hold names, shapes and precision to what the cell asks for."""
        if "layer0.W" not in self.params:
            raise ValueError(f"weights of {self.cell}: the parameter layer0.W is missing, got {sorted(self.params)}")
        size, hidden = self.input_size, self.hidden_size
        wanted: dict[str, tuple[int, ...]] = {}
        for k in range(self.layers):
            for way in ("", "reverse.")[: self.directions]:
                wanted |= {f"layer{k}.{way}{name}": shape for name, shape in cell.shapes(size, hidden).items()}
            size = sizes_of(cell, hidden)[cell.state[0]] * self.directions
        got = {name: tuple(a.shape) for name, a in self.params.items()}
        for name in sorted(set(wanted) ^ set(got)) or wanted:
            if wanted.get(name) != got.get(name):
                raise ValueError(
                    f"weights of {self.cell}: expected {name} {wanted.get(name, 'not to be there')}, "
                    f"got {got.get(name, 'none')}"
                )
        kinds = {a.dtype for a in self.params.values()}
        if len(kinds) != 1 or not kinds <= set(FLOATS):
            names = ", ".join(sorted(kind.name for kind in kinds))
            raise TypeError(f"weights are all float32 or all float64, got {names}; convert them with astype")


def assemble(cell: str, parts: Parts) -> Bundle:
    """Return the bundle of the given parts, a list of directions for every layer."""
    names = [[f"layer{k}{way}" for way in ("", ".reverse")[: len(layer)]] for k, layer in enumerate(parts)]
    arrays: dict[str, Array] = {}
    for layer, directions in zip(names, parts, strict=True):
        for head, part in zip(layer, directions, strict=True):
            arrays |= {f"{head}.{name}": np.ascontiguousarray(array) for name, array in part.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite weights, got NaN or infinity; look at where they come from")
    return Bundle(cell, arrays)


def permute(array: Array, given: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return the row blocks of `array`, one a gate, moved from the order `given` to the order `wanted`; a copy.

    >>> permute(np.arange(4), ["z", "r"], ["r", "z"])
    array([2, 3, 0, 1])
    """
    blocks = dict(zip(given, np.split(array, len(given)), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted])


def cell_name(cell: Cell) -> str:
    """Return the name of a cell in `CELLS`, or `module:Class`."""
    cell = plain(cell)
    kind, variant = type(cell), getattr(cell, "variant", None)
    for name, known in CELLS.items():  # a variant may be made by its switch, or be a class of its own
        if issubclass(known, kind) and getattr(known, "variant", None) == variant:
            return name
    return f"{kind.__module__}:{kind.__qualname__}"


def portable(layer: Recurrent | Bundle, where: str, cells: Collection[str]) -> Bundle:
    """Return the bundle of a layer that is to go to another library, or raise ValueError if it has no such layer."""
    bundle = Bundle.of(layer)
    if bundle.cell not in cells:
        raise ValueError(f"{where} has no layer for {bundle.cell}; it has {', '.join(cells)}")
    regulariser = None if isinstance(layer, Bundle) else layer.stack.rates.regulariser
    if regulariser is not None and any(regulariser.zoneout.values()):
        raise ValueError(
            f"{where} has no zoneout, which acts in inference too, as its expectation; to have the weights all the "
            "same, pass Bundle.of(layer)"
        )
    return bundle


def as_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Return a weight of whatever kind as a host array, named in the error if it is none of float32 or float64."""
    array = np.asarray(to_host(value))
    if array.dtype not in FLOATS:
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}; convert it first")
    return array

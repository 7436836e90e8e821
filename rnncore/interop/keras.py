"""Weights in the layout of Keras 3: what `get_weights` returns and `set_weights` takes.

| Keras                                   | here                | note                                             |
|-----------------------------------------|---------------------|--------------------------------------------------|
| `kernel` (D, G·H)                       | `W` (G·H, D)        | transposed; LSTM blocks i, f, c, o; GRU z, r, h  |
| `recurrent_kernel` (H, G·H)             | `U` (G·H, H)        | the same                                         |
| `bias` (G·H,)                           | `b`                 | none with `use_bias=False`: zeros                |
| GRU with reset_after: `bias` (2, 3·H)   | `b`, `b_U`          | without reset_after: (3·H,), cell GRU-before     |
| `Bidirectional`: forward, then backward | `reverse.W` ...     | `merge_mode="concat"`, Keras's default           |

Source: keras/src/layers/rnn/lstm.py, gru.py, simple_rnn.py and bidirectional.py of Keras 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array
from rnncore.cells import CELLS
from rnncore.interop.bundle import Bundle, as_array, assemble, permute, portable

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

#: The order of Keras's column blocks, in our names of the gates.
GATES = {
    "LSTM": ("input", "forget", "candidate", "output"),
    "GRU": ("update", "reset", "candidate"),
    "GRU-before": ("update", "reset", "candidate"),
    "RNN": ("hidden",),
}
_ARRAYS = {2: "kernel and recurrent kernel", 3: "kernel, recurrent kernel and bias"}


def from_keras(layers: Sequence[Sequence[Any]], cell: str | None = None) -> Bundle:
    """Read LSTM, GRU or SimpleRNN layers, each alone or in `Bidirectional`, from their `get_weights()`.

    Parameters
    ----------
    layers : one list of arrays a layer, from below: `[layer.get_weights() for layer in (first, second)]`. The list
        of a single layer may be given bare. 2 or 3 arrays are one direction, without or with bias; 4 or 6 are two.
    cell : "LSTM", "GRU", "GRU-before" or "RNN"; needed only for a GRU with `use_bias=False`, whose shapes do not
        tell whether it was made with `reset_after` ("GRU", Keras's default) or without ("GRU-before").

    Raises
    ------
    ValueError, TypeError
        If the arrays are not those of such layers.

    Examples
    --------
    >>> import numpy as np
    >>> gru = [np.ones((2, 9)), np.ones((3, 9)), np.zeros((2, 9))]
    >>> from_keras(gru).cell, from_keras([gru[:2]], cell="GRU-before").cell
    ('GRU', 'GRU-before')
    """
    nested = [layers] if len(layers) and hasattr(layers[0], "dtype") else layers
    if not nested:
        raise ValueError("expected at least one layer's get_weights(), got an empty list")
    split = [_directions(k, weights) for k, weights in enumerate(nested)]
    found = cell or _cell_of(split[0][0])
    if found not in GATES:
        raise ValueError(f"Keras has no layer for {found!r}; it has {', '.join(GATES)}")
    return assemble(found, [[_part_in(found, arrays) for arrays in directions] for directions in split])


def to_keras(layer: Recurrent | Bundle) -> list[list[np.ndarray[Any, Any]]]:
    """Return what each layer's `set_weights` takes, one list a layer, of the Keras layers that compute the same.

    They are `LSTM(H, return_sequences=True)`, `GRU` (with `reset_after=False` for "GRU-before") or `SimpleRNN`, in
    `Bidirectional` if there are two directions, each with a bias.

    Raises
    ------
    ValueError
        If Keras has no such layer.

    Examples
    --------
    >>> from rnncore import GRU
    >>> [[array.shape for array in arrays] for arrays in to_keras(GRU(3, 4, layers=2))]
    [[(3, 12), (4, 12), (2, 12)], [(4, 12), (4, 12), (2, 12)]]
    """
    bundle = portable(layer, "Keras", GATES)
    cell = str(bundle.cell)
    return [[a for part in directions for a in _part_out(cell, part)] for directions in bundle.parts]


def _directions(k: int, weights: Sequence[Any]) -> list[list[Array]]:
    """Return the arrays of each direction of layer k."""
    arrays = [as_array(f"layer {k}, array {n}", w) for n, w in enumerate(weights)]
    if len(arrays) not in (2, 3, 4, 6):
        raise ValueError(
            f"layer {k}: expected 2 or 3 arrays, or 4 or 6 of a Bidirectional, got {len(arrays)}; "
            "give one list for each layer: [layer.get_weights() for layer in ...]"
        )
    each = len(arrays) if len(arrays) < 4 else len(arrays) // 2
    split = [arrays[:each], arrays[each:]][: len(arrays) // each]
    for kernel, recurrent, *bias in split:
        fits = kernel.ndim == recurrent.ndim == 2 and kernel.size and recurrent.size
        columns = recurrent.shape[1] if fits else 0
        if not (fits and kernel.shape[1] == columns and columns % len(recurrent) == 0):
            raise ValueError(
                f"layer {k}: expected {_ARRAYS[each]}, (D, G·H) and (H, G·H), got {kernel.shape} and {recurrent.shape}"
            )
        if bias and bias[0].shape not in ((columns,), (2, columns)):
            raise ValueError(f"layer {k}: expected the bias ({columns},) or (2, {columns}), got {bias[0].shape}")
    return split


def _cell_of(arrays: Sequence[Array]) -> str:
    """Return what the arrays of one direction belong to."""
    hidden, columns = arrays[1].shape
    if columns == 3 * hidden:
        if len(arrays) < 3:
            raise ValueError(
                "a GRU without bias does not tell its form; give cell='GRU' or, if it was made with "
                "reset_after=False, cell='GRU-before'"
            )
        return "GRU" if arrays[2].ndim == 2 else "GRU-before"
    kinds = {hidden: "RNN", 4 * hidden: "LSTM"}
    if columns not in kinds:
        raise ValueError(f"recurrent kernel: expected (H, H), (H, 3 H) or (H, 4 H), got {arrays[1].shape}")
    return kinds[columns]


def _part_in(cell: str, arrays: Sequence[Array]) -> dict[str, Array]:
    """Return one direction of a layer under our names."""
    kernel, recurrent, *rest = arrays
    order, two = CELLS[cell]().gates, cell == "GRU"
    if kernel.shape[1] != len(order) * len(recurrent):
        raise ValueError(f"{cell}: expected a kernel of {len(order)}·H columns, H={len(recurrent)}, got {kernel.shape}")
    bias = rest[0] if rest else np.zeros((2, kernel.shape[1]) if two else kernel.shape[1], kernel.dtype)
    if (bias.ndim == 2) != two:
        raise ValueError(
            f"{cell}: a bias of two rows belongs to a GRU with reset_after, and to no other; got {bias.shape}"
        )
    ours = {"W": kernel.T, "U": recurrent.T} | ({"b": bias[0], "b_U": bias[1]} if two else {"b": bias})
    return {name: permute(array, GATES[cell], order) for name, array in ours.items()}


def _part_out(cell: str, part: Mapping[str, Array]) -> list[Array]:
    """Return one direction of a layer as Keras lists it."""
    order = CELLS[cell]().gates
    moved = {name: permute(array, order, GATES[cell]) for name, array in part.items()}
    bias = np.stack([moved["b"], moved["b_U"]]) if cell == "GRU" else moved["b"]
    return [np.ascontiguousarray(moved["W"].T), np.ascontiguousarray(moved["U"].T), bias]

"""Weights in the layout of PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`: a `state_dict` in, a `state_dict` out.

| PyTorch               | here                  | note                                                            |
|-----------------------|-----------------------|-----------------------------------------------------------------|
| `weight_ih_l{k}`      | `layer{k}.W`          | LSTM blocks i, f, g, o there, i, f, o, g here; GRU r, z, n      |
| `weight_hh_l{k}`      | `layer{k}.U`          | the same                                                        |
| `bias_ih_l{k}`        | `layer{k}.b`          | LSTM, RNN: b is the sum of both biases                          |
| `bias_hh_l{k}`        | GRU: `layer{k}.b_U`   | LSTM, RNN: zero on the way out, since only the sum acts         |
| `weight_hr_l{k}`      | `layer{k}.V`          | an LSTM with `proj_size`, here the cell LSTM-projection         |
| `..._l{k}_reverse`    | `layer{k}.reverse...` |                                                                 |

Source: the documentation of `torch.nn.LSTM`, `torch.nn.GRU`, `torch.nn.RNN` (sections *Variables*).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array
from rnncore.cells import CELLS
from rnncore.interop.bundle import Bundle, as_array, assemble, permute, portable

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

#: The order of PyTorch's row blocks, in our names of the gates.
GATES = {
    "LSTM": ("input", "forget", "candidate", "output"),
    "LSTM-projection": ("input", "forget", "candidate", "output"),
    "GRU": ("reset", "update", "candidate"),
    "RNN": ("hidden",),
}
_KINDS = {1: "RNN", 3: "GRU", 4: "LSTM"}
_NAME = re.compile(r"((?:weight|bias)_(?:ih|hh|hr))(?:_l(\d+)(_reverse)?)?")


def from_pytorch(state: Mapping[str, Any], prefix: str = "") -> Bundle:
    """Read an LSTM, GRU or RNN from a `state_dict`, or from anything with its names.

    Parameters
    ----------
    state : name -> array: NumPy arrays, such as `safetensors.numpy.load_file` returns, or tensors in host memory.
        What it is, and all its sizes, follow from the shapes. `nn.LSTMCell` and its kin are taken too.
    prefix : of the names to read, if the state is that of a larger model: "decoder.rnn." for instance.

    An `nn.RNN` with `nonlinearity="relu"` has the same names and shapes as one with tanh, which is what is read.

    Raises
    ------
    ValueError, TypeError
        If a name is missing or unknown, or a shape or precision does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> shapes = {"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 3), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    >>> lstm = from_pytorch({f"rnn.{name}": np.ones(s, np.float32) for name, s in shapes.items()}, "rnn.").layer()
    >>> lstm
    Recurrent(2, 3): 72 parameters
    >>> lstm.params["layer0.b"][:2]
    array([2., 2.], dtype=float32)
    """
    if not isinstance(state, Mapping):
        hint = "; hand over module.state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(f"state: expected arrays by name, got {type(state).__name__}{hint}")
    found = _sorted_out(state, prefix)
    cell = _cell_of(found[0, 0], prefix)
    layers = range(1 + max(k for k, _ in found))
    directions = range(1 + max(d for _, d in found))
    return assemble(cell, [[_part_in(cell, found, k, d) for d in directions] for k in layers])


def to_pytorch(layer: Recurrent | Bundle, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """Return the `state_dict` of the PyTorch module that computes what `layer` computes; new arrays.

    `{name: torch.from_numpy(a) for name, a in to_pytorch(lstm).items()}` is what `load_state_dict` takes; the module
    is `nn.LSTM(D, H, num_layers, bidirectional=...)`, or GRU or RNN. Its own parameter order is kept.

    Raises
    ------
    ValueError
        If PyTorch has no such layer: its GRU is the one with reset after the product, for instance.

    Examples
    --------
    >>> from rnncore import LSTM
    >>> {name: array.shape for name, array in to_pytorch(LSTM(3, 4), prefix="rnn.").items()}
    {'rnn.weight_ih_l0': (16, 3), 'rnn.weight_hh_l0': (16, 4), 'rnn.bias_ih_l0': (16,), 'rnn.bias_hh_l0': (16,)}
    """
    bundle = portable(layer, "PyTorch", GATES)
    cell = str(bundle.cell)
    state = {}
    for k, directions in enumerate(bundle.parts):
        for way, part in zip(("", "_reverse"), directions, strict=False):
            for name, array in _part_out(cell, part).items():
                state[f"{prefix}{name}_l{k}{way}"] = array
    return state


def _sorted_out(state: Mapping[str, Any], prefix: str) -> dict[tuple[int, int], dict[str, Array]]:
    """Return (layer, direction) -> PyTorch's name without either -> array."""
    found: dict[tuple[int, int], dict[str, Array]] = {}
    for name in (name for name in state if name.startswith(prefix)):
        match = _NAME.fullmatch(name, len(prefix))
        if match is None:
            raise ValueError(
                f"{name!r} is no name of a recurrent layer; if it is one of a larger model, give the prefix"
            )
        kind, layer, reverse = match.groups()
        found.setdefault((int(layer or 0), int(bool(reverse))), {})[kind] = as_array(name, state[name])
    if "weight_hh" not in found.get((0, 0), {}):
        raise ValueError(f"no {prefix}weight_hh_l0 among {sorted(state)[:8]}; give the prefix of the layer's names")
    return found


def _cell_of(given: Mapping[str, Array], prefix: str) -> str:
    """Return what the first layer belongs to."""
    shape, cell = given["weight_hh"].shape, None
    by_hidden = given.get("weight_hr", given["weight_hh"])  # (P, H) or (G·H, H)
    if len(shape) == by_hidden.ndim == 2 and by_hidden.size:
        gates, rest = divmod(shape[0], by_hidden.shape[1])
        cell = None if rest else _KINDS.get(gates)
    if cell is None or ("weight_hr" in given and cell != "LSTM"):
        raise ValueError(f"{prefix}weight_hh_l0: expected the shape (H, H), (3 H, H) or (4 H, H), got {shape}")
    return "LSTM-projection" if "weight_hr" in given else cell


def _part_in(cell: str, found: Mapping[tuple[int, int], Mapping[str, Array]], k: int, d: int) -> dict[str, Array]:
    """Return one layer and direction under our names."""
    given, label = dict(found.get((k, d), {})), f"_l{k}{'_reverse' * d}"
    for name in ("weight_ih", "weight_hh"):
        if name not in given:
            raise ValueError(f"{name}{label} is missing")
    order = CELLS[cell]().gates
    rows = given["weight_hh"].shape[0] if given["weight_hh"].ndim else 0
    none = np.zeros(rows, given["weight_hh"].dtype)  # a module with bias=False has none of the two
    arrays = {"bias_ih": none, "bias_hh": none, **given}
    for name, array in arrays.items():
        axes = 2 if name.startswith("weight") else 1
        if array.ndim != axes or (len(array) != rows and name != "weight_hr"):
            raise ValueError(f"{name}{label}: expected {axes} axes and {rows} rows, got the shape {array.shape}")
    W, U, b, b_U = (permute(arrays[n], GATES[cell], order) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    if cell == "GRU":
        return {"W": W, "U": U, "b": b, "b_U": b_U}
    return {"W": W, "U": U, "b": b + b_U} | ({"V": given["weight_hr"]} if "weight_hr" in given else {})


def _part_out(cell: str, part: Mapping[str, Array]) -> dict[str, Array]:
    """Return one layer and direction under PyTorch's names."""
    order = CELLS[cell]().gates
    ours = {"weight_ih": part["W"], "weight_hh": part["U"], "bias_ih": part["b"]}
    ours["bias_hh"] = part.get("b_U", np.zeros_like(part["b"]))
    named = {name: permute(array, order, GATES[cell]) for name, array in ours.items()}
    return named | ({"weight_hr": part["V"].copy()} if "V" in part else {})

"""What a recurrent layer may be given besides its sizes; whatever else is refused, with the name that it has here."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from numpy.typing import DTypeLike

from rnncore.array import Array
from rnncore.cells.base import Cell
from rnncore.params import Initialiser

Initialisers = Initialiser | Mapping[str, Initialiser]


class Options(TypedDict, total=False):
    """What every kind of layer takes besides its sizes; see `Recurrent`."""

    layers: int
    bidirectional: bool
    dropout: float
    dropconnect: float
    zoneout: float | Mapping[str, float]
    recurrent_dropout: float
    batch_first: bool
    initialisers: Initialisers | None
    seed: int
    dtype: DTypeLike
    device: str
    fused: bool


#: What PyTorch, Keras or the literature call by another name, or what is always so here.
_ELSEWHERE = {
    "num_layers": "it is called layers here",
    "proj_size": "it is called projection here",
    "units": "it is called hidden_size here, after input_size",
    "variational_dropout": "it is called recurrent_dropout here",
    "weight_dropout": "it is called dropconnect here",
    "kernel_initializer": "give initialisers={'W': ...}",
    "recurrent_initializer": "give initialisers={'U': ...}",
    "unit_forget_bias": "give forget_bias=1.0, which it is by default",
    "return_sequences": "h_t of every step is always returned, and the last states beside it",
    "return_state": "the last states are always returned, beside h_t of every step",
    "time_major": "x is (T, B, D) unless batch_first=True",
    "stateful": "hand the last states to the next call, or see rnncore.Truncated",
    "go_backwards": "hand in x[::-1], or see bidirectional",
    "activation": "the functions are the cell's; write a cell of your own, it is one file",
    "nonlinearity": "the functions are the cell's; write a cell of your own, it is one file",
    "bias": "there is always a bias, at first zero",
    "use_bias": "there is always a bias, at first zero",
}


def known(kind: str, options: Options, *own: str) -> Options:
    """Return the options of a `kind` of layer as they are; TypeError if one is unknown, with what it may mean."""
    names = [*own, *Options.__annotations__]
    for name in cast(Mapping[str, Any], options):
        if name not in names:
            import difflib  # here, since only a mistake needs it

            close = difflib.get_close_matches(name, names, 1)
            hint = _ELSEWHERE.get(name, f"did you mean {close[0]}" if close else "look at the list")
            raise TypeError(f"{kind} has no option {name!r}: {hint}; its options are {', '.join(names)}")
    return options


def at_least(least: int, **numbers: Any) -> tuple[int, ...]:
    """Return the numbers as whole ones of at least `least`; TypeError or ValueError that names one that is not."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"{name}: expected a whole number, got {number!r}")
        if operator.index(number) < least:
            raise ValueError(f"{name}: expected at least {least}, got {number}")
    return tuple(operator.index(number) for number in numbers.values())


def check_rates(dropout: float, dropconnect: float, layers: int, cell: Cell) -> None:
    """Raise ValueError unless the rates are rates, and act on something."""
    for name, rate in (("dropout", dropout), ("dropconnect", dropconnect)):
        if not 0 <= rate < 1:
            raise ValueError(f"{name}: expected a rate from 0 to below 1, got {rate}")
    if dropout and layers == 1:
        raise ValueError(f"dropout={dropout} acts between layers, and there is one; use rnncore.Dropout around it")
    if dropconnect and "U" not in cell.shapes(1, 1):
        raise ValueError(f"dropconnect={dropconnect} acts on U, which {type(cell).__name__} does not have")


def zoneout_rates(zoneout: float | Mapping[str, float], cell: Cell) -> dict[str, float]:
    """Return the rate of every state that has one; KeyError if a name is no state of the cell."""
    if not isinstance(zoneout, Mapping):
        return dict.fromkeys(cell.state if zoneout else (), zoneout)
    if unknown := sorted(set(zoneout) - set(cell.state)):
        raise KeyError(f"zoneout of {unknown}: the states of {type(cell).__name__} are {', '.join(cell.state)}")
    return dict(zoneout)


def by_full_name(
    names: Sequence[str] | Mapping[str, Array], cell: Cell, given: Initialisers | None
) -> dict[str, Initialiser]:
    """Return the initialiser of every parameter "layer0.W": its own, else that of all W, else the cell's."""
    if callable(given):
        return dict.fromkeys(names, given)
    if not isinstance(given, Mapping | None):
        raise TypeError(f"initialisers: expected a function of (generator, shape), or several by name, got {given!r}")
    own: dict[str, Initialiser] = {**cell.initialisers(), **(given or {})}
    unknown = sorted(set(given or {}) - set(names) - set(cell.initialisers()))
    if unknown:
        raise KeyError(f"no parameters {unknown} to initialise; there are {', '.join(names)}")
    return {name: own.get(name, own[name.rpartition(".")[2]]) for name in names}


def as_fused(cell: Cell) -> Cell:
    """Return the cell with its steps as fused kernels."""
    from rnncore.kernels import Fused  # here, since most who import the library never ask for it

    return cell if isinstance(cell, Fused) else Fused(cell)

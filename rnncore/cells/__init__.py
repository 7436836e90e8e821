"""One file a cell, each its equations, its step and its step backward."""

from importlib import import_module

from rnncore.cells.base import Cell, Weights, recurrent_initialisers
from rnncore.cells.greff import CIFG, FGR, NFG, NIAF, NIG, NOAF, NOG, NP, GreffLSTM, PeepholeLSTM
from rnncore.cells.gru import GRU, GRUBefore
from rnncore.cells.layernorm import LayerNormLSTM
from rnncore.cells.lstm import LSTM
from rnncore.cells.lstmp import LSTMP
from rnncore.cells.mingru import MinGRU
from rnncore.cells.rnn import RNN
from rnncore.trace import Now, sizes_of

#: Every cell of the library, by the name that commands and recipes use.
CELLS: dict[str, type[Cell]] = {
    "RNN": RNN,
    "LSTM": LSTM,
    "GRU": GRU,
    "GRU-before": GRUBefore,
    "minGRU": MinGRU,
    "LSTM-peephole": PeepholeLSTM,
    "LSTM-projection": LSTMP,
    "LSTM-layernorm": LayerNormLSTM,
    "CIFG": CIFG,
    **{f"Greff-{kind.variant}": kind for kind in (NIG, NFG, NOG, NIAF, NOAF, NP, FGR)},
}


def find_cell(name: str) -> Cell:
    """Return the cell of a name in `CELLS`, or a user's own of the form `module:Class`.

    Raises
    ------
    ValueError
        If there is no such cell; the message lists those there are.

    Examples
    --------
    >>> find_cell("GRU").gates, find_cell("rnncore.cells:LSTM").state
    (('reset', 'update', 'candidate'), ('h', 'c'))
    """
    if name in CELLS:
        return CELLS[name]()
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"no cell {name!r}; there are {', '.join(CELLS)}, or write module:Class for one of your own")
    try:
        cell: Cell = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"the cell {name!r} cannot be loaded: {error}") from error
    return cell


__all__ = [
    "CELLS",
    "CIFG",
    "GRU",
    "LSTM",
    "LSTMP",
    "RNN",
    "Cell",
    "GRUBefore",
    "GreffLSTM",
    "LayerNormLSTM",
    "MinGRU",
    "Now",
    "PeepholeLSTM",
    "Weights",
    "find_cell",
    "recurrent_initialisers",
    "sizes_of",
]

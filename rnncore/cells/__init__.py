"""One file a cell, each its equations, its step and its step backward."""

from rnncore.cells.base import Cell, Now, Weights, recurrent_initialisers
from rnncore.cells.gru import GRU, GRUBefore
from rnncore.cells.lstm import LSTM
from rnncore.cells.rnn import RNN

#: Every cell of the library, by the name that commands and recipes use.
CELLS: dict[str, type[Cell]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU, "GRU-before": GRUBefore}

__all__ = ["CELLS", "GRU", "LSTM", "RNN", "Cell", "GRUBefore", "Now", "Weights", "recurrent_initialisers"]

"""What the gates of a cell are, found by asking the cell itself: so that it holds for a user's own cell too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import sequence
from rnncore.cells.base import Cell
from rnncore.params import Params
from rnncore.trace import Trace

#: The functions that make a gate of its pre-activation, by name, and their range.
SQUASHES: dict[str, tuple[Callable[[Any], Any], tuple[float, float]]] = {
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), (0.0, 1.0)),
    "tanh": (np.tanh, (-1.0, 1.0)),
    "identity": (lambda a: a, (-np.inf, np.inf)),
}


@dataclass(frozen=True)
class Carry:
    """Which gate says how much of a state goes on to the next step.

    state : the state that is carried, c of an LSTM, h of a GRU.
    gate : the gate; None where the state is carried whole, as in an LSTM without forget gate.
    keeps : whether the state is kept where the gate is 1 (forget of an LSTM, update of `GRU`) or where it is 0 (update
        of `MinGRU`).
    """

    state: str
    gate: str | None
    keeps: bool = True

    def share(self, gate: np.ndarray) -> np.ndarray:
        """Return the share that is carried, of the gate's values."""
        return gate if self.keeps else 1 - gate


def carried_state(cell: Cell) -> str:
    """Return the state that remembers: c where there is one, else the output.

    >>> from rnncore.cells import GRU, LSTM
    >>> carried_state(LSTM()), carried_state(GRU())
    ('c', 'h')
    """
    return "c" if "c" in cell.state else cell.state[0]


def carry_of(cell: Cell) -> Carry:
    r"""Find the gate k in :math:`s_t = k \odot s_{t-1} + \cdots`, where s is the state that remembers.

    The cell is run with all weights zero but the biases, from s = 0 and from s = 1: the difference is k.

    Raises
    ------
    ValueError
        If no gate multiplies the state, as in a tanh RNN.

    Examples
    --------
    >>> from rnncore.cells import GRU, LSTM, MinGRU
    >>> carry_of(LSTM())
    Carry(state='c', gate='forget', keeps=True)
    >>> carry_of(MinGRU())
    Carry(state='h', gate='update', keeps=False)
    """
    state = carried_state(cell)
    traces = [_probe(cell, {state: value}) for value in (0.0, 1.0)]
    kept = float((traces[1][state] - traces[0][state])[0, 0, 0])
    found = []
    for gate in cell.gates:
        value = float(traces[0][gate][0, 0, 0])
        found += [
            Carry(state, gate, keeps) for keeps, k in ((True, value), (False, 1 - value)) if abs(k - kept) < 1e-12
        ]
    # where the biases do not reach the gates, as behind a normalisation, several look alike: then by their names
    named = [carry for carry in found if carry.gate in ("forget", "update")]
    if len(found) == 1 or named:
        return (named or found)[0]
    if abs(kept - 1) < 1e-12:
        return Carry(state, None)
    raise ValueError(f"no gate of {type(cell).__name__} carries {state} from step to step; name one, gate=...")


def squash_of(cell: Cell, gate: str) -> str:
    """Find which of `SQUASHES` makes a gate of its pre-activation W x + U h + b.

    Raises
    ------
    ValueError
        If it is none of them, or if the pre-activation is not all, as where it is normalised first.

    Examples
    --------
    >>> from rnncore.cells import LSTM
    >>> squash_of(LSTM(), "forget"), squash_of(LSTM(), "candidate")
    ('sigmoid', 'tanh')
    """
    check_gate(cell, gate)
    value = float(_probe(cell, {})[gate][0, 0, 0])
    a = _bias(cell.gates.index(gate))
    for name, (f, _) in SQUASHES.items():
        if abs(float(f(a)) - value) < 1e-12:
            return name
    raise ValueError(
        f"{gate} of {type(cell).__name__} is no plain function of its pre-activation W x + U h + b "
        f"({a:g} gives {value:g}), so it cannot be set from outside"
    )


def check_gate(cell: Cell, gate: str) -> None:
    """Raise KeyError unless the cell has such a gate."""
    if gate not in cell.gates:
        raise KeyError(f"no gate {gate!r}; {type(cell).__name__} has {', '.join(cell.gates)}")


def _bias(k: int) -> float:
    """One for each gate, all different, none near another's complement."""
    return 0.37 + 0.61 * k


def _inside(cell: Cell) -> Cell:
    """The cell inside one with attention, or inside a fused one, which runs on a GPU alone."""
    inner: Cell | None = getattr(cell, "cell", None)
    return cell if inner is None else _inside(inner)


def _probe(cell: Cell, states: dict[str, float]) -> Trace:
    """One step of one unit whose weights are zero but for the biases."""
    cell = _inside(cell)
    p = Params(cell.shapes(1, 1), np.float64)
    p["b"][...] = [_bias(k) for k in range(len(cell.gates))]
    sizes = sequence.Stepper(cell, p).state
    initial = [np.full_like(s, states.get(name, 0.0)) for name, s in zip(cell.state, sizes, strict=True)]
    return sequence.forward(cell, p, np.zeros((1, 1, 1)), initial)

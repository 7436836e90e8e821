"""What is studied: one cell over one batch, with everything that happened, as arrays, as a table, as a file.

>>> import numpy as np
>>> from rnncore import LSTM
>>> from rnncore.study import Run
>>> lstm = LSTM(3, 4, seed=0)
>>> output, _ = lstm(np.ones((5, 2, 3), "float32"), lengths=[5, 3])
>>> _ = lstm.backward(output, keep_state_gradients=True)
>>> run = Run.of(lstm)
>>> run["forget"].shape, run.gradients["c"].shape
((5, 2, 4), (5, 2, 4))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore import sequence
from rnncore.array import Array, to_host
from rnncore.cells.base import Cell, Weights, plain
from rnncore.trace import Trace

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Tokens = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Run:
    """A cell, its parameters, and what happened at every step: copies, which no later pass changes.

    Attributes
    ----------
    cell, weights : the definition and the parameters by the names of its equations, `W`, `U`, `b`, ...
    x : (T, B, D) what it read, zeros in the padding.
    initial : the states before the first step, (B, H) each, in the order of `cell.state`.
    lengths : (B,) how many steps of each sequence are real.
    values : every gate, state and saved value by name, (T, B, H) each, zeros in the padding; `run[name]` is the same.
    gradients : what reached every pre-activation, and every state where `keep_state_gradients` was asked for; empty
        before `backward`.
    tokens : for each sequence what stands at each of its steps, such as words; None where there is nothing to say.
    name : what tables and pictures call it.
    """

    cell: Cell
    weights: Mapping[str, Floats]
    x: Floats
    initial: tuple[Floats, ...]
    lengths: np.ndarray[Any, np.dtype[np.intp]]
    values: Mapping[str, Floats]
    gradients: Mapping[str, Floats] = field(default_factory=dict)
    tokens: tuple[tuple[str, ...], ...] | None = None
    name: str = ""

    @classmethod
    def from_trace(cls, trace: Trace, weights: Weights, tokens: Tokens | None = None, name: str | None = None) -> Run:
        """Copy a Trace and the parameters it was computed with.

        Raises
        ------
        ValueError
            If the tokens are not one for each real step.
        """
        packing = trace.packing
        values = {key: to_host(trace[key]).copy() for key in trace.names}
        gradients: dict[str, Floats] = {}
        for key in dict.fromkeys((*trace.cell.preactivations, *trace.cell.state)):
            with suppress(RuntimeError):  # which says that there are none
                gradients[key] = to_host(trace.gradient(key)).copy()
        return cls(
            plain(trace.cell),
            {key: to_host(array).copy() for key, array in weights.items()},
            to_host(packing.unpack(trace.x)).copy(),
            tuple(to_host(packing.unsort(s.T)).copy() for s in trace.initial),
            packing.lengths.copy(),
            values,
            gradients,
            _checked(tokens, packing.lengths),
            type(plain(trace.cell)).__name__ if name is None else name,
        )

    @classmethod
    def of(
        cls,
        layer: Recurrent,
        tokens: Tokens | None = None,
        *,
        depth: int = -1,
        reverse: bool = False,
        name: str | None = None,
    ) -> Run:
        """Copy what a layer did in its last call.

        depth : which of its layers. reverse : whether the reverse direction is meant; its steps, and their tokens, are
        in the order in which they ran.
        """
        if reverse and layer.directions == 1:
            raise ValueError("reverse: the layer has no reverse direction; make it with bidirectional=True")
        trace = layer.traces[depth][int(reverse)]
        if reverse and tokens is not None:
            tokens = [list(reversed(words)) for words in tokens]
        scope = f"layer{depth % layer.layers}" + (".reverse" if reverse else "")
        weights = {
            key.removeprefix(scope + "."): a for key, a in layer.params.items() if key.rpartition(".")[0] == scope
        }
        return cls.from_trace(trace, weights, tokens, name)

    def __getitem__(self, name: str) -> Floats:
        """Return a gate, a state or a saved value at every step, (T, B, H)."""
        if name not in self.values:
            raise KeyError(f"no {name!r} in this run; there are {', '.join(self.values)}")
        return self.values[name]

    @property
    def steps(self) -> int:
        """T."""
        return len(self.x)

    @property
    def batch(self) -> int:
        """B."""
        return len(self.lengths)

    @property
    def hidden(self) -> int:
        """H."""
        return int(self[self.cell.gates[0]].shape[2])

    @property
    def real(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(T, B): which steps are no padding."""
        mask: np.ndarray[Any, np.dtype[np.bool_]] = np.arange(self.steps)[:, None] < self.lengths[None, :]
        return mask

    def rows(self, name: str) -> Floats:
        """Return a value at every real step of every sequence, (N, H), sequence after sequence."""
        found: Floats = np.swapaxes(self[name], 0, 1)[self.real.T]
        return found

    def words(self) -> list[str]:
        """Return the token of every row of `rows`."""
        if self.tokens is None:
            raise ValueError("this run has no tokens: give them to Run.of(layer, tokens) or Run.from_trace")
        return [word for words in self.tokens for word in words]

    def labels(self, sequence: int = 0) -> list[str]:
        """Return what to write at each step of a sequence: its tokens, or the numbers of its steps."""
        if self.tokens is not None:
            return list(self.tokens[sequence])
        return [str(t) for t in range(int(self.lengths[sequence]))]

    def before(self, name: str) -> Floats:
        """Return a state before each step, (T, B, H); it holds for real steps."""
        first = self.initial[self.cell.state.index(name)]
        return np.concatenate([first[None], self[name][:-1]])

    def again(self, cell: Cell | None = None, weights: Weights | None = None) -> Trace:
        """Run the same input once more, through another cell or other weights where they are given."""
        return sequence.forward(cell or self.cell, weights or self.weights, self.x, self.initial, self.lengths)

    def named(self, name: str) -> Run:
        """Return the same under another name."""
        return replace(self, name=name)


def run_cell(
    cell: Cell,
    weights: Weights,
    x: Array,
    initial: Sequence[Array] | None = None,
    lengths: sequence.Lengths = None,
    doutput: Array | None = None,
    tokens: Tokens | None = None,
) -> Run:
    """Run a cell over x (T, B, D) and return the Run; with `doutput` (T, B, H) its gradients too."""
    trace = sequence.forward(cell, weights, x, initial, lengths)
    if doutput is not None:
        sequence.backward(cell, weights, trace, doutput, keep_state_gradients=True)
    return Run.from_trace(trace, weights, tokens)


def _checked(tokens: Tokens | None, lengths: np.ndarray[Any, Any]) -> tuple[tuple[str, ...], ...] | None:
    if tokens is None:
        return None
    given = tuple(tuple(words) for words in tokens)
    if [len(words) for words in given] != [int(n) for n in lengths]:
        raise ValueError(
            f"tokens: expected one for each real step, {[int(n) for n in lengths]} of them, "
            f"got {[len(words) for words in given]}"
        )
    return given

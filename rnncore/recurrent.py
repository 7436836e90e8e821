"""What one imports: recurrent layers that hold their parameters, run over batches, and back-propagate.

>>> import numpy as np
>>> from rnncore import LSTM, Adam
>>> x = np.random.default_rng(0).normal(size=(20, 3, 5)).astype("float32")    # (T, B, D)
>>> lstm = LSTM(input_size=5, hidden_size=16, seed=0)
>>> output, (h, c) = lstm(x, lengths=[20, 11, 4])
>>> output.shape, h.shape, lstm.trace["forget"].shape
((20, 3, 16), (3, 16), (20, 3, 16))
>>> dx, (dh, dc) = lstm.backward(np.ones_like(output))                          # gradients into lstm.grads
>>> Adam(lstm.params, learning_rate=1e-3).step(lstm.grads.flat)

Two layers in both directions, with dropout between them, and every memory cell c_t of the upper reverse lane:

>>> deep = LSTM(5, 16, layers=2, bidirectional=True, dropout=0.3)
>>> output, (h, c) = deep(x, lengths=[20, 11, 4])
>>> output.shape, h.shape, deep.traces[1][1]["c"].shape
((20, 3, 32), (4, 3, 16), (20, 3, 16))
>>> list(deep.params)[:4]
['layer0.W', 'layer0.U', 'layer0.b', 'layer0.reverse.W']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from rnncore import cells, sequence
from rnncore.array import Array, array_module, check_float, check_shape, module_for
from rnncore.cells.base import Cell
from rnncore.layers import Dropout
from rnncore.packing import Packing
from rnncore.params import Initialiser
from rnncore.sequence import Lengths
from rnncore.stack import Stack
from rnncore.trace import Trace

Initialisers = Initialiser | Mapping[str, Initialiser]


class Options(TypedDict, total=False):
    """What every kind of layer takes besides its sizes; see `Recurrent`."""

    layers: int
    bidirectional: bool
    dropout: float
    batch_first: bool
    initialisers: Initialisers | None
    seed: int
    dtype: DTypeLike
    device: str


class Recurrent:
    """Layers of any cell over a batch of sequences; `LSTM`, `GRU` and `RNN` are this with their own cell.

    Parameters
    ----------
    cell : the cell's definition, such as `rnncore.cells.LSTM()`, or one of your own.
    input_size, hidden_size : D and H.
    layers : how many, one above the other.
    bidirectional : whether each layer also runs every sequence from its own last step to its first. Outputs of both
        directions lie beside one another, forward first: R·H numbers with R = 2 directions, else R = 1.
    dropout : rate of the zeros between layers while `training`, one mask a step (Zaremba, Sutskever & Vinyals 2014,
        section 3.1); not before the first layer, nor after the last.
    batch_first : whether x, output and their gradients are (B, T, ...) instead of (T, B, ...); states never are.
    initialisers : in place of the cell's own: one for all parameters, such as `params.uniform(hidden_size**-0.5)`,
        which is PyTorch's; or by name, "U" for the U of every layer and direction, "layer1.U" for one.
    seed : of the first values and of dropout: equal seeds give equal layers on every device.
    dtype : float32 or float64; inputs must have the same.
    device : 'cpu' (NumPy) or 'cuda' (CuPy).

    Attributes
    ----------
    params, grads : named arrays, views of one flat buffer each (`params.flat`), for an optimiser:
        "layer0.W", "layer0.reverse.W", "layer1.W", and so on for U and b.
    traces : of the last call, for every layer a tuple of its directions: every gate and state (h, c) at every step,
        and after `backward` their gradients. That of a reverse direction has the steps in the order in which it ran.
    trace : that of the last layer, forward direction.
    training : whether dropout acts, at first True; set it to False to evaluate.
    dropout : its generator's `state()` can be saved, and set by `set_state`, for an exact resume.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        initialisers: Initialisers | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
    ) -> None:
        if input_size < 1 or hidden_size < 1 or layers < 1:
            got = f"{input_size}, {hidden_size} and {layers}"
            raise ValueError(f"input_size, hidden_size and layers must be at least 1, got {got}")
        if dropout and layers == 1:
            raise ValueError(f"dropout={dropout} acts between layers, and there is one; use rnncore.Dropout around it")
        self.cell, self.input_size, self.hidden_size, self.layers = cell, input_size, hidden_size, layers
        self.directions, self.batch_first = 2 if bidirectional else 1, batch_first
        self.dropout = Dropout(dropout, int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
        xp = module_for(device)
        self.stack = Stack(cell, input_size, hidden_size, layers, self.directions, self.dropout, dtype, xp)
        self.params, self.grads = self.stack.params, self.stack.grads
        self.params.initialise(_by_full_name(self.params, cell, initialisers), seed)
        self._packing: Packing | None = None
        self._padded = False

    @property
    def training(self) -> bool:
        """Whether dropout acts."""
        return self.stack.training

    @training.setter
    def training(self, value: bool) -> None:
        self.stack.training = value

    @property
    def traces(self) -> tuple[tuple[Trace, ...], ...]:
        """Everything that happened in the last call: for every layer a tuple of its directions."""
        if self._packing is None:
            raise RuntimeError("there is no trace yet: call the layer on x first")
        return tuple(tuple(lane.trace for lane in layer if lane.trace is not None) for layer in self.stack.lanes)

    @property
    def trace(self) -> Trace:
        """The Trace of the last layer's forward direction."""
        return self.traces[-1][0]

    def __call__(
        self, x: Array, state: Array | Sequence[Array] | None = None, lengths: Lengths = None
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : (T, B, D), or (B, T, D) with batch_first; or, if `lengths` is a `Packing`, its rows (N, D). NaN and
            infinity are refused, but in the padding anything may stand.
        state : the initial states: (h, c) for an LSTM, (h,) or h itself for the others; zeros when None. Each is
            (B, H) for one layer in one direction, else (layers·R, B, H): layer 0 forward, layer 0 reverse, layer 1 ...
        lengths : (B,) how many steps of each sequence are real; all T when None.

        Returns
        -------
        output : (T, B, R·H), or (B, T, R·H) with batch_first, or (N, R·H): h_t of the last layer at every step, zero
            in the padding; a copy.
        state : the last states, shaped as the initial ones, every sequence's at its own end; for a reverse direction
            that is after its first step.

        Raises
        ------
        ValueError, TypeError
            If shapes, precision or values do not fit; the message says which argument, and what was expected.
        """
        check_float("x", x, self.params.flat.dtype)
        packing, rows = self._pack(x, lengths)
        if not bool(array_module(x).isfinite(rows).all()):
            raise ValueError("x: expected finite numbers, got NaN or infinity; look at where x comes from")
        initial = None if state is None else self._lanes_of("state", state, packing.batch)
        self._packing, self._padded = None, not isinstance(lengths, Packing)
        output = self.stack.forward(rows, initial, packing)
        self._packing = packing
        last = [lane.trace.last for layer in self.stack.lanes for lane in layer if lane.trace is not None]
        return self._unpack(output), self._joined(last)

    def backward(
        self,
        doutput: Array | None = None,
        dstate: Array | Sequence[Array | None] | None = None,
        need_dx: bool = True,
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Back-propagate through the last call, and overwrite `grads`.

        Parameters
        ----------
        doutput : the gradient of the output at every step, shaped as it; zero when None.
        dstate : the gradients of the last states, shaped as they; None is zero.

        Returns
        -------
        dx : shaped as x, zero in the padding; None unless `need_dx`.
        dstate : the gradients of the initial states, shaped as they.
        """
        if self._packing is None:
            raise RuntimeError("backward needs a forward pass: call the layer on x first")
        lanes = self.layers * self.directions
        nothing: list[list[Array | None]] = [[None] * len(self.cell.state)] * lanes
        dlast = nothing if dstate is None else self._lanes_of("dstate", dstate, self._packing.batch)
        rows = None
        if doutput is not None:
            check_float("doutput", doutput, self.params.flat.dtype)
            rows = self._rows("doutput", doutput, self._packing, self.directions * self.trace.state_rows.shape[1])
        dx, dinitial = self.stack.backward(rows, dlast, need_dx)
        return None if dx is None else self._unpack(dx), self._joined(dinitial)

    def stepper(self, batch: int = 1, state: Sequence[Array] | None = None) -> sequence.Stepper:
        """Return a `Stepper`: one step at a time with carried state."""
        return sequence.Stepper(self.cell, self.stack.lanes[0][0].weights, batch, state)

    def __repr__(self) -> str:
        shape = f"{self.input_size}, {self.hidden_size}"
        shape += f", layers={self.layers}" if self.layers > 1 else ""
        shape += ", bidirectional" if self.directions > 1 else ""
        return f"{type(self).__name__}({shape}): {self.params.size:,} parameters"

    def _pack(self, x: Array, lengths: Lengths) -> tuple[Packing, Array]:
        """Return the packing of x and its rows."""
        if isinstance(lengths, Packing):
            check_shape("x", x, {"N": lengths.rows, "D": self.input_size})
            return lengths, x
        axes = ("B", "T") if self.batch_first else ("T", "B")
        check_shape("x", x, {axes[0]: None, axes[1]: None, "D": self.input_size})
        padded = x.swapaxes(0, 1) if self.batch_first else x
        steps, batch = padded.shape[:2]
        packing = Packing.dense(steps, batch) if lengths is None else _packing(lengths, steps, batch)
        return packing, packing.pack(padded)

    def _rows(self, name: str, x: Array, packing: Packing, size: int) -> Array:
        """Return the rows of what the caller laid out as x."""
        if not self._padded:
            check_shape(name, x, {"N": packing.rows, "R·H": size})
            return x
        axes = {"T": packing.steps, "B": packing.batch}
        check_shape(name, x, {**(dict(reversed(axes.items())) if self.batch_first else axes), "R·H": size})
        return packing.pack(x.swapaxes(0, 1) if self.batch_first else x)

    def _unpack(self, rows: Array) -> Array:
        """Return rows laid out as the caller laid out x, never a view of a Trace."""
        xp = array_module(rows)
        if not self._padded or self._packing is None:
            return rows.copy()
        padded = self._packing.unpack(rows)
        padded = xp.ascontiguousarray(padded.swapaxes(0, 1)) if self.batch_first else padded
        return padded.copy() if xp.may_share_memory(padded, rows) else padded

    def _lanes_of(self, name: str, state: Array | Sequence[Array | None], batch: int) -> list[list[Array]]:
        """Return for every lane its states, (B, H) each, of the caller's (layers·R, B, H)."""
        given = list(state) if isinstance(state, tuple | list) else [state]
        names, lanes = self.cell.state, self.layers * self.directions
        if len(given) != len(names):
            raise ValueError(f"{name}: expected {len(names)} arrays ({', '.join(names)}), got {len(given)}")
        out: list[list[Array]] = [[] for _ in range(lanes)]
        for part, array in zip(names, given, strict=True):
            if array is not None:
                expected = {"B": batch, "H": None} if lanes == 1 else {"layers·R": lanes, "B": batch, "H": None}
                check_shape(f"{name} {part}", array, expected)
            for k in range(lanes):
                out[k].append(array if array is None or lanes == 1 else array[k])
        return out

    def _joined(self, lanes: Sequence[Sequence[Array]]) -> tuple[Array, ...]:
        """Return the states of all lanes as the caller knows them."""
        if len(lanes) == 1:
            return tuple(lanes[0])
        return tuple(array_module(*parts).stack(parts) for parts in zip(*lanes, strict=True))


class LSTM(Recurrent):
    """Long short-term memory; equations and parameters as in `rnncore.cells.LSTM`. States: h and c.

    forget_bias : the first value of the forget gate's bias. Other options: see `Recurrent`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, forget_bias: float = 1.0, **options: Unpack[Options]
    ) -> None:
        super().__init__(cells.LSTM(forget_bias), input_size, hidden_size, **options)


class GRU(Recurrent):
    """Gated recurrent unit. State: h.

    reset_after : True is the form of cuDNN, PyTorch and Keras (`rnncore.cells.GRU`), False the published one
        (`rnncore.cells.GRUBefore`). They differ in equations and in parameters. Other options: see `Recurrent`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reset_after: bool = True, **options: Unpack[Options]
    ) -> None:
        super().__init__(cells.GRU() if reset_after else cells.GRUBefore(), input_size, hidden_size, **options)


class RNN(Recurrent):
    """Simple recurrent network with tanh; equations and parameters as in `rnncore.cells.RNN`. State: h.

    Options: see `Recurrent`.
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[Options]) -> None:
        super().__init__(cells.RNN(), input_size, hidden_size, **options)


def _packing(lengths: Sequence[int] | np.ndarray, steps: int, batch: int) -> Packing:
    if np.shape(lengths) != (batch,):
        got = len(lengths) if np.ndim(lengths) == 1 else lengths
        raise ValueError(f"lengths: expected one for each of the B={batch} sequences, got {got}")
    return Packing(lengths, steps)


def _by_full_name(
    names: Sequence[str] | Mapping[str, Array], cell: Cell, given: Initialisers | None
) -> dict[str, Initialiser]:
    """Return the initialiser of every parameter "layer0.W": its own, else that of all W, else the cell's."""
    if callable(given):
        return dict.fromkeys(names, given)
    own: dict[str, Initialiser] = {**cell.initialisers(), **(given or {})}
    unknown = sorted(set(given or {}) - set(names) - set(cell.initialisers()))
    if unknown:
        raise KeyError(f"no parameters {unknown} to initialise; there are {', '.join(names)}")
    return {name: own.get(name, own[name.rpartition(".")[2]]) for name in names}

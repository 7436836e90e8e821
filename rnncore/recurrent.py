"""What one imports: recurrent layers that hold their parameters, run over batches, and back-propagate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike

from rnncore import cells
from rnncore.array import Array, array_module, check_float, module_for, to_host
from rnncore.cells.base import Cell, as_cell
from rnncore.layout import Layout, check_values, join_states, split_states
from rnncore.options import Initialisers, Options, as_fused, at_least, by_full_name, check_rates, known, zoneout_rates
from rnncore.regularise import Regulariser
from rnncore.sequence import Lengths
from rnncore.stack import Draw, Rates, Stack
from rnncore.stream import Stepper
from rnncore.trace import Trace


class Recurrent:
    """Layers of any cell over a batch of sequences; `LSTM`, `GRU` and `RNN` are this with their own cell.

    Parameters
    ----------
    cell : the cell's definition, such as `rnncore.cells.LSTM()`, or one of your own; or its class.
    input_size, hidden_size : D and H.
    layers : how many, one above the other.
    bidirectional : whether each layer also runs every sequence from its own last step to its first. Outputs of both
        directions lie beside one another, forward first: R·H numbers with R = 2 directions, else R = 1.
    dropout : rate of the zeros between layers while `training`, a mask a step (Zaremba, Sutskever & Vinyals 2014,
        section 3.2); not before the first layer, nor after the last.
    dropconnect : rate of the zeros in every U while `training`, one mask for all steps and sequences of a pass
        (Merity, Keskar & Socher 2018, section 2; after Wan et al. 2013). What is left is scaled by 1 / (1 - rate).
    zoneout : rate at which a unit keeps its state while `training`, of all states or by name, such as
        ``{"h": 0.05, "c": 0.5}``; its expectation when not training. See `rnncore.regularise.Regulariser`.
    recurrent_dropout : rate of the zeros in the h that U sees while `training`, one mask for all steps of a pass; also
        known as variational dropout. See there.
    batch_first : whether x, output and their gradients are (B, T, ...) instead of (T, B, ...); states never are.
    initialisers : in place of the cell's own: one for all parameters, such as `params.uniform(hidden_size**-0.5)`,
        which is PyTorch's; or by name, "U" for the U of every layer and direction, "layer1.U" for one.
    seed : of the first values and of all noise: equal seeds give equal layers on every device.
    dtype : float32 or float64; inputs must have the same. device : 'cpu' (NumPy) or 'cuda' (CuPy).
    fused : whether steps run as kernels generated from the cell, which is faster; on the processor that takes a C
        compiler. See `rnncore.kernels.Fused`.

    Attributes
    ----------
    params, grads : named arrays, views of one flat buffer each (`params.flat`), for an optimiser:
        "layer0.W", "layer0.reverse.W", "layer1.W", and so on for U and b.
    traces : of the last call, for every layer a tuple of its directions, whose steps lie in the order in which they
        ran: every gate and state (h, c) at every step, and after `backward` their gradients. `trace` is the last
        layer's, forward.
    training : whether there is noise, at first True; set it to False to evaluate.
    keeps_trace : whether a call that is not training keeps its traces, at first True. It is faster without, and has
        nothing to look at or to go back through but outputs and last states.
    passes : how many calls have been made in training: noise depends on `seed` and this alone, so an exact resume is
        to set it to what it was.

    Examples
    --------
    Two layers in both directions, with dropout between them, and every memory cell c_t of the upper reverse lane:

    >>> x = np.random.default_rng(0).normal(size=(20, 3, 5)).astype("float32")    # (T, B, D)
    >>> deep = Recurrent(cells.LSTM(), 5, 16, layers=2, bidirectional=True, dropout=0.3)
    >>> output, (h, c) = deep(x, lengths=[20, 11, 4])
    >>> output.shape, h.shape, deep.traces[1][1]["c"].shape
    ((20, 3, 32), (4, 3, 16), (20, 3, 16))
    """

    def __init__(
        self,
        cell: Cell | type[Cell],
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        dropconnect: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        recurrent_dropout: float = 0.0,
        batch_first: bool = False,
        initialisers: Initialisers | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
        fused: bool = False,
    ) -> None:
        cell = as_cell(cell)
        sizes = at_least(1, input_size=input_size, hidden_size=hidden_size, layers=layers)
        (input_size, hidden_size, layers), (seed,) = sizes, at_least(0, seed=seed)
        check_rates(dropout, dropconnect, layers, cell)
        kept = zoneout_rates(zoneout, cell)
        regulariser = Regulariser(kept, recurrent_dropout) if kept or recurrent_dropout else None
        self.cell, self.input_size, self.hidden_size, self.layers = cell, input_size, hidden_size, layers
        self.directions, self.batch_first, self.seed = 2 if bidirectional else 1, batch_first, seed
        self.training, self.passes = True, 0
        rates, xp = Rates(dropout, dropconnect, regulariser), module_for(device)
        self.stack = Stack(
            as_fused(cell) if fused else cell, input_size, hidden_size, layers, self.directions, rates, dtype, xp
        )
        self.params, self.grads = self.stack.params, self.stack.grads
        self.params.initialise(by_full_name(self.params, cell, initialisers), seed)
        self._layout: Layout | None = None
        self._options: Options = {
            "layers": layers, "bidirectional": bidirectional, "dropout": dropout, "dropconnect": dropconnect,
            "zoneout": kept, "recurrent_dropout": recurrent_dropout, "batch_first": batch_first, "seed": seed,
            "dtype": dtype, "device": device, "fused": fused,
        }  # fmt: skip

    @property
    def traces(self) -> tuple[tuple[Trace, ...], ...]:
        """Everything that happened in the last call: for every layer a tuple of its directions."""
        if self._layout is None:
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
            infinity are refused (not on a GPU, where to look would be to wait: there they show in the loss), but in
            the padding anything may stand. Without padding the layer keeps a view of x
            until `backward`: do not change it in between.
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
        return self.run(x, state, lengths, self.next_draw())

    @property
    def keeps_trace(self) -> bool:
        """Whether a call that is not training keeps its traces."""
        return self.stack.keeps_trace

    @keeps_trace.setter
    def keeps_trace(self, value: bool) -> None:
        self.stack.keeps_trace = value

    def next_draw(self) -> Draw | None:
        """Return the random numbers of the next pass, None when not training; every call counts as a pass."""
        if not self.training:
            return None
        self.passes += 1
        return Draw((self.seed, 1, self.passes))

    def run(
        self, x: Array, state: Array | Sequence[Array] | None, lengths: Lengths, draw: Draw | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run over a batch with given random numbers, without any if `draw` is None; else as a call of the layer."""
        check_float("x", x, self.params.flat.dtype)
        layout = Layout.of(x, self.input_size, lengths, self.batch_first)
        rows = layout.rows("x", x, "D", self.input_size)
        check_values("x", rows)
        initial = None if state is None else self._split("state", state, layout)
        self._layout = None  # until it has run, there is nothing to go back through
        output = self.stack.forward(rows, initial, layout.packing, draw)
        self._layout = layout
        last = [trace.last for layer in self.traces for trace in layer]
        return layout.restore(output, self.directions > 1), join_states(last)

    def backward(
        self,
        doutput: Array | None = None,
        dstate: Array | Sequence[Array | None] | None = None,
        need_dx: bool = True,
        keep_state_gradients: bool = False,
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Back-propagate through the last call, and overwrite `grads`.

        Parameters
        ----------
        doutput : the gradient of the output at every step, shaped as it; zero when None.
        dstate : the gradients of the last states, shaped as they; None is zero.
        keep_state_gradients : whether `trace.gradient("h")` and that of every other state is wanted, in all traces,
            besides those of the gates; it costs a copy each.

        Returns
        -------
        dx : shaped as x, zero in the padding; None unless `need_dx`.
        dstate : the gradients of the initial states, shaped as they.
        """
        layout = self._layout
        if layout is None:
            raise RuntimeError("backward needs a forward pass: call the layer on x first")
        rows = None
        if doutput is not None:
            check_float("doutput", doutput, self.params.flat.dtype)
            rows = layout.rows("doutput", doutput, "R·H", self.stack.output_size)
        dlast = self._split("dstate", [None] * len(self.cell.state) if dstate is None else dstate, layout)
        dx, dinitial = self.stack.backward(rows, dlast, need_dx, keep_state_gradients)
        return None if dx is None else layout.restore(dx, new=True), join_states(dinitial)

    def stepper(self, batch: int = 1, state: Array | Sequence[Array] | None = None) -> Stepper:
        """Return a `rnncore.stream.Stepper`: one step at a time through all layers, with carried state."""
        return Stepper(self, batch, state)

    def __repr__(self) -> str:
        shape = f"{self.input_size}, {self.hidden_size}" + (f", layers={self.layers}" if self.layers > 1 else "")
        shape += (", bidirectional" if self.directions > 1 else "") + (", fused" if self._options["fused"] else "")
        return f"{type(self).__name__}({shape}): {self.params.size:,} parameters"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, by `copy.deepcopy` or in another process, begins with: no trace, and no view of these arrays."""
        sizes = {"cell": self.cell, "input_size": self.input_size, "hidden_size": self.hidden_size}
        arrays = [to_host(self.params.flat).copy(), to_host(self.grads.flat).copy()]
        return {"made": {**sizes, **self._options}, "arrays": arrays, "run": (self.training, self.passes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Recurrent.__init__(self, **state["made"])
        for home, array in zip((self.params.flat, self.grads.flat), state["arrays"], strict=True):
            home[...] = array_module(home).asarray(array)
        self.training, self.passes = state["run"]

    def _split(self, name: str, states: Array | Sequence[Array | None], layout: Layout) -> list[list[Array | None]]:
        lanes, batch = self.layers * self.directions, layout.packing.batch
        return split_states(name, states, self.cell.state, lanes, self.params.flat, batch, required=name == "state")


class LSTM(Recurrent):
    """Long short-term memory; equations and parameters as in `rnncore.cells.LSTM`. States: h and c.

    forget_bias : the first value of the forget gate's bias.
    projection : P, the size of h if it is not H (`rnncore.cells.LSTMP`); c has H, and outputs have R·P numbers.
    Other options: see `Recurrent`.

    >>> import numpy as np
    >>> from rnncore import LSTM, Adam
    >>> x = np.random.default_rng(0).normal(size=(20, 3, 5)).astype("float32")    # (T, B, D)
    >>> lstm = LSTM(input_size=5, hidden_size=16, seed=0)
    >>> output, (h, c) = lstm(x, lengths=[20, 11, 4])
    >>> output.shape, h.shape, lstm.trace["forget"].shape
    ((20, 3, 16), (3, 16), (20, 3, 16))
    >>> dx, (dh, dc) = lstm.backward(np.ones_like(output))                          # gradients into lstm.grads
    >>> Adam(lstm.params, learning_rate=1e-3).step(lstm.grads.flat)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        projection: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        plain = projection is None
        cell: Cell = cells.LSTM(forget_bias) if plain else cells.LSTMP(projection, forget_bias)
        super().__init__(cell, input_size, hidden_size, **known("LSTM", options, "forget_bias", "projection"))


class GRU(Recurrent):
    """Gated recurrent unit. State: h.

    reset_after : True is the form of cuDNN, PyTorch and Keras (`rnncore.cells.GRU`), False the published one
        (`rnncore.cells.GRUBefore`). They differ in equations and in parameters. Other options: see `Recurrent`.

    >>> list(GRU(5, 16).params), list(GRU(5, 16, reset_after=False).params)
    (['layer0.W', 'layer0.U', 'layer0.b', 'layer0.b_U'], ['layer0.W', 'layer0.U', 'layer0.b'])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reset_after: bool = True, **options: Unpack[Options]
    ) -> None:
        cell: Cell = cells.GRU() if reset_after else cells.GRUBefore()
        super().__init__(cell, input_size, hidden_size, **known("GRU", options, "reset_after"))


class RNN(Recurrent):
    """Simple recurrent network with tanh, as in `rnncore.cells.RNN`. State: h. Options: see `Recurrent`.

    >>> RNN(5, 16, batch_first=True)(np.zeros((3, 20, 5), "float32"))[0].shape
    (3, 20, 16)
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Unpack[Options]) -> None:
        super().__init__(cells.RNN(), input_size, hidden_size, **known("RNN", options))

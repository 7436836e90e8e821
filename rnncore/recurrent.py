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
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from rnncore import cells, sequence
from rnncore.array import Array, array_module, check_float, module_for
from rnncore.cells.base import Cell
from rnncore.params import Initialiser, Params
from rnncore.sequence import Lengths
from rnncore.trace import Trace


class Recurrent:
    """A layer of any cell over a batch of sequences; `LSTM`, `GRU` and `RNN` are this with their own cell.

    Parameters
    ----------
    cell : the cell's definition, such as `rnncore.cells.LSTM()`, or one of your own.
    input_size, hidden_size : D and H.
    seed : of the first values: equal seeds give equal parameters on every device.
    dtype : float32 or float64; inputs must have the same.
    device : 'cpu' (NumPy) or 'cuda' (CuPy).
    initialisers : by parameter name, in place of the cell's own.

    Attributes
    ----------
    params, grads : named arrays, views of one flat buffer each (`params.flat`), for an optimiser.
    trace : every gate and state of the last call, and after `backward` their gradients.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
        initialisers: dict[str, Initialiser] | None = None,
    ) -> None:
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"input_size and hidden_size must be at least 1, got {input_size} and {hidden_size}")
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        self.params = Params(cell.shapes(input_size, hidden_size), dtype, module_for(device))
        self.params.initialise(cell.initialisers() | (initialisers or {}), seed)
        self.grads = self.params.like()
        self.trace: Trace | None = None

    def __call__(
        self, x: Array, state: Array | Sequence[Array] | None = None, lengths: Lengths = None
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : (T, B, D), time first. NaN and infinity are refused.
        state : the initial states, (B, H) each: (h, c) for an LSTM, (h,) or h itself for the others; zeros when None.
        lengths : (B,) how many steps of each sequence are real; all T when None.

        Returns
        -------
        output : (T, B, H), h_t at every step, zero in the padding; a copy.
        state : the last states, (B, H) each, every sequence's at its own end.

        Raises
        ------
        ValueError, TypeError
            If shapes, precision or values do not fit; the message says which argument, and what was expected.
        """
        check_float("x", x, self.params.flat.dtype)
        if not bool(array_module(x).isfinite(x).all()):
            raise ValueError("x: expected finite numbers, got NaN or infinity; look at where x comes from")
        states = None if state is None else (tuple(state) if isinstance(state, tuple | list) else (state,))
        self.trace = sequence.forward(self.cell, self.params, x, states, lengths, self.trace)
        return self.trace.output.copy(), self.trace.last

    def backward(
        self, doutput: Array | None = None, dstate: Sequence[Array | None] | None = None, need_dx: bool = True
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Back-propagate through the last call, and overwrite `grads`.

        Parameters
        ----------
        doutput : (T, B, H), the gradient of the output at every step; zero when None.
        dstate : the gradients of the last states, (B, H) each; None is zero.

        Returns
        -------
        dx : (T, B, D), None unless `need_dx`.
        dstate : the gradients of the initial states, (B, H) each.
        """
        if self.trace is None:
            raise RuntimeError("backward needs a forward pass: call the layer on x first")
        grads = dict(self.grads)
        got = sequence.backward(self.cell, self.params, self.trace, doutput, dstate, grads, need_dx)
        return got.x, got.initial

    def stepper(self, batch: int = 1, state: Sequence[Array] | None = None) -> sequence.Stepper:
        """Return a `Stepper`: one step at a time with carried state."""
        return sequence.Stepper(self.cell, self.params, batch, state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}): {self.params.size:,} parameters"


class LSTM(Recurrent):
    """Long short-term memory; equations and parameters as in `rnncore.cells.LSTM`. States: h and c."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
    ) -> None:
        super().__init__(cells.LSTM(forget_bias), input_size, hidden_size, seed=seed, dtype=dtype, device=device)


class GRU(Recurrent):
    """Gated recurrent unit. State: h.

    reset_after : True is the form of cuDNN, PyTorch and Keras (`rnncore.cells.GRU`), False the published one
        (`rnncore.cells.GRUBefore`). They differ in equations and in parameters.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        device: str = "cpu",
    ) -> None:
        cell = cells.GRU() if reset_after else cells.GRUBefore()
        super().__init__(cell, input_size, hidden_size, seed=seed, dtype=dtype, device=device)


class RNN(Recurrent):
    """Simple recurrent network with tanh; equations and parameters as in `rnncore.cells.RNN`. State: h."""

    def __init__(
        self, input_size: int, hidden_size: int, *, seed: int = 0, dtype: DTypeLike = np.float32, device: str = "cpu"
    ) -> None:
        super().__init__(cells.RNN(), input_size, hidden_size, seed=seed, dtype=dtype, device=device)

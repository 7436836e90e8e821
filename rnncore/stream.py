"""Long streams: one step at a time through all layers, and truncated back-propagation with carried state.

>>> import numpy as np
>>> from rnncore import LSTM
>>> lstm = LSTM(input_size=3, hidden_size=4, layers=2)
>>> x = np.random.default_rng(0).normal(size=(100, 2, 3)).astype("float32")
>>> live = lstm.stepper(batch=2)
>>> [live.step(x_t).shape for x_t in x[:2]]                     # as samples arrive
[(2, 4), (2, 4)]
>>> stream = Truncated(lstm)
>>> for where, output in stream.chunks(x, steps=25):            # four chunks; the state goes on, the gradient ends
...     dx, _ = lstm.backward(output - x[where, :, :1])         # then an optimiser's step
>>> where
slice(75, 100, None)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore import sequence
from rnncore.array import Array, array_module
from rnncore.layout import join_states, split_states

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

Lengths = Sequence[int] | np.ndarray[Any, Any] | None


class Stepper:
    """One step at a time through all layers with carried state, without noise: streaming.

    The states after k calls are those of a call of the layer over the same k inputs.

    Parameters
    ----------
    layer : its parameters are used as they are at each step.
    batch : B, when there is no state.
    state : to start from, shaped as the layer's; zeros when None.

    Raises
    ------
    ValueError
        If the layer is bidirectional, which would need the end of the stream at its beginning.
    """

    def __init__(self, layer: Recurrent, batch: int = 1, state: Array | Sequence[Array] | None = None) -> None:
        refuse_bidirectional(layer, "one step at a time")
        self._layer = layer
        lanes, regulariser = [lane for (lane,) in layer.stack.lanes], layer.stack.rates.regulariser
        self._steppers = [sequence.Stepper(layer.stack.cell, lane.weights, batch, None, regulariser) for lane in lanes]
        if state is not None:
            self.state = state

    @property
    def state(self) -> tuple[Array, ...]:
        """The states after the last step, (B, H), or (layers, B, H) with several; may be set, to another batch too."""
        return join_states([stepper.state for stepper in self._steppers])

    @state.setter
    def state(self, value: Array | Sequence[Array]) -> None:
        h: Array = value[0] if isinstance(value, tuple | list) else value
        lanes, like = len(self._steppers), self._layer.params.flat
        given = split_states("state", value, self._layer.cell.state, lanes, like, h.shape[-2], required=True)
        for stepper, states in zip(self._steppers, given, strict=True):
            stepper.state = tuple(states)

    def step(self, x: Array) -> Array:
        """Advance by one step with x (B, D) and return the last layer's output h, (B, H), a new array."""
        for stepper in self._steppers:
            x = stepper.step(x)
        return x


class Truncated:
    r"""Back-propagation through time over a long stream, cut into chunks: state goes on, the gradient ends.

    After each chunk the layer is ready for `layer.backward`, which gives the gradient of that chunk's loss with the
    state at its beginning held fixed. One chunk over everything is full back-propagation; chunks of k steps are
    BPTT(k; k) in the notation of the source, :math:`O(k)` memory for a stream without end. What the gradient misses
    is the influence of parameters through states older than the chunk.

    Attributes
    ----------
    state : carried to the next chunk, shaped as the layer's, None before the first; may be set.

    Source: R. Williams & J. Peng, An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories, Neural Computation 2 (1990).
    """

    def __init__(self, layer: Recurrent, state: tuple[Array, ...] | None = None) -> None:
        refuse_bidirectional(layer, "chunk by chunk")
        self.layer, self.state = layer, state

    def __call__(self, x: Array, lengths: Lengths = None) -> Array:
        """Run over the next chunk, laid out as the layer takes it, and return the output at every step.

        A sequence whose length is 0 in this chunk keeps its state.
        """
        output, self.state = self.layer(x, self.state, lengths)
        return output

    def chunks(self, x: Array, steps: int, lengths: Lengths = None) -> Iterator[tuple[slice, Array]]:
        """Yield the time slice and the output of one chunk of `steps` after another; the last may be shorter.

        x : (T, B, D), or (B, T, D) with batch_first. lengths : (B,) of the whole x.
        """
        for where in slices(self.layer, x, steps):
            yield where, self(at(self.layer, x, where), lengths_within(lengths, where))

    def reset(self, which: Array | None = None) -> None:
        """Set the state to zero, of those sequences for which `which` (B,) is True, or of all when None.

        That is for sequences that begin anew while others go on.
        """
        if which is None:
            self.state = None
        if self.state is not None:
            xp = array_module(*self.state)
            self.state = tuple(xp.where(xp.asarray(which)[:, None], 0, s).astype(s.dtype) for s in self.state)


def refuse_bidirectional(layer: Recurrent, what: str) -> None:
    """Raise ValueError if the layer has a reverse direction, which no stream can feed."""
    if layer.directions > 1:
        raise ValueError(
            f"a bidirectional layer cannot run {what}: its reverse direction begins at the end of the sequence; "
            "use a layer with bidirectional=False"
        )


def slices(layer: Recurrent, x: Array, steps: int) -> list[slice]:
    """Return the time slices of x in chunks of `steps`."""
    if steps < 1:
        raise ValueError(f"steps: expected at least 1 in a chunk, got {steps}")
    total = x.shape[1 if layer.batch_first else 0]
    return [slice(k, min(k + steps, total)) for k in range(0, total, steps)]


def at(layer: Recurrent, x: Array, where: slice) -> Array:
    """Return a time slice of an array laid out as the layer's x, a view."""
    return x[:, where] if layer.batch_first else x[where]


def lengths_within(lengths: Lengths, where: slice) -> Lengths:
    """Return how many steps of each sequence are real within a time slice."""
    return None if lengths is None else np.clip(np.asarray(lengths) - where.start, 0, where.stop - where.start)

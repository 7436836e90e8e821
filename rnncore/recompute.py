r"""Back-propagation through T steps with memory for about :math:`2\sqrt T` of them, and the same gradients.

>>> import numpy as np
>>> from rnncore import LSTM
>>> lstm = LSTM(input_size=3, hidden_size=4)
>>> x = np.random.default_rng(0).normal(size=(100, 2, 3)).astype("float32")
>>> sparse = Recomputed(lstm)
>>> output, (h, c) = sparse(x, need_output=False)               # ten states are kept, and no Trace of 100 steps
>>> dx, (dh, dc) = sparse.backward(dstate=(np.ones_like(h), None))
>>> output, (h, c) = lstm(x)                                     # the whole Trace, for comparison
>>> kept = lstm.grads.copy()
>>> dx_whole, _ = lstm.backward(dstate=(np.ones_like(h), None))
>>> np.allclose(kept.flat, lstm.grads.flat, atol=1e-6), np.allclose(dx, dx_whole, atol=1e-6)
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rnncore.array import Array, array_module
from rnncore.stack import Draw
from rnncore.stream import Lengths, at, lengths_within, refuse_bidirectional, slices

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

#: The gradient of the output: an array laid out as it, or a function of (time slice, output there), which is called
#: once for each segment, the last one first.
Upstream = Array | Callable[[slice, Array], Array] | None


@dataclass
class _Pass:
    """What is kept of a forward pass: the input, and the states at the beginning of every segment."""

    x: Array
    lengths: Lengths
    segments: list[slice]
    starts: list[Array | Sequence[Array] | None]
    draw: Draw | None


class Recomputed:
    r"""A layer that keeps only the states at every k-th step, and runs each segment again in backward.

    Forward runs segment by segment on one Trace of k steps, over which the next segment writes. Backward takes the
    segments from the last to the first: it runs one again from its kept state, which gives the same numbers, and goes
    back through it. With :math:`k = \lceil\sqrt T\rceil` the kept states and the one Trace are
    :math:`O(\sqrt T)` each, for one more forward pass, about a third more work.

    The layer's noise is that of one pass over the whole: its dropout masks are drawn segment by segment and not as in
    a plain call, but again the same in backward. Afterwards `layer.traces` are those of the first segment.

    Parameters
    ----------
    layer : in one direction; its parameters must not change between forward and backward.
    segment : k, steps in a segment; the square root of T when None.

    Raises
    ------
    ValueError
        If the layer is bidirectional, k below 1, or the layer has both zoneout and recurrent dropout.

    Source: T. Chen, B. Xu, C. Zhang & C. Guestrin, Training deep nets with sublinear memory cost, arXiv 1604.06174
    (2016), section 4; for recurrent networks A. Gruslys et al., Memory-efficient backpropagation through time,
    NIPS 2016, where this is the baseline called Chen's algorithm.
    """

    def __init__(self, layer: Recurrent, segment: int | None = None) -> None:
        refuse_bidirectional(layer, "in segments")
        if segment is not None and segment < 1:
            raise ValueError(f"segment: expected at least 1 step, got {segment}")
        noise = layer.stack.rates.regulariser
        if noise is not None and noise.zoneout and noise.recurrent_dropout:
            raise ValueError(
                "zoneout and recurrent_dropout draw by one seed, and in segments the first needs a new one for each, "
                "the second the same for all; use one of them, or call the layer itself"
            )
        self.layer, self.segment = layer, segment
        self._pass: _Pass | None = None

    def __call__(
        self,
        x: Array,
        state: Array | Sequence[Array] | None = None,
        lengths: Lengths = None,
        need_output: bool = True,
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Run over a batch as a call of the layer does; the output is None unless `need_output`.

        The output is as long as x. Where the loss can be taken a segment at a time, leave it out here and give
        `backward` a function.
        """
        layer = self.layer
        steps = x.shape[1 if layer.batch_first else 0]
        segments = slices(layer, x, self.segment or max(1, math.isqrt(max(steps, 1) - 1) + 1))
        self._pass = run = _Pass(x, lengths, segments, [], layer.next_draw())
        if not segments:
            raise ValueError("x: expected at least one step, got T=0")
        outputs: list[Array] = []
        last: tuple[Array, ...] = ()
        for where in segments:
            run.starts.append(last if run.starts else state)
            output, last = self._forward(run, where, run.starts[-1])
            outputs += [output] if need_output else []
        axis = 1 if layer.batch_first else 0
        return array_module(x).concatenate(outputs, axis=axis) if need_output else None, last

    def backward(
        self, doutput: Upstream = None, dstate: Array | Sequence[Array | None] | None = None, need_dx: bool = True
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """Overwrite `layer.grads`, and return the gradients of x and of the initial states, as the layer does.

        doutput : the gradient of the output, shaped as it; or a function that is given a segment's time slice and its
            output and returns that part of the gradient, so that neither is ever there as a whole.
        """
        run = self._pass
        if run is None:
            raise RuntimeError("backward needs a forward pass: call this on x first")
        layer, total = self.layer, self.layer.grads.like()
        dx = array_module(run.x).empty_like(run.x) if need_dx else None
        reaching: tuple[Array, ...] = ()
        for where, state in zip(reversed(run.segments), reversed(run.starts), strict=True):
            output, _ = self._forward(run, where, state)
            upstream = doutput(where, output) if callable(doutput) else doutput
            if upstream is not None and not callable(doutput):
                upstream = at(layer, upstream, where)
            dx_here, reaching = layer.backward(upstream, reaching or dstate, need_dx)
            total.flat += layer.grads.flat
            if dx is not None:
                at(layer, dx, where)[...] = dx_here
        layer.grads.flat[...] = total.flat
        return dx, reaching

    def _forward(
        self, run: _Pass, where: slice, state: Array | Sequence[Array] | None
    ) -> tuple[Array, tuple[Array, ...]]:
        draw = None if run.draw is None else replace(run.draw, start=where.start)
        return self.layer.run(at(self.layer, run.x, where), state, lengths_within(run.lengths, where), draw)

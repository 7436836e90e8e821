"""The only loop over time: forward, backward through time, and one step at a time.

What does not depend on the step before is done for all steps at once: W x + b before the loop where that pays, and
the gradients of W, b, x and U after it, one product each. Inside the loop stands only what the recurrence forces.

Shapes: T steps, B sequences, D inputs, H units, N = sum(lengths) rows without padding.

>>> import numpy as np
>>> from rnncore import Params
>>> from rnncore.cells import GRU
>>> cell, x = GRU(), np.ones((7, 2, 3), "float32")
>>> p = Params(cell.shapes(3, 4)).initialise(cell.initialisers(), seed=0)
>>> trace = forward(cell, p, x, lengths=[7, 5])
>>> trace.output.shape, trace["update"].shape, trace.last[0].shape
((7, 2, 4), (7, 2, 4), (2, 4))
>>> found = backward(cell, p, trace, np.ones_like(trace.output))
>>> found.x.shape, found.params["U"].shape
((7, 2, 3), (12, 4))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnncore.arguments import (
    Lengths as Lengths,
)
from rnncore.arguments import (
    check_parameters,
    gradient_rows,
    is_same,
    last_gradients,
    packing_of,
    set_initial,
)
from rnncore.array import Array, array_module, check_float, sum_over_rows
from rnncore.cells.base import Cell, Weights
from rnncore.regularise import Regulariser
from rnncore.stepper import Stepper as Stepper
from rnncore.steps import steps_backward, steps_forward
from rnncore.trace import Trace
from rnncore.views import by_step, has_loop


@dataclass(frozen=True)
class Gradients:
    """What `backward` returns.

    x : like the input of forward, (T, B, D) or (N, D); None if it was not asked for.
    initial : the gradient of each initial state, (B, H), in the order of `Cell.state`.
    params : the gradient of every parameter, by name.
    """

    x: Array | None
    initial: tuple[Array, ...]
    params: Mapping[str, Array]


def forward(
    cell: Cell,
    p: Weights,
    x: Array,
    initial: Sequence[Array] | None = None,
    lengths: Lengths = None,
    trace: Trace | None = None,
    regulariser: Regulariser | None = None,
    keep: bool = True,
) -> Trace:
    """Run `cell` over a batch of sequences.

    Parameters
    ----------
    p : the cell's parameters, by name.
    x : (T, B, D) time-major and padded; or, if `lengths` is a `Packing`, its rows (N, D).
    initial : the initial states, (B, H) each, in the order of `cell.state`; zeros when None.
    lengths : (B,) how many steps of each sequence are real, all T when None; or a `Packing`.
    trace : a Trace of an earlier pass, whose memory is used again: what it held is lost.
    regulariser : zoneout and recurrent dropout; `backward` follows it by the masks in the Trace.
    keep : whether every step is kept, to go back through and to be looked at. Without that a pass is faster, and its
        Trace has the outputs and the last states only.

    Returns
    -------
    Trace : `trace.output`, `trace.last`, and every gate at every step.

    Raises
    ------
    ValueError, TypeError
        If a shape or a precision does not fit; the message names the argument.
    """
    if not keep and regulariser is not None and regulariser.seed is not None:
        raise ValueError("keep: the masks of a regulariser are part of the Trace; with a seed keep must be True")
    check_float("x", x)
    packing = packing_of(x, lengths)
    hidden = check_parameters(cell, p, x)
    xp = array_module(x, *p.values())
    if trace is None or not trace.fits(cell, hidden, x.dtype, xp):
        trace = Trace(cell, hidden, x.dtype, xp)
    own = has_loop(cell, trace.xp)
    trace.lay_out(packing, keep or own)
    trace.padded = x.ndim == 3
    trace.x = packing.pack(x) if trace.padded else x
    set_initial(trace, initial)
    trace.noise = None if regulariser is None else regulariser.draw(cell, p, trace)
    if own:
        cell.forward_loop(p, trace)  # type: ignore[attr-defined]
        return trace

    running = (packing.batch, *packing.batch_sizes, 0)
    steps = steps_forward(cell, p, trace)
    if not trace.kept and running[1] < running[0]:
        trace.end(-1, *running[:2])
    for run in trace.runs:
        steps(run)
        if not trace.kept and running[run.steps[-1] + 2] < run.batch:
            trace.end(run.steps[-1], run.batch, running[run.steps[-1] + 2])
    return trace


def backward(
    cell: Cell,
    p: Weights,
    trace: Trace,
    dh: Array | None = None,
    dlast: Sequence[Array | None] | None = None,
    grads: dict[str, Array] | None = None,
    need_dx: bool = True,
    keep_state_gradients: bool = False,
) -> Gradients:
    """Back-propagate through time over what `forward` left in `trace`.

    Parameters
    ----------
    dh : the gradient of the output at every step, shaped as `trace.output`; zero when None.
    dlast : the gradients of the last states, (B, H) each, in the order of `cell.state`; None is zero.
    grads : where to write the parameters' gradients; new arrays when None. They are overwritten, not added to.
    need_dx : whether the gradient of x is wanted; it costs one product.
    keep_state_gradients : whether `trace.gradient("h")` and that of every other state is wanted; it costs a copy each.
    """
    if not is_same(cell, trace.cell):
        ran, given = type(trace.cell).__name__, type(cell).__name__
        raise ValueError(f"backward needs the cell that ran forward, {ran}, got {given}")
    if not trace.kept:
        raise RuntimeError("backward needs every step of the forward pass: run it with keep=True")
    packing = trace.packing
    rows = None if dh is None else gradient_rows(trace, dh)
    last = last_gradients(trace, dlast)
    trace.gradient_buffer()
    reaching = trace.state_gradient_buffers() if keep_state_gradients else None
    if has_loop(cell, trace.xp):
        cell.backward_loop(p, trace, rows, last, reaching)  # type: ignore[attr-defined]
        return _gradients(cell, p, trace, last, grads, need_dx)
    dstate = trace.state_gradients()
    steps, joined = steps_backward(cell, p, trace, dstate, rows is not None, reaching), 0
    for run in reversed(trace.runs):
        joined = _join(dstate, last, joined, run.batch)
        steps(run, None if rows is None else by_step(rows, run))
    _join(dstate, last, joined, packing.batch)

    return _gradients(cell, p, trace, dstate, grads, need_dx)


def _gradients(
    cell: Cell, p: Weights, trace: Trace, dstate: tuple[Array, ...], grads: dict[str, Array] | None, need_dx: bool
) -> Gradients:
    """Return what `backward` returns, once `trace.da` is filled and `dstate` has come to the initial states."""
    packing, xp, da = trace.packing, trace.xp, trace.da
    grads = {name: xp.empty_like(value) for name, value in p.items()} if grads is None else grads
    dx = _products_over_time(cell, p, trace, da, grads, need_dx)
    initial = (packing.unsort(d[:, : packing.batch].T) for d in dstate)
    return Gradients(dx, tuple(d.copy() for d in initial), grads)


def _join(dstate: tuple[Array, ...], last: tuple[Array, ...], joined: int, running: int) -> int:
    """Give the sequences that end at this step, columns `joined` to `running`, the gradients of their last states.

    Up to then their columns are nobody's: zero, which every step backward leaves zero.
    """
    if running > joined:
        for d, end in zip(dstate, last, strict=True):
            d[:, joined:running] = end[:, joined:running]
    return max(joined, running)


def _products_over_time(
    cell: Cell, p: Weights, trace: Trace, da: Array, grads: dict[str, Array], need_dx: bool
) -> Array | None:
    """Write the gradient of every parameter, each one product over all steps, and return that of x if it is wanted."""
    gates, matmul = da[: len(cell.gates) * trace.hidden], getattr(cell, "matmul", trace.xp.matmul)
    matmul(gates, trace.x, out=grads["W"])
    sum_over_rows(gates, out=grads["b"])
    cell.recurrent_grads(p, trace, da, grads)
    if not need_dx:
        return None
    dx = matmul(gates.T, p["W"])
    return trace.packing.unpack(dx) if trace.padded else dx

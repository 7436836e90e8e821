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

from bisect import bisect_right
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
from rnncore.array import Array, array_module, by_columns, check_float, is_large, sum_over_rows, swap_axes
from rnncore.cells.base import Cell, Weights
from rnncore.regularise import Regulariser
from rnncore.stepper import Stepper as Stepper
from rnncore.trace import Trace
from rnncore.views import Run

# Up to this many sequences, W x of many steps is one product whose columns are copied out; above, one product a step
# writes straight to its place. On two cores the one product takes 0.9 of the time at B = 32, D = 200, H = 256 and 1.03
# at B = 64; where W is larger than the second cache, D = H = 1024, 0.6 at B = 32 and 0.3 at 8.
_SMALL_BATCH = 48

# How many columns that one product has: enough for its full rate, few enough not to leave the third cache.
_COLUMNS = 1024

# From so many steps on, a copy of U laid out for the products backward is paid for by them.
_MANY_STEPS = 24


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
    trace.lay_out(packing, keep or hasattr(cell, "forward_loop"))
    trace.padded = x.ndim == 3
    trace.x = packing.pack(x) if trace.padded else x
    set_initial(trace, initial)
    trace.noise = noise = None if regulariser is None else regulariser.draw(cell, p, trace)
    if (own := getattr(cell, "forward_loop", None)) is not None:
        own(p, trace)
        return trace

    rows, running = trace.state_rows[packing.batch :], (packing.batch, *packing.batch_sizes, 0)
    inputs = _Inputs(p, trace)
    if not trace.kept and running[1] < running[0]:
        trace.end(-1, *running[:2])
    for run in trace.runs:
        inputs.fill(run)
        for t in run.steps:
            if noise is None:
                cell.step(p, trace.now[t])
            else:
                noise.step(cell, p, trace.now[t], t)
        swap_axes(run.output[:, :, : run.batch], out=by_step(rows, run))
        if not trace.kept and running[t + 2] < run.batch:
            trace.end(t, run.batch, running[t + 2])
    return trace


class _Inputs:
    """W x + b for the steps of a run at once; of a small batch W x for many runs, whose columns are copied out."""

    def __init__(self, p: Weights, trace: Trace) -> None:
        self.W, self.trace, batch = p["W"], trace, trace.packing.batch
        self.bias = trace.xp.repeat(p["b"][:, None], batch, axis=1)  # NumPy adds a matrix in half a column's time
        self.stops = [run.rows.stop for run in trace.runs] if batch <= _SMALL_BATCH else None
        self.there = slice(0, 0)

    def fill(self, run: Run) -> None:
        """Write them to where the cell expects them."""
        xp, a, bias = self.trace.xp, run.a, self.bias[:, : run.batch]
        if a.shape[2] > run.batch:
            a[:, :, run.batch :] = 0
            a = a[:, :, : run.batch]
        if self.stops is not None:
            xp.add(self._columns(run, self.stops), bias, out=a)
        else:
            xp.matmul(self.W, by_step(self.trace.x, run).swapaxes(1, 2), out=a)
            a += bias

    def _columns(self, run: Run, stops: list[int]) -> Array:
        """Return W x step by step, (k, G·H, b), a view of the product that this run and those after it share."""
        start, stop = run.rows.start, run.rows.stop
        if stop > self.there.stop:
            last = stops[bisect_right(stops, max(stop, start + _COLUMNS)) - 1]
            self.there = slice(start, last)
            self.product = self.trace.product_buffer(last - start)
            self.trace.xp.matmul(self.W, self.trace.x[self.there].T, out=self.product)
        here = self.product[:, start - self.there.start : stop - self.there.start]
        return here.reshape(len(here), len(run.steps), run.batch).swapaxes(0, 1)


def by_step(rows: Array, run: Run) -> Array:
    """Return the packed rows (N, ...) of a run step by step, (k, b, ...), a view."""
    here = rows[run.rows]
    view: Array = here.reshape(len(run.steps), run.batch, *here.shape[1:])
    return view


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
    packing, xp, noise = trace.packing, trace.xp, trace.noise
    rows = None if dh is None else gradient_rows(trace, dh)
    last = last_gradients(trace, dlast)
    da = trace.gradient_buffer()
    reaching = trace.state_gradient_buffers() if keep_state_gradients else None
    if (own := getattr(cell, "backward_loop", None)) is not None:
        own(p, trace, rows, last, reaching)
        return _gradients(cell, p, trace, last, grads, need_dx)
    dstate = tuple(xp.zeros((len(d), trace.initial_width), trace.dtype) for d in last)
    used, joined = _by_columns(p, len(trace.now)), 0
    for run in reversed(trace.runs):
        joined = _join(dstate, last, joined, run.batch)
        running = tuple(d[:, : run.da.shape[2]] for d in dstate)
        upstream = None if rows is None else _upstream(trace, rows, run)
        dh_next = dstate[0][:, : run.batch]
        for t in reversed(run.steps):
            now = trace.now[t]
            if upstream is not None:
                dh_next += upstream[t - run.steps[0]]
            if reaching is not None:
                kept = tuple(slabs[t] for slabs in reaching)
                now = now._replace(reaching=kept)
                for k, d in enumerate(running):
                    kept[k][...] = d
            if noise is None:
                cell.step_backward(used, now, running)
            else:
                noise.step_backward(cell, used, now, running, t)
        by_step(da.T, run)[...] = run.da[:, :, : run.batch].swapaxes(1, 2)
    _join(dstate, last, joined, packing.batch)

    return _gradients(cell, p, trace, dstate, grads, need_dx)


def _gradients(
    cell: Cell, p: Weights, trace: Trace, dstate: tuple[Array, ...], grads: dict[str, Array] | None, need_dx: bool
) -> Gradients:
    """Return what `backward` returns, once `trace.da` is filled and `dstate` has come to the initial states."""
    packing, xp, da = trace.packing, trace.xp, trace.da
    grads = {name: xp.empty_like(value) for name, value in p.items()} if grads is None else grads
    dx = _products_over_time(cell, p, trace, da, grads, need_dx)
    initial = (xp.ascontiguousarray(d[:, : packing.batch].T) for d in dstate)
    return Gradients(dx, tuple(packing.unsort(d) for d in initial), grads)


def _upstream(trace: Trace, rows: Array, run: Run) -> Array:
    """Return the gradients (N, H) that arrive at the outputs of a run from outside, step by step, (k, H, b)."""
    here, k = by_step(rows, run), len(run.steps)
    if not is_large(here):
        return here.swapaxes(1, 2)
    out = trace.slabs("upstream", k * here.shape[2], (run.batch,))[0]
    return swap_axes(here, out=out.reshape(k, here.shape[2], run.batch))


def _join(dstate: tuple[Array, ...], last: tuple[Array, ...], joined: int, running: int) -> int:
    """Give the sequences that end at this step, columns `joined` to `running`, the gradients of their last states.

    Up to then their columns are nobody's: zero, which every step backward leaves zero.
    """
    if running > joined:
        for d, end in zip(dstate, last, strict=True):
            d[:, joined:running] = end[:, joined:running]
    return max(joined, running)


def _by_columns(p: Weights, steps: int) -> Weights:
    """Return the parameters with every matrix laid out column by column, if there are steps enough to pay for it.

    A step backward multiplies by U.T, which then lies row by row: that product is up to a third faster. W takes no
    part in the steps.
    """
    if steps < _MANY_STEPS:
        return p
    return {name: by_columns(value) if value.ndim == 2 and name != "W" else value for name, value in p.items()}


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

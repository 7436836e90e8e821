"""The steps of a run, one after another: by the cell's own functions, or by what the cell brings in their place.

A cell whose steps on the host can be prepared for a whole pass has two methods more, `steps_forward(p, trace)` and
`steps_backward(p, trace, dstate, arrives, reaching)`, and returns what takes the place of `Forward` and `Backward`.
`rnncore.kernels.Fused` is such a cell.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import Protocol

import numpy as np

from rnncore.array import Array, by_columns, is_large, swap_axes
from rnncore.cells.base import Cell, Weights
from rnncore.trace import Trace
from rnncore.views import Run, Slabs, by_step

# Up to this many sequences, W x of many steps is one product whose columns are copied out; above, one product a step
# writes straight to its place. On two cores the one product takes 0.9 of the time at B = 32, D = 200, H = 256 and 1.03
# at B = 64; where W is larger than the second cache, D = H = 1024, 0.6 at B = 32 and 0.3 at 8.
_SMALL_BATCH = 48

# From so many steps on, a copy of U laid out for the products backward is paid for by them.
_MANY_STEPS = 24

# How many columns that one product has: enough for its full rate, few enough not to leave the third cache.
_COLUMNS = 1024


class StepsForward(Protocol):
    """Runs the steps of a Trace that is laid out, its noise drawn and its initial states set."""

    def __call__(self, run: Run) -> None:
        """Run those of `run`, the first one first, and fill their rows of `trace.state_rows`."""

    def step(self, t: int, x: Array) -> None:
        """Run step t alone with the inputs x (b, D) of the first b sequences, all of them up to `rnncore.views.FEW`."""


class StepsBackward(Protocol):
    """Runs the steps of a Trace backward."""

    def __call__(self, run: Run, upstream: Array | None) -> None:
        """Run those of `run`, the last one first, and fill their columns of `trace.da`.

        upstream : (k, b, H) the gradient that arrives at their outputs from outside, or None.
        """


def steps_forward(cell: Cell, p: Weights, trace: Trace) -> StepsForward:
    """Return what runs the steps of `trace`."""
    own = getattr(cell, "steps_forward", None) if trace.xp is np else None
    found: StepsForward = Forward(cell, p, trace) if own is None else own(p, trace)
    return found


def steps_backward(
    cell: Cell,
    p: Weights,
    trace: Trace,
    dstate: tuple[Array, ...],
    arrives: bool,
    reaching: list[Slabs] | None,
) -> StepsBackward:
    """Return what runs the steps of `trace` backward.

    dstate : the gradients of the states, as wide as the initial ones; every step turns them into those before it.
    arrives : whether there will be a gradient from outside. reaching : where gradients of states are kept, or None.
    """
    own = getattr(cell, "steps_backward", None) if trace.xp is np else None
    if own is None:
        return Backward(cell, p, trace, dstate, reaching)
    found: StepsBackward = own(p, trace, dstate, arrives, reaching)
    return found


class Forward:
    """By `Cell.step`."""

    def __init__(self, cell: Cell, p: Weights, trace: Trace) -> None:
        self.cell, self.p, self.now, self.noise = cell, p, trace.now, trace.noise
        self.trace = trace
        self._alone: dict[int, tuple[Array, list[Array]]] = {}

    @cached_property
    def inputs(self) -> _Inputs:
        """What arrives at the steps of a pass."""
        return _Inputs(self.p, self.trace)

    def __call__(self, run: Run) -> None:
        """Run those of `run`."""
        self.inputs.fill(run)
        for t in run.steps:
            self._step(t)
        rows = self.trace.state_rows[self.trace.packing.batch :]
        swap_axes(run.output[:, :, : run.batch], out=by_step(rows, run))

    def step(self, t: int, x: Array) -> None:
        """Run step t alone."""
        if t not in self._alone:
            now, batch = self.now[t], self.trace.packing.batch
            unused = [slab[:, batch:] for slab in (now.a, *now.prev) if slab.shape[1] > batch]
            self._alone[t] = now.a[:, :batch], unused
        a, unused = self._alone[t]
        for columns in unused:
            columns[...] = 0
        self.trace.xp.matmul(self.p["W"], x.T, out=a)
        a += self.p["b"][:, None]
        self._step(t)

    def _step(self, t: int) -> None:
        if self.noise is None:
            self.cell.step(self.p, self.now[t])
        else:
            self.noise.step(self.cell, self.p, self.now[t], t)


class InputProducts:
    """W x for the steps of a run, computed with those of the runs behind it as one product.

    For one sequence alone x Wᵀ, so that a step's numbers lie side by side as they do in a slab of one column.
    """

    def __init__(self, W: Array, trace: Trace) -> None:
        self.W, self.trace, self.alone = W, trace, trace.packing.batch == 1
        self.chunks: list[slice] = []
        for run in trace.runs:
            if self.chunks and run.rows.stop - self.chunks[-1].start <= _COLUMNS:
                self.chunks[-1] = slice(self.chunks[-1].start, run.rows.stop)
            else:
                self.chunks.append(run.rows)
        self.there = slice(0, 0)
        if self.chunks:  # all of it at once: it shall not move between two of them
            self.buffer(max(self.chunks, key=lambda chunk: chunk.stop - chunk.start))

    def buffer(self, chunk: slice) -> Array:
        """Return where the products of these rows go, (G·H, columns), some columns of nobody behind them."""
        return self.trace.product_buffer(chunk.stop - chunk.start)

    def compute(self, run: Run) -> Array:
        """Compute the product that this run is part of, if it is not there, and return the run's (G·H, k·b)."""
        if run.rows.stop > self.there.stop:
            self.there = self.chunks[bisect_right(self.chunks, run.rows.start, key=lambda chunk: chunk.start) - 1]
            self.product, rows = self.buffer(self.there), self.trace.x[self.there]
            if self.alone:
                self.trace.xp.matmul(rows, self.W.T, out=self.product.T)
            else:
                self.trace.xp.matmul(self.W, rows.T, out=self.product[:, : len(rows)])
        here: Array = self.product[:, run.rows.start - self.there.start : run.rows.stop - self.there.start]
        return here


class _Inputs:
    """W x + b for the steps of a run at once; of a small batch W x for many runs, whose columns are copied out."""

    def __init__(self, p: Weights, trace: Trace) -> None:
        self.W, self.trace, batch = p["W"], trace, trace.packing.batch
        self.bias = trace.xp.repeat(p["b"][:, None], batch, axis=1)  # NumPy adds a matrix in half a column's time
        self.products = InputProducts(self.W, trace) if batch <= _SMALL_BATCH else None

    def fill(self, run: Run) -> None:
        """Write them to where the cell expects them."""
        xp, a, bias = self.trace.xp, run.a, self.bias[:, : run.batch]
        if a.shape[2] > run.batch:
            a[:, :, run.batch :] = 0
            a = a[:, :, : run.batch]
        if self.products is not None:
            here = self.products.compute(run)
            xp.add(here.reshape(len(here), len(run.steps), run.batch).swapaxes(0, 1), bias, out=a)
        else:
            xp.matmul(self.W, by_step(self.trace.x, run).swapaxes(1, 2), out=a)
            a += bias


class Backward:
    """By `Cell.step_backward`."""

    def __init__(
        self, cell: Cell, p: Weights, trace: Trace, dstate: tuple[Array, ...], reaching: list[Slabs] | None
    ) -> None:
        self.cell, self.p, self.trace, self.dstate, self.reaching = cell, _by_columns(p, trace), trace, dstate, reaching

    def __call__(self, run: Run, upstream: Array | None) -> None:
        """Run those of `run`."""
        noise, running = self.trace.noise, tuple(d[:, : run.da.shape[2]] for d in self.dstate)
        arriving = None if upstream is None else self._by_units(upstream)
        dh_next = running[0][:, : run.batch]
        for t in reversed(run.steps):
            now = self.trace.now[t]
            if arriving is not None:
                dh_next += arriving[t - run.steps[0]]
            if self.reaching is not None:
                kept = tuple(slabs[t] for slabs in self.reaching)
                now = now._replace(reaching=kept)
                for k, d in enumerate(running):
                    kept[k][...] = d
            if noise is None:
                self.cell.step_backward(self.p, now, running)
            else:
                noise.step_backward(self.cell, self.p, now, running, t)
        by_step(self.trace.da.T, run)[...] = run.da[:, :, : run.batch].swapaxes(1, 2)

    def _by_units(self, upstream: Array) -> Array:
        """Return gradients (k, b, H) as the steps take them, (k, H, b)."""
        if not is_large(upstream):
            return upstream.swapaxes(1, 2)
        k, b, units = upstream.shape
        out = self.trace.slabs("upstream", k * units, (b,))[0]
        return swap_axes(upstream, out=out.reshape(k, units, b))


def _by_columns(p: Weights, trace: Trace) -> Weights:
    """Return the parameters with every matrix laid out column by column, if there are steps enough to pay for it.

    A step backward multiplies by U.T, which then lies row by row: that product is up to a third faster. W takes no
    part in the steps.
    """
    if len(trace.now) < _MANY_STEPS:
        return p
    used = dict(p)
    for name, value in p.items():
        if value.ndim == 2 and name != "W":
            used[name] = by_columns(value, trace.take(f"{name} by columns", value.size).reshape(value.shape[::-1]))
    return used

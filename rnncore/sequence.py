"""The only loop over time: forward, backward through time, and one step at a time.

What does not depend on the step before is done for all steps at once: W x + b before the loop where that pays, and
the gradients of W, b, x and U after it, one product each. Inside the loop stands only what the recurrence forces.

Shapes: T steps, B sequences, D inputs, H units, N = sum(lengths) rows without padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore.array import Array, array_module, check_float, check_shape, sum_over_rows
from rnncore.cells.base import Cell, Weights
from rnncore.packing import Packing
from rnncore.trace import Trace

Lengths = Packing | Sequence[int] | np.ndarray[Any, Any] | None

# Below this many sequences, W x for all steps is one product whose columns are copied out; above, one product a
# step writes straight to its place. Measured at D = 200, H = 256 on two cores: equal at about 24.
_SMALL_BATCH = 24


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
) -> Trace:
    """Run `cell` over a batch of sequences.

    Parameters
    ----------
    p : the cell's parameters, by name.
    x : (T, B, D) time-major and padded; or, if `lengths` is a `Packing`, its rows (N, D).
    initial : the initial states, (B, H) each, in the order of `cell.state`; zeros when None.
    lengths : (B,) how many steps of each sequence are real, all T when None; or a `Packing`.
    trace : a Trace of an earlier pass, whose memory is used again: what it held is lost.

    Returns
    -------
    Trace : `trace.output`, `trace.last`, and every gate at every step.

    Raises
    ------
    ValueError, TypeError
        If a shape or a precision does not fit; the message names the argument.
    """
    check_float("x", x)
    packing = _packing_of(x, lengths)
    hidden = _check(cell, p, x)
    xp = array_module(x, *p.values())
    if trace is None or not trace.fits(cell, hidden, x.dtype, xp):
        trace = Trace(cell, hidden, x.dtype, xp)
    trace.lay_out(packing)
    trace.padded = x.ndim == 3
    trace.x = packing.pack(x) if trace.padded else x
    _set_initial(trace, initial)

    small = packing.batch < _SMALL_BATCH
    Wx = xp.matmul(trace.x, p["W"].T) if small else None
    bias, rows, offsets = p["b"][:, None], trace.state_rows[packing.batch :], packing.offsets
    for t, now in enumerate(trace.now):
        here = slice(offsets[t], offsets[t + 1])
        if Wx is not None:
            xp.add(Wx[here].T, bias, out=now.a)
        else:
            xp.matmul(p["W"], trace.x[here].T, out=now.a)
            now.a[...] += bias
        cell.step(p, now)
        rows[here] = now.next[0].T
    return trace


def backward(
    cell: Cell,
    p: Weights,
    trace: Trace,
    dh: Array | None = None,
    dlast: Sequence[Array | None] | None = None,
    grads: dict[str, Array] | None = None,
    need_dx: bool = True,
) -> Gradients:
    """Back-propagate through time over what `forward` left in `trace`.

    Parameters
    ----------
    dh : the gradient of the output at every step, shaped as `trace.output`; zero when None.
    dlast : the gradients of the last states, (B, H) each, in the order of `cell.state`; None is zero.
    grads : where to write the parameters' gradients; new arrays when None. They are overwritten, not added to.
    need_dx : whether the gradient of x is wanted; it costs one product.
    """
    if type(cell) is not type(trace.cell):
        ran, given = type(trace.cell).__name__, type(cell).__name__
        raise ValueError(f"backward needs the cell that ran forward, {ran}, got {given}")
    packing, xp = trace.packing, trace.xp
    rows = None if dh is None else _gradient_rows(trace, dh)
    dstate = _last_gradients(trace, dlast)
    da = trace.gradient_buffer()
    for t in reversed(range(len(trace.now))):
        now, here = trace.now[t], slice(packing.offsets[t], packing.offsets[t + 1])
        running = tuple(d[:, : packing.batch_sizes[t]] for d in dstate)
        if rows is not None:
            running[0][...] += rows[here].T
        cell.step_backward(p, now, running)
        da[:, here] = now.da

    grads = {name: xp.empty_like(value) for name, value in p.items()} if grads is None else grads
    gates = da[: len(cell.gates) * trace.hidden]
    xp.matmul(gates, trace.x, out=grads["W"])
    sum_over_rows(gates, out=grads["b"])
    cell.recurrent_grads(p, trace, da, grads)
    dx = xp.matmul(gates.T, p["W"]) if need_dx else None
    if dx is not None and trace.padded:
        dx = packing.unpack(dx)
    return Gradients(dx, tuple(packing.unsort(xp.ascontiguousarray(d.T)) for d in dstate), grads)


class Stepper:
    """One step at a time with carried state: streaming, and the decoding of captions.

    Parameters
    ----------
    state : the states to start from, (B, H) each; zeros for `batch` sequences when None.

    The states after k calls are those of `forward` over the same k inputs. The arrays that `step` returns are new;
    `state` may be set at any time, to other sequences too, as beam search does.
    """

    def __init__(self, cell: Cell, p: Weights, batch: int = 1, state: Sequence[Array] | None = None) -> None:
        self.cell, self.p = cell, p
        xp, dtype, hidden = array_module(p["W"]), p["W"].dtype, _hidden(cell, p)
        if state is None:
            state = [xp.zeros((batch, hidden), dtype) for _ in cell.state]
        self.state: tuple[Array, ...] = tuple(state)
        self._trace: Trace | None = None

    def step(self, x: Array) -> Array:
        """Advance by one step with x (B, D) and return the output h, (B, H)."""
        self._trace = forward(self.cell, self.p, x[None], self.state, trace=self._trace)
        self.state = self._trace.last
        return self.state[0]


def _packing_of(x: Array, lengths: Lengths) -> Packing:
    if isinstance(lengths, Packing):
        check_shape("x", x, {"N": lengths.rows, "D": None})
        return lengths
    check_shape("x", x, {"T": None, "B": None, "D": None})
    steps, batch = x.shape[:2]
    if lengths is None:
        return Packing.dense(steps, batch)
    if np.shape(lengths) != (batch,):
        got = len(lengths) if np.ndim(lengths) == 1 else lengths
        raise ValueError(f"lengths: expected one for each of the B={batch} sequences, got {got}")
    return Packing(lengths, steps)


def _hidden(cell: Cell, p: Weights) -> int:
    """H, from W (G·H, D)."""
    if "W" not in p:
        raise KeyError(f"{type(cell).__name__} needs the parameter 'W', got {sorted(p)}")
    return int(p["W"].shape[0]) // len(cell.gates)


def _check(cell: Cell, p: Weights, x: Array) -> int:
    """Hold parameters and input to each other and return H."""
    hidden = _hidden(cell, p)
    for name, shape in cell.shapes(x.shape[-1], hidden).items():
        if name not in p:
            raise KeyError(f"{type(cell).__name__} needs the parameter {name!r} of shape {shape}, got {sorted(p)}")
        if tuple(p[name].shape) != shape:
            raise ValueError(
                f"{name}: expected the shape {shape} for x with D={x.shape[-1]} and H={hidden}, "
                f"got {tuple(p[name].shape)}"
            )
        check_float(name, p[name], x.dtype)
    return hidden


def _set_initial(trace: Trace, initial: Sequence[Array] | None) -> None:
    packing, names = trace.packing, trace.cell.state
    if initial is not None and len(initial) != len(names):
        raise ValueError(f"initial: expected {len(names)} states ({', '.join(names)}), got {len(initial)}")
    for k, slab in enumerate(trace.initial):
        if initial is None:
            slab[...] = 0
            continue
        check_shape(f"initial {names[k]}", initial[k], {"B": packing.batch, "H": trace.hidden})
        check_float(f"initial {names[k]}", initial[k], trace.dtype)
        slab[...] = packing.sort(initial[k]).T
    trace.state_rows[: packing.batch] = trace.initial[0].T


def _gradient_rows(trace: Trace, dh: Array) -> Array:
    packing, H = trace.packing, trace.hidden
    check_float("dh", dh, trace.dtype)
    if not trace.padded:
        check_shape("dh", dh, {"N": packing.rows, "H": H})
        return dh
    check_shape("dh", dh, {"T": packing.steps, "B": packing.batch, "H": H})
    return packing.pack(dh)


def _last_gradients(trace: Trace, dlast: Sequence[Array | None] | None) -> tuple[Array, ...]:
    """Return the gradients of the last states as new (H, B) arrays, sorted; the loop works on them in place."""
    packing, names = trace.packing, trace.cell.state
    if dlast is not None and len(dlast) != len(names):
        raise ValueError(f"dlast: expected {len(names)} gradients ({', '.join(names)}), got {len(dlast)}")
    out = tuple(trace.xp.zeros((trace.hidden, packing.batch), trace.dtype) for _ in names)
    for name, d, given in zip(names, out, [None] * len(names) if dlast is None else dlast, strict=True):
        if given is not None:
            check_shape(f"dlast {name}", given, {"B": packing.batch, "H": trace.hidden})
            check_float(f"dlast {name}", given, trace.dtype)
            d[...] = packing.sort(given).T
    return out

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
from rnncore.regularise import Regulariser
from rnncore.trace import Trace, sizes_of

Lengths = Packing | Sequence[int] | np.ndarray[Any, Any] | None

# Below this many sequences, W x for all steps is one product whose columns are copied out; above, one product a
# step writes straight to its place. At T = 34, D = 200, H = 256 on two cores they are 4 % apart at 24, equal at 32.
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
    regulariser: Regulariser | None = None,
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
    trace.noise = noise = None if regulariser is None else regulariser.draw(cell, p, trace)
    if noise is None and (own := getattr(cell, "forward_loop", None)) is not None:
        own(p, trace)
        return trace

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
        if noise is None:
            cell.step(p, now)
        else:
            noise.step(cell, p, now, t)
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
    if not _is_same(cell, trace.cell):
        ran, given = type(trace.cell).__name__, type(cell).__name__
        raise ValueError(f"backward needs the cell that ran forward, {ran}, got {given}")
    packing, noise = trace.packing, trace.noise
    rows = None if dh is None else _gradient_rows(trace, dh)
    dstate = _last_gradients(trace, dlast)
    da = trace.gradient_buffer()
    reaching = trace.state_gradient_buffers() if keep_state_gradients else None
    if noise is None and (own := getattr(cell, "backward_loop", None)) is not None:
        own(p, trace, rows, dstate, reaching)
        return _gradients(cell, p, trace, dstate, grads, need_dx)
    for t in reversed(range(len(trace.now))):
        now, here = trace.now[t], slice(packing.offsets[t], packing.offsets[t + 1])
        running = tuple(d[:, : packing.batch_sizes[t]] for d in dstate)
        if rows is not None:
            running[0][...] += rows[here].T
        if reaching is not None:
            kept = tuple(slabs[t] for slabs in reaching)
            now = now._replace(reaching=kept)
            for k, d in enumerate(running):
                kept[k][...] = d
        if noise is None:
            cell.step_backward(p, now, running)
        else:
            noise.step_backward(cell, p, now, running, t)
        da[:, here] = now.da

    return _gradients(cell, p, trace, dstate, grads, need_dx)


def _gradients(
    cell: Cell, p: Weights, trace: Trace, dstate: tuple[Array, ...], grads: dict[str, Array] | None, need_dx: bool
) -> Gradients:
    """Return what `backward` returns, once `trace.da` is filled and `dstate` has come to the initial states."""
    packing, xp, da = trace.packing, trace.xp, trace.da
    grads = {name: xp.empty_like(value) for name, value in p.items()} if grads is None else grads
    dx = _products_over_time(cell, p, trace, da, grads, need_dx)
    return Gradients(dx, tuple(packing.unsort(xp.ascontiguousarray(d.T)) for d in dstate), grads)


def _products_over_time(
    cell: Cell, p: Weights, trace: Trace, da: Array, grads: dict[str, Array], need_dx: bool
) -> Array | None:
    """Write the gradient of every parameter, each one product over all steps, and return that of x if it is wanted."""
    gates = da[: len(cell.gates) * trace.hidden]
    trace.xp.matmul(gates, trace.x, out=grads["W"])
    sum_over_rows(gates, out=grads["b"])
    cell.recurrent_grads(p, trace, da, grads)
    if not need_dx:
        return None
    dx = trace.xp.matmul(gates.T, p["W"])
    return trace.packing.unpack(dx) if trace.padded else dx


class Stepper:
    """One step at a time with carried state: streaming, and the decoding of captions.

    Parameters
    ----------
    state : the states to start from, (B, H) each; zeros for `batch` sequences when None.
    regulariser : without a seed, for the expectation of zoneout.

    The states after k calls are those of `forward` over the same k inputs. The arrays that `step` returns are new;
    `state` may be set at any time, to other sequences too, as beam search does.
    """

    def __init__(
        self,
        cell: Cell,
        p: Weights,
        batch: int = 1,
        state: Sequence[Array] | None = None,
        regulariser: Regulariser | None = None,
    ) -> None:
        if regulariser is not None and regulariser.seed is not None:
            raise ValueError("regulariser: a Stepper is inference, which draws no masks; pass one with seed=None")
        self.cell, self.p, self.regulariser = cell, p, regulariser
        xp, dtype, sizes = array_module(p["W"]), p["W"].dtype, sizes_of(cell, _hidden(cell, p))
        if state is None:
            state = [xp.zeros((batch, sizes[name]), dtype) for name in cell.state]
        self.state: tuple[Array, ...] = tuple(state)
        self._trace: Trace | None = None

    def step(self, x: Array) -> Array:
        """Advance by one step with x (B, D) and return the output h, (B, H)."""
        self._trace = forward(self.cell, self.p, x[None], self.state, None, self._trace, self.regulariser)
        self.state = self._trace.last
        return self.state[0]


def _is_same(cell: Cell, other: Cell) -> bool:
    """Whether two definitions are one: a cell's constructor may choose among equations."""
    return cell is other or (type(cell) is type(other) and vars(cell) == vars(other))


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


def _width(trace: Trace, state: str) -> dict[str, int]:
    """The axis of a state's units, named as the documents name it."""
    size = trace.sizes[state]
    return {"H" if size == trace.hidden else f"size of {state}": size}


def _set_initial(trace: Trace, initial: Sequence[Array] | None) -> None:
    packing, names = trace.packing, trace.cell.state
    if initial is not None and len(initial) != len(names):
        raise ValueError(f"initial: expected {len(names)} states ({', '.join(names)}), got {len(initial)}")
    for k, slab in enumerate(trace.initial):
        if initial is None:
            slab[...] = 0
            continue
        check_shape(f"initial {names[k]}", initial[k], {"B": packing.batch} | _width(trace, names[k]))
        check_float(f"initial {names[k]}", initial[k], trace.dtype)
        slab[...] = packing.sort(initial[k]).T
    trace.state_rows[: packing.batch] = trace.initial[0].T


def _gradient_rows(trace: Trace, dh: Array) -> Array:
    packing, width = trace.packing, _width(trace, trace.cell.state[0])
    check_float("dh", dh, trace.dtype)
    if not trace.padded:
        check_shape("dh", dh, {"N": packing.rows} | width)
        return dh
    check_shape("dh", dh, {"T": packing.steps, "B": packing.batch} | width)
    return packing.pack(dh)


def _last_gradients(trace: Trace, dlast: Sequence[Array | None] | None) -> tuple[Array, ...]:
    """Return the gradients of the last states as new (H, B) arrays, sorted; the loop works on them in place."""
    packing, names = trace.packing, trace.cell.state
    if dlast is not None and len(dlast) != len(names):
        raise ValueError(f"dlast: expected {len(names)} gradients ({', '.join(names)}), got {len(dlast)}")
    out = tuple(trace.xp.zeros((trace.sizes[name], packing.batch), trace.dtype) for name in names)
    for name, d, given in zip(names, out, [None] * len(names) if dlast is None else dlast, strict=True):
        if given is not None:
            check_shape(f"dlast {name}", given, {"B": packing.batch} | _width(trace, name))
            check_float(f"dlast {name}", given, trace.dtype)
            d[...] = packing.sort(given).T
    return out

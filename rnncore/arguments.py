"""What the engine is handed, held to what it takes: shapes, precisions, lengths; and brought into its own layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore.array import Array, check_float, check_shape, swap_axes
from rnncore.cells.base import Cell, Weights
from rnncore.packing import Packing
from rnncore.trace import Trace

Lengths = Packing | Sequence[int] | np.ndarray[Any, Any] | None


def is_same(cell: Cell, other: Cell) -> bool:
    """Whether two definitions are one: a cell's constructor may choose among equations."""
    return cell is other or (type(cell) is type(other) and vars(cell) == vars(other))


def packing_of(x: Array, lengths: Lengths) -> Packing:
    """Return the packing of x, (T, B, D) with `lengths` or packed rows (N, D), and hold its shape to it."""
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


def hidden_size(cell: Cell, p: Weights) -> int:
    """H, from W (G·H, D)."""
    if "W" not in p:
        raise KeyError(f"{type(cell).__name__} needs the parameter 'W', got {sorted(p)}")
    return int(p["W"].shape[0]) // len(cell.gates)


def check_parameters(cell: Cell, p: Weights, x: Array) -> int:
    """Hold parameters and input to each other and return H."""
    hidden = hidden_size(cell, p)
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


def set_initial(trace: Trace, initial: Sequence[Array] | None) -> None:
    """Set the states that a laid-out Trace begins with, (B, H) each in the caller's order; zeros when None."""
    packing = trace.packing
    if initial is not None:
        check_initial(trace, initial, packing.batch)
    rows: list[Array | int] = [0] * len(trace.initial)
    for k, slab in enumerate(trace.initial):
        if initial is None:
            slab[...] = 0
            continue
        rows[k] = sorted_rows = packing.sort(initial[k])
        swap_axes(sorted_rows[None], out=slab[None])
    trace.clear_unused()
    trace.state_rows[: packing.batch] = rows[0]


def check_initial(trace: Trace, initial: Sequence[Array], batch: int) -> None:
    """Raise unless these are states of so many sequences, (B, H) each."""
    names = trace.cell.state
    if len(initial) != len(names):
        raise ValueError(f"initial: expected {len(names)} states ({', '.join(names)}), got {len(initial)}")
    for name, rows in zip(names, initial, strict=True):
        check_shape(f"initial {name}", rows, {"B": batch} | _width(trace, name))
        check_float(f"initial {name}", rows, trace.dtype)


def gradient_rows(trace: Trace, dh: Array) -> Array:
    """Return the gradient of the output as packed rows (N, H): dh (T, B, H) where x was padded, else as it is."""
    packing, width = trace.packing, _width(trace, trace.cell.state[0])
    check_float("dh", dh, trace.dtype)
    if not trace.padded:
        check_shape("dh", dh, {"N": packing.rows} | width)
        return dh
    check_shape("dh", dh, {"T": packing.steps, "B": packing.batch} | width)
    return packing.pack(dh)


def last_gradients(trace: Trace, dlast: Sequence[Array | None] | None) -> tuple[Array, ...]:
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

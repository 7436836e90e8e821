"""Between the arrays that a caller has and what a stack works on: padded batches and rows, joined states and lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnncore.array import Array, array_module, check_float, check_shape, is_on_gpu
from rnncore.packing import Packing
from rnncore.sequence import Lengths


@dataclass(frozen=True)
class Layout:
    """How a caller laid out x: padded (T, B, D), padded (B, T, D), or the rows (N, D) of a `Packing`."""

    packing: Packing
    padded: bool
    batch_first: bool

    @classmethod
    def of(cls, x: Array, input_size: int, lengths: Lengths, batch_first: bool) -> Layout:
        """Return the layout of x, whose shape is checked against `lengths`."""
        if isinstance(lengths, Packing):
            check_shape("x", x, {"N": lengths.rows, "D": input_size})
            return cls(lengths, False, batch_first)
        axes = ("B", "T") if batch_first else ("T", "B")
        if len(x.shape) == 2 and x.shape[1] == input_size:
            raise ValueError(
                f"x: expected the shape ({axes[0]}, {axes[1]}, D={input_size}), got {x.shape}; one sequence alone is a "
                f"batch of one, {'x[None]' if batch_first else 'x[:, None]'}"
            )
        check_shape("x", x, {axes[0]: None, axes[1]: None, "D": input_size})
        batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
        if batch == 0:
            raise ValueError(f"x: expected at least one sequence, B >= 1, got the shape {x.shape}")
        if lengths is None:
            return cls(Packing.dense(steps, batch), True, batch_first)
        if np.shape(lengths) != (batch,):
            got = len(lengths) if np.ndim(lengths) == 1 else lengths
            raise ValueError(f"lengths: expected one for each of the B={batch} sequences, got {got}")
        return cls(Packing(lengths, steps), True, batch_first)

    def rows(self, name: str, x: Array, axis: str, size: int) -> Array:
        """Return the rows (N, size) of an array that is laid out as x; a view where that is possible."""
        if not self.padded:
            check_shape(name, x, {"N": self.packing.rows, axis: size})
            return x
        steps, batch = ("T", self.packing.steps), ("B", self.packing.batch)
        first = (batch, steps) if self.batch_first else (steps, batch)
        check_shape(name, x, {**dict(first), axis: size})
        return self.packing.pack(x.swapaxes(0, 1) if self.batch_first else x)

    def restore(self, rows: Array, new: bool = False) -> Array:
        """Return rows (N, size) laid out as x, zeros in the padding; contiguous, and nobody else's.

        new : whether nobody else has the rows either, so that they need not be copied.
        """
        if self.padded:
            new, rows = new or not self.packing.is_dense, self.packing.unpack(rows)
            rows = rows.swapaxes(0, 1) if self.batch_first else rows
        return array_module(rows).ascontiguousarray(rows) if new else rows.copy()


def check_values(name: str, x: Array) -> None:
    """Raise ValueError if a number is NaN or infinite; look at none on a GPU, where asking waits for all before it."""
    if not is_on_gpu(x) and not bool(np.isfinite(x).all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity; look at where {name} comes from")


def split_states(
    name: str,
    given: Array | Sequence[Array | None],
    states: Sequence[str],
    lanes: int,
    like: Array,
    batch: int,
    required: bool = False,
) -> list[list[Array | None]]:
    """Return for every lane its states, (B, H) each, of the caller's (lanes, B, H), or (B, H) of one lane.

    The sizes H are left to the engine, which knows them by name. `required` refuses None, NaN and infinity.
    """
    arrays = list(given) if isinstance(given, tuple | list) else [given]
    if len(arrays) != len(states):
        raise ValueError(f"{name}: expected {len(states)} arrays ({', '.join(states)}), got {len(arrays)}")
    out: list[list[Array | None]] = [[] for _ in range(lanes)]
    for state, array in zip(states, arrays, strict=True):
        if required or array is not None:
            check_float(f"{name} {state}", array, like.dtype)
            shape = {"B": batch, "H": None}
            check_shape(f"{name} {state}", array, shape if lanes == 1 else {"layers·R": lanes, **shape})
        if required:
            check_values(f"{name} {state}", array)
        for k in range(lanes):
            out[k].append(array if array is None or lanes == 1 else array[k])
    return out


def join_states(lanes: Sequence[Sequence[Array]]) -> tuple[Array, ...]:
    """Return every lane's states (B, H) as the caller knows them: (lanes, B, H), or (B, H) of one lane."""
    if len(lanes) == 1:
        return tuple(lanes[0])
    return tuple(array_module(*parts).stack(parts) for parts in zip(*lanes, strict=True))

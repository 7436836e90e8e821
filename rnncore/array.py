"""Every difference between NumPy and CuPy, in one place.

The rest of the library asks `array_module` which of the two an array belongs to and then writes the same code for
both. CuPy is imported only when a caller asks for it by name or hands over one of its arrays.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

#: A NumPy or a CuPy array. The two share no base class, and CuPy need not be installed, so this is a name for readers.
Array = Any
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

#: Bytes of a line of the processor's caches.
LINE = 64

# One half by the type code of an array: NumPy takes a number that is an array twice as fast as a Python float.
_HALF = {kind.char: np.array(0.5, kind) for kind in FLOATS}


def is_on_gpu(x: Array) -> bool:
    """Whether `x` is a CuPy array."""
    return type(x).__module__.partition(".")[0] == "cupy"


def array_module(*arrays: Array, **named: Array) -> ModuleType:
    """Return `numpy` or `cupy`, whichever all the given arrays belong to; None is passed over.

    Raises
    ------
    TypeError
        If host and device arrays are mixed. Arrays given by keyword are named in the message.
    """
    if all(type(a) is np.ndarray for a in (*arrays, *named.values())):
        return np  # the common case, asked for many times a step
    everything = {f"argument {k}": a for k, a in enumerate(arrays)} | named
    places = {name: is_on_gpu(a) for name, a in everything.items() if a is not None}
    if not any(places.values()):
        return np
    if not all(places.values()):
        device = [n for n, on in places.items() if on]
        host = [n for n, on in places.items() if not on]
        raise TypeError(
            f"arrays on the GPU ({', '.join(device)}) and on the host ({', '.join(host)}) cannot be mixed; "
            "move them with rnncore.array.to_device or to_host"
        )
    return sys.modules["cupy"]


def module_for(device: str) -> ModuleType:
    """Return the array module of a device by name: 'cpu' is NumPy, 'cuda' is CuPy.

    Raises
    ------
    RuntimeError
        If 'cuda' is asked for and CuPy or a GPU is missing; the CPU is never taken instead in silence.
    """
    if device == "cpu":
        return np
    if device != "cuda":
        raise ValueError(f"expected the device 'cpu' or 'cuda', got {device!r}")
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise RuntimeError(
            f"the device 'cuda' needs CuPy and an NVIDIA GPU ({error}); install the extra 'gpu' "
            "(CUDA 13) or 'gpu12', or use 'cpu'"
        ) from error
    module: ModuleType = cupy
    return module


def to_device(x: Array) -> Array:
    """Copy `x` to the GPU; an array that is there already is returned as it is."""
    return module_for("cuda").asarray(x)


def to_host(x: Array) -> np.ndarray[Any, Any]:
    """Copy `x` to host memory; a NumPy array is returned as it is.

    >>> x = np.ones(3)
    >>> to_host(x) is x
    True
    """
    return np.asarray(x.get() if is_on_gpu(x) else x)


def synchronize(x: Array) -> None:
    """Wait until the GPU has computed `x`; on the host there is nothing to wait for."""
    if is_on_gpu(x):
        sys.modules["cupy"].cuda.get_current_stream().synchronize()


def reserved_bytes(xp: ModuleType) -> int:
    """Return how much of the GPU's memory CuPy has taken, 0 for NumPy.

    CuPy keeps what it has once taken, so after a step of training this is what the largest step so far needed.
    """
    return 0 if xp is np else int(xp.get_default_memory_pool().total_bytes())


def aligned_zeros(size: int, dtype: DTypeLike, xp: ModuleType = np) -> Array:
    """Return so many zeros that begin at a cache line: vectors loaded across two take longer.

    NumPy's own arrays begin at any multiple of 16 bytes. One step of an LSTM with 256 units, which is all reading of
    weights, takes a fifth less.
    """
    if xp is not np:
        return xp.zeros(size, dtype)
    wider = np.zeros(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    before = -wider.__array_interface__["data"][0] % LINE
    return np.frombuffer(wider.data, dtype, size, before)  # a view would not be the base of its own views


class Workspace:
    """Named buffers that are used again and grow when needed, so that a training loop allocates nothing large."""

    def __init__(self, dtype: DTypeLike, xp: ModuleType = np) -> None:
        self.dtype, self.xp = np.dtype(dtype), xp
        self.moved = 0  # how often a buffer has come to lie elsewhere
        self._buffers: dict[str, Array] = {}

    def take(self, name: str, *shape: int) -> Array:
        """Return the buffer `name` in the given shape: as it was left, or zeros, and elsewhere, where it must grow."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            spare = 1.25 if buffer is not None else 1.0  # sizes that vary from batch to batch settle soon
            self.moved += buffer is not None
            buffer = self._buffers[name] = aligned_zeros(int(size * spare), self.dtype, self.xp)
        return buffer[:size].reshape(shape)

    def buffers(self) -> list[Array]:
        """Return the buffers as they are now."""
        return list(self._buffers.values())


def sigmoid(x: Array, out: Array | None = None) -> Array:
    r"""Logistic function, :math:`\sigma(x) = \tfrac12 \tanh(\tfrac x2) + \tfrac12`, into `out` when it is given.

    This form has no exponential that could overflow, and tanh is a vectorised loop in both array libraries.
    """
    on_host = type(x) is np.ndarray  # in every step of every cell, so no call is idle
    xp = np if on_host else array_module(x)
    half = _HALF.get(x.dtype.char, 0.5) if on_host else 0.5
    out = xp.multiply(x, half, out=out)
    xp.tanh(out, out=out)
    out *= half
    out += half
    return out


def by_columns(x: Array, out: Array, block: int = 128) -> Array:
    """Return a copy of the matrix `x` (m, n) that lies column by column, so that `x.T` lies row by row in `out` (n, m).

    It is copied in square blocks, of which both sides fit the processor's first cache.
    """
    xp = array_module(x)
    if xp is not np:
        out[...] = x.T
        return out.T
    for row in range(0, x.shape[0], block):
        for column in range(0, x.shape[1], block):
            here = x[row : row + block, column : column + block]
            out[column : column + block, row : row + block] = here.T
    return out.T


def is_large(x: Array) -> bool:
    """Whether `swap_axes` copies the matrices of `x` (k, m, n) in strips."""
    return type(x) is np.ndarray and min(x.shape[1:]) >= 128


def swap_axes(x: Array, out: Array, strip: int = 32) -> Array:
    """Set `out` (k, n, m) to each matrix of `x` (k, m, n) transposed, and return it.

    Large ones are copied in strips of some rows, which takes half the time: whole columns lie so far apart that their
    cache lines are thrown out before they are used up.
    """
    if not is_large(x):
        out[...] = x.swapaxes(1, 2)
        return out
    for row in range(0, x.shape[1], strip):
        here = slice(row, row + strip)
        out[:, :, here] = x[:, here].swapaxes(1, 2)
    return out


def sum_over_rows(a: Array, out: Array) -> Array:
    """Set `out` (K,) to the sum of each row of `a` (K, N), and return it.

    A product with ones is several times faster than a reduction, and for few columns it makes no odds.
    """
    xp = array_module(a, out)
    if a.shape[1] < 64:
        return xp.sum(a, axis=1, out=out)
    return xp.matmul(a, xp.ones(a.shape[1], a.dtype), out=out)


def sum_rows(rows: Array, index: Array, out: Array) -> None:
    """Set `out[k]` to the sum of the rows whose index is k, 0 where there is none; the order of addition is fixed.

    rows : (N, E); index : (N,) integers in [0, len(out)); out : (V, E), overwritten. This is the gradient of
    `out[index]`. Rows are sorted by index and summed run by run, which is deterministic on both devices and much
    faster than an atomic scatter where indices repeat, as words do.
    """
    xp = array_module(rows, index, out)
    out[...] = 0
    if len(index) == 0:
        return
    order = xp.argsort(index, kind="stable")
    ordered = index[order]
    if xp is np:
        starts = np.flatnonzero(np.concatenate([np.ones(1, bool), ordered[1:] != ordered[:-1]]))
        out[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0)
        return
    # Differences of a running sum, as CuPy's reduceat is too, but in float32; its flatnonzero waits for the device.
    running = xp.zeros((len(rows) + 1, rows.shape[1]), xp.float64)
    running[1:] = xp.cumsum(rows[order], axis=0, dtype=xp.float64)
    ends = xp.searchsorted(ordered, xp.arange(len(out), dtype=index.dtype), side="right")
    upto = running[ends]
    out[0] = upto[0]
    out[1:] = upto[1:] - upto[:-1]


def check_float(name: str, x: Array, dtype: DTypeLike | None = None) -> None:
    """Raise TypeError unless `x` is an array of float32 or float64, and of `dtype` if that is given."""
    kind = getattr(x, "dtype", None)
    if _is_array(x) and kind in FLOATS and (dtype is None or kind == np.dtype(dtype)):
        return
    expected = "float32 or float64" if dtype is None else np.dtype(dtype).name
    got = type(x).__name__ if kind is None else f"{type(x).__name__} of {kind}"
    raise TypeError(f"{name}: expected an array of {expected}, got {got}; {_remedy(name, x, expected.split()[0])}")


def _is_array(x: Array) -> bool:
    """Whether `x` is an array without a mask, which nothing here would heed."""
    return type(x) is np.ndarray or is_on_gpu(x) or (isinstance(x, np.ndarray) and not hasattr(x, "mask"))


def _remedy(name: str, x: Array, kind: str) -> str:
    word = name.rpartition(" ")[2]
    if _is_array(x):
        return f"convert it with {word}.astype('{kind}')"
    if hasattr(x, "mask"):
        return f"a mask is not heeded: hand over {word}.data, and say how long each sequence is"
    for attribute in ("params", "flat"):
        if hasattr(x, attribute):
            return f"hand over its .{attribute}"
    return f"make one with numpy.asarray({word}, '{kind}')"


def check_shape(name: str, x: Array, expected: Mapping[str, int | None]) -> None:
    """Raise ValueError unless `x` has the expected shape, given as axis name -> size (None takes any size)."""
    sizes = tuple(expected.values())
    if type(x) is np.ndarray and x.shape == sizes:
        return
    if not hasattr(x, "shape"):
        raise TypeError(f"{name}: expected an array, got {type(x).__name__}; make one with numpy.asarray({name})")
    if len(x.shape) == len(sizes) and all(e is None or e == n for e, n in zip(sizes, x.shape, strict=True)):
        return
    wanted = ", ".join(axis if size is None else f"{axis}={size}" for axis, size in expected.items())
    raise ValueError(f"{name}: expected the shape ({wanted}), got {tuple(x.shape)}")

"""Work on all cores of the processor: who takes which part of a step, and the C that runs it.

`cores.c` has the threads and the loop over steps, `product.c` what a step does beside its kernels. There are as many
threads as NumPy's own products use, so that what is said to OpenBLAS (OPENBLAS_NUM_THREADS, threadpoolctl) is said to
them too.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from rnncore.array import Array
from rnncore.kernels.processor import compiled, function_address
from rnncore.kernels.source import TYPES
from rnncore.machine import usable_cores
from rnncore.views import address, fast_width

#: Multiplications of a step that are worth the other cores' waking, and numbers of which each takes some.
WORTH, SOME = 1 << 16, 16
_LOCK = threading.Lock()


class Stage(NamedTuple):
    """A compiled function and its arguments: for every part and step a row of integers, (P, T, n).

    wide : whether it computes columns of nobody too, where that is faster.
    """

    function: int
    rows: Array
    wide: bool = False


class Parts:
    """How the work of every step is divided, into P parts at most: each takes some of the rows.

    work : (T,) the multiplications of every step.
    """

    def __init__(self, work: Array) -> None:
        self.most = threads()
        self.counts = np.where(work < WORTH, 1, self.most)

    def of(self, n: Array, some: int = SOME) -> tuple[Array, Array]:
        """Return where each part of n (T,) rows begins and ends, (P, T) each: at multiples of `some`."""
        k = np.arange(self.most + 1)[:, None]
        ends: Array = np.minimum(n, -(-(n * k) // (self.counts * some)) * some)
        return ends[:-1], ends[1:]


def shares(n: int, work: int, some: int = SOME) -> tuple[Array, Array]:
    """Return where each part of n things begins and ends, (P, 1) each, of which all together are so much work."""
    parts = Parts(np.array([work]))
    first, last = parts.of(np.array([n]), some)
    return first[: parts.counts[0]], last[: parts.counts[0]]


class Plan:
    """Stages of all steps, ready to be run."""

    def __init__(self, stages: Sequence[Stage], parts: Parts) -> None:
        self.stages = stages
        self.parts: list[int] = parts.counts.tolist()
        table = [
            (stage.function, address(rows), rows.strides[0])
            for k in range(parts.most)
            for stage in stages
            for rows in (stage.rows[k],)
        ]
        self._table = np.array([len(stages), *(n for each in table for n in each)], np.int64)
        self._at, self._steps = address(self._table), _cores().steps

    def narrow(self, columns: int, most: int) -> None:
        """From now on let all steps have so many columns, the first of the `most` that they were made for."""
        for stage in self.stages:
            stage.rows[..., 1] = min(fast_width(columns), most) if stage.wide else columns

    def run(self, steps: range) -> None:
        """Run steps of equally many columns, in the order of the range."""
        first = steps[0]
        self._steps(self._at, first, len(steps), steps.step, self.parts[first])


def run(function: int, rows: Array) -> None:
    """Run a compiled function once for each row of arguments (P, n), at the same time."""
    table = np.array([1, *(n for row in rows for n in (function, address(row), 0))], np.int64)
    _cores().steps(address(table), 0, 1, 1, len(rows))


def product_of(dtype: np.dtype[Any]) -> int:
    """Return the product of a step; `product.c` says of which arguments."""
    return function_address(_product(dtype), "product")


def transpose_of(dtype: np.dtype[Any]) -> int:
    """Return what turns the columns of a step into rows, and rows into columns."""
    return function_address(_product(dtype), "transpose")


def threads() -> int:
    """Return how many threads NumPy's products use, of which there are then as many for steps."""
    wanted = _wanted()
    there: int = _cores().threads(wanted)
    share = _of_blas("set_threads_callback_function")
    if share:
        share(_jobs(2 * wanted <= _places()))
    return min(wanted, there)


def is_shared() -> bool:
    """Whether these threads do OpenBLAS's work as well.

    Its own stay awake for some 20 ms after every product, and would take the cores from these. It must have places
    for both, since an LU goes to its own all the same, and the function by which it gives its work away.
    """
    return _of_blas("set_threads_callback_function") is not None and 2 * _wanted() <= _places()


def _wanted() -> int:
    found = _of_blas("get_num_threads")
    return found() if found else usable_cores()


@cache
def _jobs(shared: bool) -> ctypes.c_void_p:
    """Return what OpenBLAS is to call in place of its own threads, nothing where it keeps them."""
    return ctypes.c_void_p(function_address(_cores(), "blas_jobs") if shared else None)


def _cores() -> ctypes.CDLL:
    with _LOCK:  # two libraries would be twice as many threads
        return _loaded()


@cache
def _loaded() -> ctypes.CDLL:
    library = compiled((files(__package__) / "cores.c").read_text("utf-8"))
    library.steps.argtypes, library.steps.restype = [ctypes.c_int64] * 5, None
    library.threads.argtypes, library.threads.restype = [ctypes.c_int64], ctypes.c_int64
    library.places.argtypes, library.places.restype = [ctypes.c_int64], None
    library.places(_places())
    return library


@cache
def _places() -> int:
    """Return how many threads OpenBLAS has places for, 0 if it does not say."""
    config = _of_blas("get_config")
    if config is None:
        return 0
    config.restype = ctypes.c_char_p
    found = re.search(rb"MAX_THREADS=(\d+)", config())
    return int(found.group(1)) if found else 0


@cache
def _product(dtype: np.dtype[Any]) -> ctypes.CDLL:
    source = (files(__package__) / "product.c").read_text("utf-8")
    return compiled(f"typedef {TYPES[dtype]} T;\n{source}")


@cache
def _of_blas(name: str) -> Any:
    """Return a function of the OpenBLAS that NumPy is linked to; None if it is linked to another library."""
    numpy = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    for spelled in (f"scipy_openblas_{name}64_", f"openblas_{name}64_", f"openblas_{name}"):
        if hasattr(numpy, spelled):
            return getattr(numpy, spelled)
    return None

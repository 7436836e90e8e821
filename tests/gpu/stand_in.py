"""A stand-in for CuPy on a machine without a GPU: its arrays behave like CuPy's, and every slip is an error.

It is stricter than CuPy 14 (its source was read for each point) and computes with NumPy underneath:

- a host array, or a list as an index, in any operation with a device array raises `Mixed`;
- nothing converts an array to a host one without being asked: `__array__` raises, as CuPy's does;
- a function that CuPy lacks is missing here; arguments that it refuses are refused;
- reductions give arrays of no axes, not scalars, so that reading one is seen.

`counts` holds what was done since `counts.clear()`: "launches" of kernels, "products" among them, "bytes" that they
read and wrote, "allocations", "copies" that a product made of an operand or result that cuBLAS cannot take in place,
"reads" by the host, each of which waits for the device, "bytes read", "uploads" and "bytes uploaded", and "handles" of
cuBLAS.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

counts: Counter[str] = Counter()


class Mixed(TypeError):
    """A host array met a device array."""


#: The arrays that own memory, by their identity; those of arrays that are gone are dead.
alive: dict[int, Any] = {}


def _owner(host: np.ndarray) -> np.ndarray:
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def freed(addresses: Iterable[int]) -> list[int]:
    """Which addresses lie in no array that is still there: whoever reads or writes there uses freed memory."""
    there = [base for base in (ref() for ref in alive.values()) if base is not None]
    alive.clear()
    alive.update({id(base): weakref.ref(base) for base in there})
    spans = sorted((base.ctypes.data, base.ctypes.data + max(base.nbytes, 1)) for base in there)
    starts = [start for start, _ in spans]
    places = ((address, bisect_right(starts, address) - 1) for address in addresses)
    return [address for address, k in places if k < 0 or address >= spans[k][1]]


class ndarray:
    """A device array: a NumPy array that nobody but this module may touch."""

    __module__ = "cupy"
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray) -> None:
        self._host = host
        base = _owner(host)
        alive[id(base)] = weakref.ref(base)

    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    ndim = property(lambda self: self._host.ndim)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: SimpleNamespace(c_contiguous=self._host.flags.c_contiguous))
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data))
    T = property(lambda self: ndarray(self._host.T))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @shape.setter
    def shape(self, value: tuple[int, ...]) -> None:
        self._host.shape = value

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Mixed("implicit conversion of a device array to a host array; use rnncore.to_host")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in FUNCTIONS:
            return NotImplemented
        if "out" in kwargs:
            kwargs["out"] = kwargs["out"][0]
        return FUNCTIONS[ufunc.__name__](*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise Mixed(f"numpy.{func.__name__} on a device array; take the function from array_module(x)")

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> ndarray:
        found = np.asarray(self._host[_index(index)])
        if np.may_share_memory(found, self._host):
            return ndarray(found)
        return _made(found, self)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, np.ndarray | list | tuple):
            raise Mixed(f"a host {type(value).__name__} is written into a device array; move it with to_device")
        self._host[_index(index)] = _host(value)
        _count(self[index] if _is_view(index) else self, *([value] if isinstance(value, ndarray) else []))

    def get(self) -> np.ndarray:
        counts.update({"reads": 1, "bytes read": self.nbytes})
        return self._host.copy()

    def item(self) -> Any:
        return self.get().item()

    def reshape(self, *shape: Any) -> ndarray:
        found = self._host.reshape(*shape)
        return ndarray(found) if np.may_share_memory(found, self._host) else _made(found, self)

    def ravel(self) -> ndarray:
        return self.reshape(-1)

    def swapaxes(self, a: int, b: int) -> ndarray:
        return ndarray(self._host.swapaxes(a, b))

    def view(self, dtype: Any) -> ndarray:
        return ndarray(self._host.view(dtype))

    def copy(self) -> ndarray:
        return _made(self._host.copy(), self)

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return self if not copy and self.dtype == dtype else _made(self._host.astype(dtype), self)


def _index(index: Any) -> Any:
    """Unwrap an index; masks are counted as a read, since CuPy must know how many are True."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, np.ndarray | list):
            raise Mixed(f"a host {type(part).__name__} is an index of a device array; move it with to_device")
        if isinstance(part, ndarray) and part.dtype == bool:
            counts.update({"reads": 1, "bytes read": 4})
    unwrapped = tuple(p._host if isinstance(p, ndarray) else p for p in parts)
    return unwrapped if isinstance(index, tuple) else unwrapped[0]


def _is_view(index: Any) -> bool:
    return not any(isinstance(p, ndarray) for p in (index if isinstance(index, tuple) else (index,)))


def _host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise Mixed(f"a host array of shape {value.shape} in an operation on the device; move it with to_device")
    if isinstance(value, list | tuple) and any(isinstance(v, ndarray | np.ndarray) for v in value):
        return type(value)(_host(v) for v in value)
    return value._host if isinstance(value, ndarray) else value


def _count(*arrays: Any) -> None:
    counts.update({"launches": 1, "bytes": sum(a.nbytes for a in arrays if isinstance(a, ndarray))})


def _made(host: Any, *read: Any) -> ndarray:
    """A new array that a kernel has computed from others."""
    out = ndarray(np.asarray(host))
    counts["allocations"] += 1
    _count(out, *read)
    return out


def _function(name: str, keywords: tuple[str, ...] = ()) -> Callable[..., Any]:
    """CuPy's function of a name in NumPy, with `out` and the further `keywords` that CuPy takes."""
    real = getattr(np, name)

    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        if refused := set(options) - set(keywords):
            raise TypeError(f"cupy.{name} takes no {sorted(refused)}")
        if not any(isinstance(a, ndarray | list | tuple) for a in args):
            raise Mixed(f"cupy.{name} of no device array")
        if out is None:
            return _made(real(*(_host(a) for a in args), **options), *args)
        real(*(_host(a) for a in args), **options, out=_host(out))
        _count(out, *args)
        return out

    return call


def _to_cublas(a: ndarray) -> ndarray:
    """cuBLAS reads a matrix whose rows or columns lie without gaps; any other is copied first."""
    host = _host(a)
    if host.ndim < 2 or host.flags.c_contiguous or host.flags.f_contiguous:
        return a
    counts["copies"] += 1
    return a.copy()


def matmul(a: Any, b: Any, out: Any = None) -> ndarray:
    a, b = _to_cublas(a), _to_cublas(b)
    result = np.matmul(_host(a), _host(b))
    counts["products"] += 1
    if out is None:
        return _made(result, a, b)
    _count(out, a, b)
    if out.dtype != result.dtype or not out.flags.c_contiguous or out.shape != result.shape:
        counts["copies"] += 1
        counts["allocations"] += 1
        _count(out, out)
    out._host[...] = result
    return out


def asarray(x: Any, dtype: Any = None) -> ndarray:
    if isinstance(x, ndarray):
        return x if dtype is None else x.astype(dtype, copy=False)
    host = np.array(x, dtype)
    counts.update({"uploads": 1, "bytes uploaded": host.nbytes, "allocations": 1})
    return ndarray(host)


def empty(shape: Any, dtype: Any = np.float64) -> ndarray:
    counts["allocations"] += 1
    out = np.empty(shape, dtype)
    if out.dtype.kind == "f":
        out.fill(np.nan)  # nobody may rely on what stands there
    return ndarray(out)


def _filled(value: Any) -> Callable[..., ndarray]:
    return lambda shape, dtype=np.float64: _made(np.full(shape, value, dtype))


def _like(make: Callable[..., ndarray]) -> Callable[..., ndarray]:
    return lambda x, dtype=None: make(_host(x).shape, dtype or x.dtype)


def copyto(out: ndarray, value: Any, where: ndarray | None = None) -> None:
    np.copyto(out._host, _host(value), where=True if where is None else _host(where))
    _count(out, value, where)


def argsort(x: ndarray, axis: int = -1, kind: str | None = None) -> ndarray:
    if kind not in (None, "stable"):
        raise ValueError("cupy.argsort is stable, and takes no other kind")
    return _made(np.argsort(_host(x), axis=axis, kind="stable"), x)


def flatnonzero(x: ndarray) -> ndarray:
    counts.update({"reads": 1, "bytes read": 8})  # how many there are
    return _made(np.flatnonzero(_host(x)), x)


def ascontiguousarray(x: ndarray) -> ndarray:
    return x if x.flags.c_contiguous else x.copy()


def _views(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: [ndarray(a) for a in getattr(np, name)(_host(x), *args, **kwargs)]


ELEMENTWISE = ["add", "subtract", "multiply", "divide", "power", "negative", "square", "abs", "absolute", "sign"]
ELEMENTWISE += ["tanh", "exp", "log", "sqrt", "maximum", "minimum", "isfinite", "logical_not", "invert", "bitwise_and"]
ELEMENTWISE += ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]
REDUCTIONS = {"sum": ("axis", "dtype", "keepdims"), "max": ("axis", "keepdims"), "min": ("axis", "keepdims")}
REDUCTIONS |= {"mean": ("axis", "keepdims"), "all": ("axis",), "any": ("axis",), "argmax": ("axis",)}
OTHERS = {"where": (), "concatenate": ("axis",), "stack": ("axis",), "cumsum": ("axis", "dtype"), "take": ("axis",)}
OTHERS |= {"searchsorted": ("side",), "dot": (), "unpackbits": (), "repeat": ("axis",)}

FUNCTIONS: dict[str, Callable[..., Any]] = {name: _function(name) for name in ELEMENTWISE}
FUNCTIONS |= {name: _function(name, keywords) for name, keywords in (REDUCTIONS | OTHERS).items()}
FUNCTIONS |= {"matmul": matmul, "true_divide": FUNCTIONS["divide"], "split": _views("split")}
FUNCTIONS |= {"asarray": asarray, "array": lambda x, dtype=None: asarray(x, dtype).copy(), "argsort": argsort}
FUNCTIONS |= {"empty": empty, "zeros": _filled(0), "ones": _filled(1), "flatnonzero": flatnonzero}
FUNCTIONS |= {"full": lambda shape, value, dtype=None: _made(np.full(shape, value, dtype))}
FUNCTIONS |= {"full_like": lambda x, value: _made(np.full_like(_host(x), value))}
FUNCTIONS |= {f"{name}_like": _like(FUNCTIONS[name]) for name in ("empty", "zeros", "ones")}
FUNCTIONS |= {"arange": lambda *args, **kwargs: _made(np.arange(*args, **kwargs))}
FUNCTIONS |= {"ascontiguousarray": ascontiguousarray, "copyto": copyto}

for _name, _symbol in {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}.items():
    _f = FUNCTIONS[_symbol]
    setattr(ndarray, f"__{_name}__", lambda self, other, f=_f: f(self, other))
    setattr(ndarray, f"__r{_name}__", lambda self, other, f=_f: f(other, self))
    setattr(ndarray, f"__i{_name}__", lambda self, other, f=_f: f(self, other, out=self))
for _name, _type in {"float": float, "int": int, "bool": bool, "index": int}.items():
    setattr(ndarray, f"__{_name}__", lambda self, t=_type: t(self.item()))
for _name, _symbol in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal"}.items():
    setattr(ndarray, f"__{_name}__", lambda self, other, f=FUNCTIONS[_symbol]: f(self, other))
ndarray.__ne__ = lambda self, other: FUNCTIONS["not_equal"](self, other)  # type: ignore[method-assign,assignment]
ndarray.__abs__ = lambda self: FUNCTIONS["abs"](self)  # type: ignore[attr-defined]
ndarray.__neg__ = lambda self: FUNCTIONS["negative"](self)  # type: ignore[attr-defined]
ndarray.__invert__ = lambda self: FUNCTIONS["invert"](self)  # type: ignore[attr-defined]
ndarray.__matmul__ = lambda self, other: matmul(self, other)  # type: ignore[attr-defined]
for _name, _keywords in REDUCTIONS.items():
    setattr(ndarray, _name, lambda self, *axis, f=FUNCTIONS[_name], **options: f(self, *axis, **options))


CONSTANTS = ("float32", "float64", "uint32", "intp", "uint8", "uint16", "bool_", "inf", "nan")


def module() -> ModuleType:
    """Return a module to be put into `sys.modules` as 'cupy'."""
    from tests.gpu import stand_in_cuda

    made = ModuleType("cupy")
    vars(made).update(FUNCTIONS)
    vars(made).update({name: getattr(np, name) for name in CONSTANTS})
    norm = _function("sqrt")
    linalg = SimpleNamespace(norm=lambda x: norm(FUNCTIONS["sum"](FUNCTIONS["multiply"](x, x))))
    properties = {"name": b"a stand-in", "totalGlobalMem": 1 << 30}
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda device: properties)
    runtime.driverGetVersion = runtime.runtimeGetVersion = lambda: 13000
    pool = SimpleNamespace(total_bytes=lambda: 12345, free_all_blocks=lambda: None)
    made.get_default_memory_pool = lambda: pool  # type: ignore[attr-defined]
    linalg_types = {"COMPUTE_TYPE_FP32": 4, "COMPUTE_TYPE_TF32": 7, "set_compute_type": lambda dtype, kind: None}
    made._core = SimpleNamespace(_routines_linalg=SimpleNamespace(**linalg_types))  # type: ignore[attr-defined]
    made.__version__ = "14, stood in for"  # type: ignore[attr-defined]
    stream = lambda: stand_in_cuda.current.stream  # noqa: E731
    cuda = SimpleNamespace(runtime=runtime, get_current_stream=stream, Stream=stand_in_cuda.Stream)
    cuda.Device = lambda: SimpleNamespace(id=0, attributes=stand_in_cuda.CARD)
    resident = lambda kernel, threads, shared: stand_in_cuda.CARD["resident"]  # noqa: E731
    cuda.driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=resident)
    vars(made).update(ndarray=ndarray, bool=bool, linalg=linalg, cuda=cuda, RawModule=stand_in_cuda.RawModule)
    return made

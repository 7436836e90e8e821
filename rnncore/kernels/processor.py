"""Fused kernels on the processor: a program as C, compiled by the machine's own compiler when it is first needed.

What is compiled is kept in a folder of the user's, by what it was made of and for: source, compiler and processor.
The folder is `kernels` under the variable RNNCORE_CACHE, else under the system's place for such files.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.kernels.program import Kernel, Program
from rnncore.kernels.source import TYPES, body, identifier
from rnncore.machine import cpu_model, simd

#: Tried in this order, behind the variable CC.
COMPILERS = ("cc", "gcc", "clang")
OPTIONS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")

#: What of a table stands before its buffers.
HEAD = 5
#: T is the type of all numbers. In float32 tanh is x P(x²) / Q(x²), of degree 4 each, fitted to a relative error of
#: 2e-8 up to 9.02, beyond which tanh is 1 in float32: arithmetic alone, so that a compiler makes vectors of it.
HEADER = """\
#include <math.h>
#include <stdint.h>
typedef {type} T;
#define T(x) ((T)(x))
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
"""
FLOAT = """\
static inline float tanh_of(float x)
{
    x = x < -9.02f ? -9.02f : x;
    x = x > 9.02f ? 9.02f : x;
    const float y = x * x;
    const float p = 0.133796677f + y * (3.493973985e-3f + y * (2.058245991e-5f + y * 1.331763766e-8f));
    const float q = 0.467129827f + y * (2.587084472e-2f + y * (3.282992402e-4f + y * 7.761435086e-7f));
    const float r = x * (1.0f + y * p) / (1.0f + y * q);
    return r < -1.0f ? -1.0f : r > 1.0f ? 1.0f : r;
}
#define tanh tanh_of
#define exp expf
#define log logf
#define sqrt sqrtf
#define fabs fabsf
"""


class NoCompiler(RuntimeError):
    """There is no C compiler, or it does not do its work."""


def source(program: Program, name: str, dtype: np.dtype[Any]) -> str:
    """Return the kernels of a program, `name_0`, `name_1` and so on, each a function of the table of its arguments.

    A table is 64-bit integers: rows and columns of a block; whether blocks lie on end, so that rows are all numbers and
    the columns one; the first of the rows that are computed and the one behind the last; of each buffer its address and
    leading size; and of each column its address.
    """
    kernels = "\n".join(_kernel(kernel, f"{name}_{k}") for k, kernel in enumerate(program.kernels))
    return HEADER.format(type=TYPES[dtype]) + (FLOAT if dtype == np.float32 else "") + kernels


def _kernel(kernel: Kernel, name: str) -> str:
    buffers = [identifier(buffer) for buffer in kernel.buffers]
    lines = [f"T *const restrict {each} = (T *)at[{HEAD + 2 * k}];" for k, each in enumerate(buffers)]
    behind = HEAD + 2 * len(buffers)
    lines += [
        f"const T *const restrict p_{each} = (const T *)at[{behind + k}];" for k, each in enumerate(kernel.columns)
    ]
    leading = [f"const int64_t {each}_ld = at[{HEAD + 1 + 2 * k}];" for k, each in enumerate(buffers)]
    ones = " ".join(f"const int64_t {each}_ld = 1; (void){each}_ld;" for each in buffers)
    return f"""
void {name}(const int64_t *at)
{{
    const int64_t rows = at[0], b = at[1], first = at[3], last = at[4];
    {_lines(lines, 4)}
    if (at[2]) {{
        const int64_t s = 0; {ones}
        INDEPENDENT
        for (int64_t u = first; u < last; ++u) {{
{body(kernel, " " * 12)}
        }}
        return;
    }}
    {_lines(leading, 4)}
    for (int64_t u = first; u < last; ++u) {{
        INDEPENDENT
        for (int64_t s = 0; s < b; ++s) {{
{body(kernel, " " * 12)}
        }}
    }}
}}
"""


def _lines(lines: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(lines)


@cache
def compiled(text: str) -> ctypes.CDLL:
    """Compile a source, or find it compiled, and return its library.

    Raises
    ------
    NoCompiler
        If there is none, or it refuses the source, or what it makes cannot be loaded.
    """
    path = compiler()
    made_of = "\n".join((text, *OPTIONS, path, _version(path), cpu_model() or "", " ".join(simd()["found"])))
    library = cache_folder() / (hashlib.sha256(made_of.encode()).hexdigest()[:32] + ".so")
    with suppress(OSError):  # it is not there yet, or was cut short and is made anew
        return ctypes.CDLL(str(library))
    try:
        library.parent.mkdir(0o700, parents=True, exist_ok=True)  # what lies there is run
        return _made(text, path, library)
    except OSError:  # a folder that nobody may write to, or run from
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="rnncore-") as here:  # of what is loaded the file is needed no more
            return _made(text, path, Path(here) / library.name)
    except OSError as error:
        raise NoCompiler(f"what {path} makes cannot be kept or loaded: {error}") from error


def _made(text: str, path: str, library: Path) -> ctypes.CDLL:
    """Compile a source to a file, which is there as a whole or not at all, and load it."""
    with tempfile.TemporaryDirectory(dir=library.parent) as here:
        source, made = Path(here) / "kernels.c", Path(here) / library.name
        source.write_text(text, "utf-8")
        command = [path, *OPTIONS, "-fPIC", "-shared", "-pthread", "-o", str(made), str(source), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(f"{path} does not compile the fused kernels:\n{done.stderr.strip()}")
        made.replace(library)
    return ctypes.CDLL(str(library))


def compiler() -> str:
    """Return the C compiler of this machine."""
    asked = os.environ.get("CC", "").split()[:1]
    for name in (*asked, *COMPILERS):
        if path := shutil.which(name):
            return path
    raise NoCompiler(
        f"fused kernels on the processor need a C compiler, and none of {', '.join((*asked, *COMPILERS))} is there: "
        "install one (gcc, or the command line tools of macOS), or use the cell itself, which needs none"
    )


def _version(path: str) -> str:
    """What changes when a compiler is exchanged; to ask it would take a process each time."""
    found = os.stat(os.path.realpath(path))
    return f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}"


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    home = os.environ.get("RNNCORE_CACHE")
    if home is None:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rnncore")
    return Path(home) / "kernels"


def functions(program: Program, name: str, dtype: np.dtype[Any]) -> list[int]:
    """Return where the compiled kernels of a program begin, each a function of the address of its table."""
    if not program.kernels:
        return []
    library = compiled(source(program, name, dtype))
    return [function_address(library, f"{name}_{k}") for k in range(len(program.kernels))]


def function_address(library: ctypes.CDLL, name: str) -> int:
    """Return where a function of a library begins."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0

"""Any cell with its steps as fused kernels: as few launches a step as the recurrence allows."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike

from rnncore.array import Array, Workspace, is_on_gpu
from rnncore.cells.base import Cell, Weights
from rnncore.kernels import host, processor
from rnncore.kernels.blas import COMPUTE, Blas
from rnncore.kernels.copies import Copies
from rnncore.kernels.graphs import Graphs
from rnncore.kernels.launch import Launcher
from rnncore.kernels.loop import backward_loop, forward_loop
from rnncore.kernels.program import Program, compose
from rnncore.kernels.record import Kind, record
from rnncore.packing import Packing
from rnncore.params import Initialiser
from rnncore.regularise import Noise
from rnncore.steps import StepsBackward, StepsForward
from rnncore.trace import Now, Trace
from rnncore.views import Slabs


class Fused:
    """What `cell` does in a step, as products and one fused kernel between them; `fused=True` of a layer.

    It is a cell itself and goes wherever one goes: into `rnncore.Recurrent`, `rnncore.forward`, a captioner. The
    kernels are generated from the cell's own `step` and `step_backward` (`rnncore.kernels.record`), so there is no
    second definition, and a cell of your own is fused as ours are. Parameters, gradients and the Trace are the cell's.

    On NumPy's arrays kernels are C, compiled by the machine's compiler at the first step of a kind and kept for other
    processes (`rnncore.kernels.processor`); steps run on as many threads as NumPy's products (`rnncore.kernels.cores`).
    Numbers differ from the cell's own by rounding, in float32 by tanh too, which is within 5 units of the last place.
    On a GPU they are CUDA.

    Parameters
    ----------
    cell : any cell whose steps can be recorded; one that cannot raises `CannotRecord` at its first step.

    The others are for the GPU alone:

    graph : whether the loop over time is captured as a CUDA graph from the second pass of the same sizes on, so that
        a pass costs one launch. Zoneout and recurrent dropout are part of it: their masks are drawn before the loop.
    products : 'float32', 'tf32' or 'bf16': how the products of float32 arrays, in the loop and after it, round their
        operands; sums, parameters and states stay float32. See `rnncore.kernels.blas` and `rnncore.kernels.copies`.
    persistent : whether the loop forward is one kernel that keeps U on the chip (`rnncore.kernels.persistent`), for up
        to 64 sequences; sizes that do not fit are refused, and so are zoneout and recurrent dropout. The loop
        backward is as without it.
    padded : batches of mixed lengths of up to so many sequences run over all T steps at all B columns, so that one
        graph serves all lengths, as a captioner's batches need it, whose lengths hardly come twice. It is worth its
        work where launches cost more than numbers. Larger batches run without padding, captured where lengths recur.

    Raises
    ------
    NoCompiler
        At the first step on the processor, if there is no C compiler.

    Examples
    --------
    >>> from rnncore.cells import LSTM
    >>> Fused(LSTM(), products="tf32")
    Fused(LSTM, graph=True, products='tf32', persistent=False, padded=256)
    """

    def __init__(
        self, cell: Cell, graph: bool = True, products: str = "float32", persistent: bool = False, padded: int = 256
    ) -> None:
        if products not in COMPUTE:
            raise ValueError(f"products: expected one of {', '.join(COMPUTE)}, got {products!r}")
        if persistent and products != "float32":
            raise ValueError(f"a persistent kernel computes its own products, in full; got products={products!r}")
        self.cell, self.graph, self.products, self.persistent, self.padded = cell, graph, products, persistent, padded
        self.gates, self.preactivations, self.state, self.saved = (
            cell.gates, cell.preactivations, cell.state, cell.saved,
        )  # fmt: skip
        self.carries = bool(getattr(cell, "carries", False))
        self.columnwise = bool(getattr(cell, "columnwise", False))
        self.graphs = Graphs()
        self.memory: dict[np.dtype[Any], Workspace] = {}
        self._programs: dict[Hashable, Program] = {}
        self._launchers: dict[Hashable, Launcher] = {}
        self._functions: dict[Hashable, list[int]] = {}
        self._blas: Blas | None = None

    @property
    def plain(self) -> Cell:
        """The cell itself."""
        return self.cell

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the cell's parameters."""
        return self.cell.shapes(input_size, hidden_size)

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return the rows of what has not H of them."""
        own = getattr(self.cell, "sizes", None)
        return own(hidden_size) if own else {}

    def initialisers(self) -> dict[str, Initialiser]:
        """Return the cell's own."""
        return self.cell.initialisers()

    def step(self, p: Weights, now: Now) -> None:
        """Launch the step's program."""
        kind = Kind(masked=now.mask is not None)
        self.launch(p, now, kind, step_views(self, now))

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        """Launch the program of the step backward."""
        kept = tuple(k is not None for k in now.reaching)
        kind = Kind(backward=True, masked=now.mask is not None, keeps=kept)
        self.launch(p, now, kind, step_views(self, now, dstate))

    def pads(self, packing: Packing) -> bool:
        """Whether the loop over such a batch is padded; `rnncore.trace.Trace` lays out its memory so."""
        takes_columns = self.graph and not self.persistent and self.columnwise
        return takes_columns and packing.batch <= self.padded

    def steps_forward(self, p: Weights, trace: Trace) -> StepsForward:
        """Return the steps of a pass on the processor; see `rnncore.steps`."""
        self._refuse_on_host()
        return host.Forward(self, p, trace, kind_of_noise(self, trace.noise))

    def steps_backward(
        self,
        p: Weights,
        trace: Trace,
        dstate: tuple[Array, ...],
        arrives: bool,
        reaching: list[Slabs] | None,
    ) -> StepsBackward:
        """Return the steps of a pass backward on the processor."""
        return host.Backward(self, p, trace, dstate, arrives, reaching, kind_of_noise(self, trace.noise))

    def _refuse_on_host(self) -> None:
        if self.products != "float32" or self.persistent:
            raise TypeError(f"{self!r}: products other than float32, and persistent kernels, are for the GPU")

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        """Compute what the cell computes after the loop, its products in the precision of those in it."""
        if trace.xp is np:
            self.cell.recurrent_grads(p, trace, da, grads)
            return
        module = _Instead(trace.xp, matmul=self.matmul)
        self.cell.recurrent_grads(p, cast(Trace, _Instead(trace, xp=module)), da, grads)

    def matmul(self, A: Array, B: Array, out: Array | None = None) -> Array:
        """Return A B; `rnncore.sequence.backward` takes this for its products over all steps."""
        return self.blas(A).matmul(A, B, out) if is_on_gpu(A) else np.matmul(A, B, out=out)

    def forward_loop(self, p: Weights, trace: Trace) -> None:
        """Run over all steps; `rnncore.sequence.forward` calls this in place of its own loop."""
        self.blas(trace.x)
        if trace.now:
            forward_loop(self, p, trace)

    def backward_loop(
        self,
        p: Weights,
        trace: Trace,
        rows: Array | None,
        dstate: tuple[Array, ...],
        reaching: list[Slabs] | None,
    ) -> None:
        """Run back over all steps; `rnncore.sequence.backward` calls this in place of its own loop."""
        if trace.now:
            backward_loop(self, p, trace, rows, dstate, reaching)

    def begin(self, p: Weights, now: Now, kind: Kind, views: dict[str, Array], width: int) -> None:
        """Prepare a loop over time, whose first step has these views; copies have `width` columns."""
        self._launcher(p, now, kind).begin(p, views, self.workspace(np.uint16), width)

    def launch(self, p: Weights, now: Now, kind: Kind, views: dict[str, Array], width: int = 0) -> None:
        """Launch a step on its views."""
        blas, memory, narrow = self.blas(now.a), self.workspace(now.a.dtype), self.workspace(np.uint16)
        self._launcher(p, now, kind)(p, views, blas, memory, narrow, width)

    def _launcher(self, p: Weights, now: Now, kind: Kind) -> Launcher:
        program = self.program(p, len(now.gates[0]), kind, adds=True)
        key = (id(program), now.a.dtype)
        if key not in self._launchers:
            narrow = self.products == "bf16" and now.a.dtype == np.float32 and kind.whole
            copies = Copies(program, len(now.gates[0])) if narrow else None
            self._launchers[key] = Launcher(program, self._name(kind), now.a.dtype, copies)
        return self._launchers[key]

    def blas(self, like: Array) -> Blas:
        """Return the products of this cell."""
        if not is_on_gpu(like):
            raise TypeError(f"{self!r} runs single steps on a GPU alone, on the host whole passes: use the cell itself")
        if self._blas is None:
            self._blas = Blas(self.products)
        return self._blas

    def program(self, p: Mapping[str, Array], hidden: int, kind: Kind, adds: bool, keeps: bool = True) -> Program:
        """Return the program of a step of these sizes, made when it is first asked for.

        adds : whether products may add to what is there, as on a GPU. keeps : whether gates and saved values are wanted
        after the step.
        """
        shapes = {name: tuple(a.shape) for name, a in p.items()}
        key = (hidden, tuple(shapes.items()), kind, adds, keeps)
        if key not in self._programs:
            self._programs[key] = compose(record(self.cell, shapes, hidden, kind), hidden, adds, keeps)
        return self._programs[key]

    def functions(self, program: Program, kind: Kind, dtype: np.dtype[Any]) -> list[int]:
        """Return where the kernels of a program begin, compiled for the processor."""
        key = (id(program), dtype)
        if key not in self._functions:
            self._functions[key] = processor.functions(program, self._name(kind), dtype)
        return self._functions[key]

    def _name(self, kind: Kind) -> str:
        return type(self.cell).__name__.lower() + ("_backward" if kind.backward else "_forward")

    def workspace(self, dtype: DTypeLike) -> Workspace:
        """Return memory that all passes of this cell share."""
        dtype = np.dtype(dtype)
        if dtype not in self.memory:
            self.memory[dtype] = Workspace(dtype, sys.modules["cupy"])
        return self.memory[dtype]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy begins with: what is compiled, and memory of a device, belong to one process."""
        return {name: getattr(self, name) for name in ("cell", "graph", "products", "persistent", "padded")}

    def __setstate__(self, made: dict[str, Any]) -> None:
        Fused.__init__(self, **made)

    def __repr__(self) -> str:
        options = f"graph={self.graph}, products={self.products!r}"
        options += f", persistent={self.persistent}, padded={self.padded}"
        return f"Fused({type(self.cell).__name__}, {options})"


class _Instead:
    """Something with other attributes in place of some of its own."""

    def __init__(self, of: Any, **instead: Any) -> None:
        self._of = of
        vars(self).update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def step_views(
    cell: Fused, now: Now, dstate: tuple[Array, ...] = (), noise: Noise | None = None, t: int = 0
) -> dict[str, Array]:
    """Return the buffers of a step by the names of `record`, with those of the noise at step t."""
    views = {"a": now.a, "da": now.da, "scratch": now.scratch, "recalled": now.recalled, "mask": now.mask}
    for what, arrays in (("prev", now.prev), ("next", now.next), ("dstate", dstate), ("reaching", now.reaching)):
        views |= {f"{what} {name}": a for name, a in zip(cell.state, arrays, strict=False)}
    views |= {f"saved {name}": a for name, a in zip(cell.saved, now.saved, strict=True)}
    if noise is not None:
        for what, slabs in (("zones", noise.zones), ("proposed", noise.proposed)):
            views |= {f"{what} {cell.state[k]}": steps[t] for k, steps in slabs.items()}
        if noise.mask is not None:
            views |= {"mask": noise.mask[t], "recalled": noise.recalled[t]}
    return views


def kind_of_noise(cell: Fused, noise: Noise | None) -> dict[str, Any]:
    """Return the fields of a `Kind` that noise decides: a rate is part of the kernel, masks are read by it."""
    if noise is None:
        return {}
    first = {k: next(iter(steps), 0.0) for k, steps in noise.zones.items()}  # of no steps there is no kernel
    rates = (None if getattr(z, "ndim", 0) else float(z) for z in (first.get(k, 0.0) for k in range(len(cell.state))))
    return {"zones": tuple(rates), "drops": noise.mask is not None}

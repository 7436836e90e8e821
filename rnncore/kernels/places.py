"""Where the buffers of a step lie in a Trace, for the fused kernels of the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncore.array import Array
from rnncore.kernels.program import Program
from rnncore.steps import InputProducts
from rnncore.trace import Trace
from rnncore.views import IntArray, Slabs, address

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused


class Places(NamedTuple):
    """Where a buffer begins at every step, and its leading size: how far its rows lie apart, in numbers; (T,) each."""

    addresses: IntArray
    leading: IntArray


class Buffers:
    """The buffers of a step by the names of `rnncore.kernels.record`.

    alone : whether a step comes alone, with inputs that are then multiplied by W before it.
    """

    def __init__(
        self,
        cell: Fused,
        trace: Trace,
        dstate: tuple[Array, ...] = (),
        upstream: Array | None = None,
        reaching: list[Slabs] | None = None,
        input: InputProducts | None = None,
        alone: bool = False,
    ) -> None:
        self.cell, self.trace, self.alone = cell, trace, alone
        self.widths, self.running = np.array(trace.widths, np.int64), trace.packing.size_of_step
        self.dstate, self.upstream, self.reaching, self.input = dstate, upstream, reaching, input
        self.temporaries: dict[str, Array] = {}
        self.backward = bool(dstate)
        self.size = trace.dtype.itemsize

    @property
    def columns(self) -> IntArray:
        """How many columns a kernel works on at every step.

        Backward none of nobody's, since `da` has the next step's there. What products make of those is finite, and
        goes into columns of states that are set before anyone reads them.
        """
        return self.running if self.backward else self.widths

    def take(self, program: Program) -> None:
        """Take memory for what a program needs beside the buffers of a step."""
        most = int(self.widths.max())
        for name, rows in program.temporaries.items():
            self.temporaries[name] = self.trace.take(name, rows * most)

    def __getitem__(self, name: str) -> Places:
        what, _, which = name.partition(" ")
        if name in self.temporaries:
            return self._again(self.temporaries[name])
        found: Places = getattr(self, f"_{what}")(which or name)
        return found

    def _a(self, name: str) -> Places:
        slabs = self.trace.where(name)
        return Places(slabs.addresses, slabs.columns)

    _saved = _prev = _a

    def _next(self, name: str) -> Places:
        slabs = self.trace.where(name)
        return Places(slabs.addresses[1:], slabs.columns[1:])

    def _scratch(self, name: str) -> Places:
        return self._again(self.trace.scratch)

    def _again(self, memory: Array) -> Places:
        """Of memory that every step uses again, as wide as the step."""
        return Places(np.full_like(self.widths, address(memory)), self.widths)

    def _input(self, name: str) -> Places:
        assert self.input is not None
        offsets = self.trace.packing.offset_of_step
        addresses, leading = np.empty_like(offsets), np.empty_like(offsets)
        for chunk in self.input.chunks:
            buffer, here = self.input.buffer(chunk), slice(*np.searchsorted(offsets, (chunk.start, chunk.stop)))
            addresses[here] = address(buffer) + self._column(buffer) * (offsets[here] - chunk.start)
            leading[here] = self._leading(buffer)
        return Places(addresses, leading)

    def _da(self, name: str) -> Places:
        there, offsets = self.trace.gradient_of_step(0), self.trace.packing.offset_of_step
        return Places(address(there) + self._column(there) * offsets, np.full_like(offsets, self._leading(there)))

    def _column(self, a: Array) -> int:
        """How far its columns lie apart, in bytes."""
        step: int = a.strides[1]
        return step

    def _leading(self, a: Array) -> int:
        """How far its rows lie apart, in numbers."""
        rows: int = a.strides[0] // self.size
        return rows

    def _upstream(self, name: str) -> Places:
        assert self.upstream is not None
        return Places(np.full_like(self.running, address(self.upstream)), self.running)

    def _dstate(self, name: str) -> Places:
        d = self.dstate[self.cell.state.index(name)]
        return Places(np.full_like(self.widths, address(d)), np.full_like(self.widths, d.shape[1]))

    def _reaching(self, name: str) -> Places:
        assert self.reaching is not None
        slabs = self.reaching[self.cell.state.index(name)]
        return Places(slabs.addresses, slabs.columns)

    def _recalled(self, name: str) -> Places:
        return self._listed(self.trace.noise.recalled)  # type: ignore[union-attr]

    def _mask(self, name: str) -> Places:
        return self._listed(self.trace.noise.mask)  # type: ignore[union-attr, arg-type]

    def _zones(self, name: str) -> Places:
        return self._listed(self.trace.noise.zones[self.cell.state.index(name)])  # type: ignore[union-attr]

    def _proposed(self, name: str) -> Places:
        return self._listed(self.trace.noise.proposed[self.cell.state.index(name)])  # type: ignore[union-attr]

    def _listed(self, arrays: Sequence[Array]) -> Places:
        if isinstance(arrays, Slabs):
            return Places(arrays.addresses, arrays.columns)
        return Places(np.array([address(a) for a in arrays]), np.array([self._leading(a) for a in arrays]))

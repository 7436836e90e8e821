"""Where the buffers of a step lie in a Trace, for the fused kernels of the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rnncore.array import Array
from rnncore.kernels.program import Program
from rnncore.steps import InputProducts
from rnncore.trace import Trace
from rnncore.views import Slabs, address

if TYPE_CHECKING:
    from rnncore.kernels.fused import Fused


class Places(NamedTuple):
    """Where a buffer begins at every step, and its leading size: how far its rows lie apart, in numbers."""

    addresses: Sequence[int]
    leading: Sequence[int]


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
        self.cell, self.trace, self.widths, self.alone = cell, trace, trace.widths, alone
        self.dstate, self.upstream, self.reaching, self.input = dstate, upstream, reaching, input
        self.temporaries: dict[str, Array] = {}
        self.backward = bool(dstate)
        self.size = trace.dtype.itemsize

    @property
    def columns(self) -> Sequence[int]:
        """How many columns a kernel works on at every step.

        Backward none of nobody's, since `da` has the next step's there. What products make of those is finite, and
        goes into columns of states that are set before anyone reads them.
        """
        return self.trace.packing.batch_sizes if self.backward else self.widths

    def take(self, program: Program) -> None:
        """Take memory for what a program needs beside the buffers of a step."""
        most = max(self.widths, default=0)
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
        return self._again(self.trace.now[0].scratch)

    def _again(self, memory: Array) -> Places:
        """Of memory that every step uses again, as wide as the step."""
        return Places([address(memory)] * len(self.widths), self.widths)

    def _input(self, name: str) -> Places:
        assert self.input is not None
        addresses: list[int] = []
        leading: list[int] = []
        offsets, steps = self.trace.packing.offsets, iter(range(len(self.widths)))
        for chunk in self.input.chunks:
            buffer = self.input.buffer(chunk)
            first, ld = address(buffer) - self._column(buffer) * chunk.start, self._leading(buffer)
            for t in steps:
                addresses.append(first + self._column(buffer) * offsets[t])
                leading.append(ld)
                if offsets[t + 1] == chunk.stop:
                    break
        return Places(addresses, leading)

    def _da(self, name: str) -> Places:
        there, offsets = self.trace.gradient_of_step(0), self.trace.packing.offsets
        addresses = [address(there) + self._column(there) * n for n in offsets[:-1]]
        return Places(addresses, [self._leading(there)] * len(addresses))

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
        first, units = address(self.upstream), self.trace.sizes[name]
        addresses = [
            first + self.size * units * run.batch * k for run in self.trace.runs for k in range(len(run.steps))
        ]
        return Places(addresses, self.trace.packing.batch_sizes)

    def _dstate(self, name: str) -> Places:
        d = self.dstate[self.cell.state.index(name)]
        return Places([address(d)] * len(self.widths), [d.shape[1]] * len(self.widths))

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
        return Places([address(a) for a in arrays], [self._leading(a) for a in arrays])

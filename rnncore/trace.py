"""Everything that happened in a pass over a batch of sequences.

A `Trace` is at once the cache of back-propagation, the workspace that the next pass uses again, and what a person
studies: `trace["forget"]` is the forget gate of every unit at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from rnncore.array import Array
from rnncore.memory import Memory
from rnncore.packing import Packing
from rnncore.views import RUN, Run, Slabs, fast_width, has_loop, runs_of, split
from rnncore.views import Now as Now
from rnncore.views import sizes_of as sizes_of

if TYPE_CHECKING:
    from rnncore.cells.base import Cell
    from rnncore.regularise import Noise


class Trace(Memory):
    """The gates, states and saved values of a cell at every step, and their gradients once `backward` has run.

    Memory, with N packed rows, B sequences, G gates and P pre-activations: every slot of K rows lies as one slab
    (K, w_t) a step, slab after slab in one buffer; the states have one slab more, the initial one. The first b_t of
    the w_t columns are the running sequences. The others, of which there are some where a product of w_t columns is
    faster than one of b_t, or where one loop on a GPU serves all lengths, hold nothing that anybody reads: numbers of
    sequences that have ended, or of none. Nothing is allocated in the loop over time, and a Trace that is passed back
    in keeps its buffers, growing them when needed.

    A Trace that is not kept, for a pass that nobody goes back through, has two slabs of each kind in place of T, which
    take turns: all work stays in the processor's cache. It has the outputs and the last states, and no gates.

    Attributes
    ----------
    cell, packing : what was run over which layout.
    hidden : H.
    noise : the masks of a pass with a `Regulariser`, also to be had by name as `trace["zoneout h"]`; else None.
    sizes : the rows of every gate, pre-activation, state and saved value, by name: H for most, see `sizes_of`.
    kept : whether every step is kept.
    widths, initial_width : w_t of every step, and the columns of the initial slabs.
    x : (N, D) the input rows; of a batch without padding a view of the caller's array, needed until backward.
    now : a `Now` for every step: the views that the cell works on.
    scratch : the working memory that all steps share.
    runs : the steps in the runs in which the engine takes them.
    state_rows : (B + N, H) the outputs as rows: the initial ones, then the packed ones.
    da : (P·H, N) after backward: the gradient of every pre-activation.
    """

    def __init__(self, cell: Cell, hidden: int, dtype: np.dtype[np.floating], xp: ModuleType = np) -> None:
        super().__init__(dtype, xp)
        self.cell, self.hidden = cell, hidden
        self.sizes = sizes_of(cell, hidden)
        self.sizes |= {"recurrent_dropout": self.sizes[cell.state[0]]}
        self.sizes |= {f"zoneout {name}": self.sizes[name] for name in cell.state}
        self.x: Array = None
        self.padded = False
        self.noise: Noise | None = None
        self._now: list[Now] | None = None
        self.runs: list[Run] = []
        self._has_gradients = False
        self._reaching: list[Slabs] = []

    def fits(self, cell: Cell, hidden: int, dtype: np.dtype[np.floating], xp: ModuleType) -> bool:
        """Whether the buffers of this Trace can serve another pass of this kind."""
        return (self.cell, self.hidden, self.dtype, self.xp) == (cell, hidden, dtype, xp)

    def lay_out(self, packing: Packing, keep: bool = True) -> None:
        """Prepare the buffers of every step for `packing`; what was kept there before is lost."""
        self._has_gradients = False
        if self.kept == keep and (self.packing is packing or self.packing == packing):
            return
        before = (self.widths, self.initial_width, self.kept)
        self.packing, self.kept = packing, keep
        self.prepared.clear()
        looped = has_loop(self.cell, self.xp)
        wider = self.xp is np and getattr(self.cell, "columnwise", False) and not looped
        self.widths = tuple(fast_width(b) for b in packing.batch_sizes) if wider else packing.batch_sizes
        padded = looped and hasattr(self.cell, "pads") and self.cell.pads(packing)
        if padded:
            self.widths = (packing.batch,) * len(packing.batch_sizes)
        self.initial_width = B = fast_width(packing.batch) if wider else packing.batch
        cell, steps = self.cell, self.widths
        self._last = [self.take(f"last {name}", packing.batch, self.sizes[name]) for name in cell.state]
        self.state_rows = self.take("state rows", packing.batch + packing.rows, self.sizes[cell.state[0]])
        if padded and before == (self.widths, B, keep):
            return  # the views are those of before, and a loop of the cell's own takes no runs
        self._heights = A, P = sum(self._blocks(cell.gates)), sum(self._blocks(cell.preactivations))
        self._a = self.slabs("a", A)
        self._states = [self.slabs(f"state {name}", self.sizes[name], (B, *steps)) for name in cell.state]
        self._saved = [self.slabs(f"saved {name}", self.sizes[name]) for name in cell.saved]
        runs = runs_of(packing.batch_sizes, RUN // A if keep else 1)
        self.take("da", P * max((len(run) * steps[run[0]] for run in runs), default=0))
        self.runs = [self._run(run, A, P) for run in runs]
        self.scratch, self._now = self.take("scratch", A * B), None

    def _blocks(self, names: tuple[str, ...]) -> list[int]:
        return [self.sizes[name] for name in names]

    @property
    def now(self) -> list[Now]:
        """The views of every step, made when they are first asked for: fused kernels need but addresses."""
        if self._now is None:
            self._now = self._views() if self.widths else []
        return self._now

    def _views(self) -> list[Now]:
        blocks, dblocks = self._blocks(self.cell.gates), self._blocks(self.cell.preactivations)
        height, found = self._heights[0], []
        for t, da in enumerate(slab for run in self.runs for slab in run.da):
            w = self.widths[t]
            prev = tuple(slabs[t][:, :w] for slabs in self._states)
            found.append(
                Now(
                    a=self._a[t],
                    gates=split(self._a[t], blocks),
                    prev=prev,
                    next=tuple(slabs[t + 1] for slabs in self._states),
                    saved=tuple(slabs[t] for slabs in self._saved),
                    da=da,
                    dgates=split(da, dblocks),
                    scratch=self.scratch[: height * w].reshape(height, w),
                    xp=self.xp,
                    recalled=prev[0],
                )
            )
        return found

    def _run(self, steps: range, A: int, P: int) -> Run:
        """Return the views of a run of steps, which lie on end in memory, a slab after a slab."""
        first, k = steps[0], len(steps)
        b, w = self.packing.batch_sizes[first], self.widths[first]
        rows = slice(self.packing.offsets[first], self.packing.offsets[steps[-1] + 1])
        da = self.take("da", k * P * w).reshape(k, P, w)
        if k == 1:
            return Run(steps, rows, b, self._a[first][None], self._states[0][first + 1][None], da)
        before, h = sum(self.widths[:first]), self.cell.state[0]
        a = self.on_end("a", A, before, k, w)
        return Run(steps, rows, b, a, self.on_end(f"state {h}", self.sizes[h], self.initial_width + before, k, w), da)

    def where(self, name: str) -> Slabs:
        """Return the slabs of all gates, "a", or of a saved value; of a state with the initial one before them."""
        if name == "a":
            return self._a
        if name in self.cell.state:
            return self._states[self.cell.state.index(name)]
        return self._saved[self.cell.saved.index(name)]

    def reaching(self, name: str) -> Slabs:
        """Return the slabs where the gradients of a state are kept, in a backward pass that keeps them."""
        return self._reaching[self.cell.state.index(name)]

    @property
    def initial(self) -> tuple[Array, ...]:
        """The initial states, (H, B) each, columns sorted by falling length."""
        return tuple(slabs[0][:, : self.packing.batch] for slabs in self._states)

    def clear_unused(self) -> None:
        """Let the columns of nobody begin at zero."""
        for slabs in self._states:
            slabs[0][:, self.packing.batch :] = 0

    @property
    def previous_rows(self) -> Array:
        """(N, H): the output before each packed row as recurrent products saw it; what U's gradient needs."""
        if self.packing.is_dense:
            rows = self.state_rows[: self.packing.rows]
        else:
            rows = self.state_rows[self.packing.index("previous", self.state_rows)]
        return rows if self.noise is None or self.noise.mask is None else rows * self.rows("recurrent_dropout")

    def rows_before(self, name: str) -> Array:
        """Return a state other than the output before each packed row, (N, H), a copy: what `now.prev` held."""
        return self._rows(self._states[self.cell.state.index(name)], self.sizes[name])

    def rows_after(self, name: str) -> Array:
        """Return a state as packed rows (N, H) as the step computed it, before zoneout, a copy: `now.next`."""
        k = self.cell.state.index(name)
        proposed = {} if self.noise is None else self.noise.proposed
        return self._rows(proposed.get(k, self._states[k][1:]), self.sizes[name])

    @property
    def output(self) -> Array:
        """The first state after every step: (T, B, H), or (N, H) if the input came packed.

        A view of this Trace's memory where nothing is padded: copy it to keep it over the next pass.
        """
        rows = self.state_rows[self.packing.batch :]
        return self.packing.unpack(rows) if self.padded else rows

    @property
    def last(self) -> tuple[Array, ...]:
        """Each state at its own sequence's end, (B, H) each, in the order of `Cell.state`; copies."""
        running = (self.packing.batch, *self.packing.batch_sizes, 0)
        if self.kept:
            for t, (before, still) in enumerate(pairwise(running), start=-1):
                if still < before:
                    self.end(t, before, still)
        return tuple(self.packing.unsort(last.copy()) for last in self._last)

    def end(self, t: int, before: int, still: int) -> None:
        """Keep the last states of the sequences whose last step was t: of `before` running ones `still` go on."""
        for last, slabs in zip(self._last, self._states, strict=True):
            last[still:before] = slabs[t + 1][:, still:before].T

    def rows(self, name: str) -> Array:
        """Return a gate, a state after each step, or a saved value as packed rows (N, H), a copy."""
        return self._rows(self._steps_of(name), self.sizes[name])

    def _rows(self, slabs: Sequence[Array], size: int) -> Array:
        """Of the running sequences: slabs may have more columns."""
        out = self.xp.empty((self.packing.rows, size), self.dtype)
        offsets = self.packing.offsets
        for t, b in enumerate(self.packing.batch_sizes):
            out[offsets[t] : offsets[t + 1]] = slabs[t][:, :b].T
        return out

    def _steps_of(self, name: str) -> Sequence[Array]:
        if not self.kept:
            raise RuntimeError(f"{name} was not kept: run forward with keep=True")
        cell = self.cell
        if name in cell.gates:
            k = cell.gates.index(name)
            return [now.gates[k] for now in self.now]
        if name in cell.state:
            after: Slabs = self._states[cell.state.index(name)][1:]
            return after
        if name in cell.saved:
            return self._saved[cell.saved.index(name)]
        if self.noise is not None and name in self.noise.masks:
            return self.noise.masks[name]
        raise KeyError(f"no {name!r} in this trace; there are {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """What `trace[name]` knows: gates, states, saved values, and the masks of a `Regulariser`."""
        masks = () if self.noise is None else tuple(self.noise.masks)
        return (*self.cell.gates, *self.cell.state, *self.cell.saved, *masks)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Array:
        """Return a gate, state or saved value at every step, (T, B, H), zeros in the padding; a copy."""
        return self.packing.unpack(self.rows(name))

    def gradient(self, name: str) -> Array:
        """Return the gradient of a pre-activation or a state at every step, (T, B, H), zeros in the padding; a copy.

        That of a state is the total derivative of the loss in `trace[name]`: what changes if something is added to
        it where it comes to be, and all that is computed from it follows, in its own step (h_t from c_t) and later.

        Raises
        ------
        RuntimeError
            If `backward` has not run since the last forward pass; for a state, with `keep_state_gradients=True`.
        KeyError
            If there is no such pre-activation or state.
        """
        if not self._has_gradients:
            raise RuntimeError("there are no gradients yet: run backward on this trace first")
        if name in self.cell.state:
            if not self._reaching:
                raise RuntimeError(f"the gradients of {name} were not kept: run backward(keep_state_gradients=True)")
            k = self.cell.state.index(name)
            return self.packing.unpack(self._rows(self._reaching[k], self.sizes[name]))
        if name not in self.cell.preactivations:
            known = dict.fromkeys((*self.cell.preactivations, *self.cell.state))
            raise KeyError(f"no gradient of {name!r}; there are {', '.join(known)}")
        names = self.cell.preactivations
        block = split(self.da, [self.sizes[n] for n in names])[names.index(name)]
        return self.packing.unpack(block.T.copy())

    def gradient_buffer(self) -> Array:
        """Return `da` (P·H, N), about to be filled by the engine."""
        self.da = self.gradients_by_columns()
        self._has_gradients, self._reaching = True, []
        return self.da

    def state_gradients(self) -> tuple[Array, ...]:
        """Return zeros (H, w) for the gradient of every state, as wide as the initial ones, which all steps work on."""
        names, w = self.cell.state, self.initial_width
        out = tuple(self.take(f"gradient of {name}", self.sizes[name], w) for name in names)
        for d in out:
            d[...] = 0
        return out

    def state_gradient_buffers(self) -> list[Slabs]:
        """Return slabs (H, b_t) for the gradient of every state at every step, about to be filled by the engine."""
        self._reaching = [self.slabs(f"reaching {name}", self.sizes[name]) for name in self.cell.state]
        return self._reaching

r"""Take hold of gates and see what happens: a cell around a cell, exact in its gradients.

>>> import numpy as np
>>> from rnncore import Recurrent, check_cell
>>> from rnncore.cells import LSTM
>>> stuck = Intervened(LSTM(), [Clamp("forget", 1.0, units=[0, 2]), Shift("input", -1.0)])
>>> check_cell(stuck).error < 1e-7
True
>>> layer = Recurrent(stuck, 3, 4)                           # trains as any other; clamped rows get no gradient
>>> _ = layer(np.ones((5, 2, 3), "float32"))
>>> layer.trace["forget"][:, :, 2].min()
np.float32(1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import sequence
from rnncore.array import Array
from rnncore.cells.base import Cell, Weights
from rnncore.params import Initialiser, Params
from rnncore.study.gates import SQUASHES, carry_of, check_gate, squash_of
from rnncore.study.run import Run
from rnncore.trace import Now, Trace

Units = Sequence[int] | None


@dataclass(frozen=True)
class Clamp:
    """Hold a gate at a value: one for all `units` (all there are when None), or one for each of them.

    Nothing is left that the gate depends on: neither input nor state moves it, and no gradient passes through it.
    """

    gate: str
    value: float | tuple[float, ...]
    units: Units = None


@dataclass(frozen=True)
class Shift:
    """Add to a gate's pre-activation, that is to its bias: what another forget bias would do to a trained network."""

    gate: str
    by: float
    units: Units = None


Intervention = Clamp | Shift


def frozen(run: Run, gate: str, units: Units = None) -> Clamp:
    """Return the clamp of each unit to its own mean over a run: the gate stays, what it said of the input goes.

    Also known as mean ablation.
    """
    mean = run.rows(gate).mean(0)
    chosen = range(run.hidden) if units is None else units
    return Clamp(gate, tuple(float(mean[k]) for k in chosen), tuple(chosen))


def removed(cell: Cell, gate: str, units: Units = None) -> Clamp:
    """Return the clamp that takes a gate out of the equations.

    Input, forget, output and reset gates become 1, as in the variants NIG, NFG and NOG of Greff et al. 2017; an update
    gate becomes what keeps nothing, so that h_t is the candidate; a candidate becomes 0.
    """
    check_gate(cell, gate)
    if squash_of(cell, gate) != "sigmoid":
        return Clamp(gate, 0.0, units)
    if gate == "update":
        return Clamp(gate, 0.0 if carry_of(cell).keeps else 1.0, units)
    return Clamp(gate, 1.0, units)


def silenced(cell: Cell, units: Units = None) -> list[Clamp]:
    """Return the clamps under which units put out 0 at every step, when they start at 0: an ablation of units.

    By the output gate where there is one, else by a candidate of 0.
    """
    if "output" in cell.gates:
        return [Clamp("output", 0.0, units)]
    return [Clamp("candidate" if "candidate" in cell.gates else cell.gates[0], 0.0, units)]


class Intervened:
    """A cell with its gates in somebody's hands; it is a cell itself, and takes the place of the other anywhere.

    Parameters
    ----------
    cell : any cell whose gates are plain functions of their pre-activations; one that normalises them is refused.
    interventions : what to do, in order.

    A clamped gate's rows of the pre-activation are set before the step, and its rows of all other parameters count as
    zero, so that the step adds nothing to them. Backward is exact: `check_cell` holds it.
    """

    def __init__(self, cell: Cell, interventions: Sequence[Intervention]) -> None:
        self.cell, self.interventions = cell, tuple(interventions)
        self.gates, self.preactivations = cell.gates, cell.preactivations
        self.state, self.saved = cell.state, cell.saved
        self.carries = bool(getattr(cell, "carries", False))
        self._targets = tuple(_target(cell, each) for each in self.interventions)
        self._prove()

    def sizes(self, hidden_size: int) -> dict[str, int]:
        """Return what the cell within says."""
        own = getattr(self.cell, "sizes", None)
        return own(hidden_size) if own else {}

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the cell within."""
        return self.cell.shapes(input_size, hidden_size)

    def initialisers(self) -> dict[str, Initialiser]:
        """Return the initialisers of the cell within."""
        return self.cell.initialisers()

    def step(self, p: Weights, now: Now) -> None:
        """Set the pre-activations, then take the cell's own step."""
        H = len(now.gates[0])
        for each, target in zip(self.interventions, self._targets, strict=True):
            rows = self._rows(each, H)
            value = np.asarray(target, now.a.dtype).reshape(-1, 1)
            if isinstance(each, Clamp):
                now.a[rows] = now.xp.asarray(value)
            else:
                now.a[rows] += now.xp.asarray(value)
        self.cell.step(self._without(p, H), now)

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        """Take the cell's own step back; nothing arrives at a clamped gate."""
        H = len(now.gates[0])
        self.cell.step_backward(self._without(p, H), now, dstate)
        for each in self._clamps:
            now.da[self._rows(each, H)] = 0

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        """Let the cell compute them; those that a clamp has made idle are zero."""
        self.cell.recurrent_grads(p, trace, da, grads)
        for each in self._clamps:
            rows = self._rows(each, trace.hidden)
            for name in self._idle(p, trace.hidden):
                inside = rows[rows < len(grads[name])]
                grads[name][inside] = 0

    @property
    def _clamps(self) -> list[Clamp]:
        return [each for each in self.interventions if isinstance(each, Clamp)]

    def _rows(self, each: Intervention, H: int) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Where the units of a gate lie in its pre-activations."""
        units = np.arange(H) if each.units is None else np.asarray(each.units, np.intp)
        if len(units) and not (units.min() >= 0 and units.max() < H):
            raise IndexError(f"{each.gate}: units are 0 to {H - 1}, got {list(each.units or ())}")
        rows: np.ndarray[Any, np.dtype[np.intp]] = self.gates.index(each.gate) * H + units
        return rows

    def _idle(self, p: Weights, H: int) -> list[str]:
        """The parameters beside W and b that have a block of rows for each gate, as U has, or the peepholes."""
        least = max(min(2, len(self.gates)), len(self.gates) - 1) * H
        return [name for name, array in p.items() if name not in ("W", "b") and len(array) >= least]

    def _without(self, p: Weights, H: int) -> Weights:
        """The parameters with the clamped rows zero."""
        if not self._clamps:
            return p
        changed = {name: p[name].copy() for name in self._idle(p, H)}
        for each in self._clamps:
            rows = self._rows(each, H)
            for array in changed.values():
                array[rows[rows < len(array)]] = 0
        return {**p, **changed}

    def _prove(self) -> None:
        """Run a small random case and see that clamped gates are where they should be."""
        H = 1 + max((max(each.units) for each in self.interventions if each.units), default=1)
        p = Params(self.shapes(2, H), np.float64)
        p.flat[...] = np.random.default_rng(0).normal(size=p.size)
        trace = sequence.forward(self, p, np.ones((2, 2, 2)))
        for each in self._clamps:
            units = slice(None) if each.units is None else list(each.units)
            got = trace[each.gate][:, :, units]
            later = [e for e in self.interventions[self.interventions.index(each) + 1 :] if e.gate == each.gate]
            if not later and not np.allclose(got, each.value, atol=1e-9):
                raise ValueError(f"{each.gate} of {type(self.cell).__name__} does not stay where it is held")


def _target(cell: Cell, each: Intervention) -> tuple[float, ...]:
    """What goes into the pre-activations."""
    check_gate(cell, each.gate)
    if isinstance(each, Shift):
        squash_of(cell, each.gate)
        return (float(each.by),)
    values = np.atleast_1d(np.asarray(each.value, np.float64))
    if len(values) > 1 and (each.units is None or len(each.units) != len(values)):
        raise ValueError(f"{each.gate}: {len(values)} values need as many units, got {each.units}")
    squash = squash_of(cell, each.gate)
    low, high = SQUASHES[squash][1]
    if not ((values >= low) & (values <= high)).all():
        raise ValueError(f"{each.gate}: a {squash} lies from {low:g} to {high:g}, got {each.value}")
    with np.errstate(divide="ignore"):
        if squash == "sigmoid":
            values = np.log(values) - np.log1p(-values)
        elif squash == "tanh":
            values = np.arctanh(values)
    return tuple(float(v) for v in values)

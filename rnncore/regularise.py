r"""Noise inside the loop over time: zoneout, and dropout of the h that the recurrent products see.

Both work on any cell, since they stand around its step, and their gradients are exact. Names of states are the cell's.

>>> import numpy as np
>>> from rnncore import Params, forward
>>> from rnncore.cells import LSTM
>>> p = Params(LSTM().shapes(3, 4)).initialise(LSTM().initialisers(), seed=0)
>>> x = np.ones((5, 2, 3), "float32")
>>> noise = Regulariser(zoneout={"h": 0.05, "c": 0.5}, recurrent_dropout=0.2)
>>> training = forward(LSTM(), p, x, regulariser=noise.seeded(7))
>>> training["zoneout c"].shape, training["recurrent_dropout"].shape
((5, 2, 4), (5, 2, 4))
>>> inference = forward(LSTM(), p, x, regulariser=noise)        # nothing random: the expectation of zoneout
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from rnncore.array import Array, is_on_gpu

if TYPE_CHECKING:
    from rnncore.cells.base import Cell, Weights
    from rnncore.trace import Now, Trace

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class Regulariser:
    r"""What noise a pass over a batch gets; hand it to `rnncore.sequence.forward`, whose Trace keeps the masks.

    With d_t and m drawn by `seed`, a unit of d_t being 1 with the state's rate, and one of m being 0 with the rate
    :math:`\rho` and :math:`1 / (1 - \rho)` else:

    .. math::
        \tilde s_t &= \text{step}(x_t, s_{t-1}) \text{ with } m \odot h_{t-1} \text{ in the recurrent products} \\
        s_t &= d_t \odot s_{t-1} + (1 - d_t) \odot \tilde s_t \text{ for each state } s

    m is the same at every step, d_t is not; each sequence of the batch has its own. What h_t is computed from in its
    own step is the c of before zoneout, as in the source. Without a seed, which is inference, d_t is the rate itself,
    its expectation, and m is 1.

    Where h_{t-1} enters past the recurrent products too, as :math:`z_t \odot h_{t-1}` of a GRU, it does so without m.
    That takes a cell that says so (`rnncore.cells.base.Cell`, `carries`); in any other all uses of h_{t-1} get m.

    Parameters
    ----------
    zoneout : the rate of each state by its name, in [0, 1), such as ``{"h": 0.05, "c": 0.5}``; others have none.
    recurrent_dropout : the rate of m, in [0, 1).
    seed : of all masks of one pass, an integer or several, each >= 0. Equal seeds, sizes and lengths give equal masks
        in every precision. Give every training step one of its own, by `seeded`. None is inference.

    Source: zoneout from D. Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden activations, ICLR
    2017, section 3; recurrent dropout from Y. Gal & Z. Ghahramani, A theoretically grounded application of dropout in
    recurrent neural networks, NIPS 2016, section 4.1, in its form with one mask for all gates.
    """

    zoneout: Mapping[str, float] = field(default_factory=dict)
    recurrent_dropout: float = 0.0
    seed: Seed | None = None

    def __post_init__(self) -> None:
        rates = {f"zoneout of {name}": rate for name, rate in self.zoneout.items()}
        for name, rate in (rates | {"recurrent_dropout": self.recurrent_dropout}).items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name}: expected a rate from 0 to below 1, got {rate}")

    def seeded(self, seed: Seed | None) -> Regulariser:
        """Return the same rates with another seed."""
        return replace(self, seed=seed)

    def draw(self, cell: Cell, p: Weights, trace: Trace) -> Noise | None:
        """Return the masks for a pass that `trace` is laid out for, or None where there is nothing to do.

        Raises
        ------
        ValueError
            If a state that zoneout names, or a recurrent product to drop from, is not there.
        """
        if unknown := sorted(set(self.zoneout) - set(cell.state)):
            raise ValueError(f"zoneout: {type(cell).__name__} has the states {', '.join(cell.state)}, got {unknown}")
        if self.recurrent_dropout and "U" not in p:
            raise ValueError(f"recurrent_dropout: {type(cell).__name__} has no recurrent product; zoneout is for all")
        noise = Noise.draw(self, cell, trace)
        return noise if noise.zones or noise.mask is not None else None


@dataclass
class Noise:
    """The masks of one pass, and the step of a cell between them.

    `Regulariser.draw` makes one. All of its arrays lie in the Trace's memory, at the same place in every pass of a
    size, and have as many columns a step as its slabs, b_t or a few more.

    Attributes
    ----------
    carries : `Cell.carries`.
    mask : the m of `Regulariser` at every step, (H, b_t), or None. recalled : memory for h times m.
    zones : for each state with zoneout, by its place in `Cell.state`, d_t at every step: (H, b_t), or the rate.
    masks : those of the above that are drawn, as slabs (H, b_t), by the names under which the Trace shows them.
    proposed : for the same states, what the step computed, before zoneout: (H, b_t) at every step.
    """

    carries: bool
    mask: Sequence[Array] | None = None
    recalled: Sequence[Array] = field(default_factory=list)
    zones: dict[int, Sequence[Array]] = field(default_factory=dict)
    proposed: dict[int, Sequence[Array]] = field(default_factory=dict)
    masks: dict[str, Sequence[Array]] = field(default_factory=dict)

    @classmethod
    def draw(cls, regulariser: Regulariser, cell: Cell, trace: Trace) -> Noise:
        """Draw the masks of a pass that `trace` is laid out for."""
        noise = cls(bool(getattr(cell, "carries", False)))
        rate, seed = regulariser.recurrent_dropout, regulariser.seed
        if rate and seed is not None:
            noise._draw_mask(rate, _generator(seed, 0), trace)
        for k, name in enumerate(cell.state):
            if rate := regulariser.zoneout.get(name, 0.0):
                noise.proposed[k] = trace.slabs(f"proposed {name}", trace.sizes[name])
                if seed is None:
                    noise.zones[k] = [trace.dtype.type(rate)] * len(trace.widths)
                else:
                    noise.zones[k] = noise.masks[f"zoneout {name}"] = _zones(rate, _generator(seed, k + 1), name, trace)
        return noise

    def _draw_mask(self, rate: float, random: np.random.Generator, trace: Trace) -> None:
        size, packing, width = trace.sizes[trace.cell.state[0]], trace.packing, trace.initial_width
        kept = packing.sort(random.random((packing.batch, size), np.float32) >= rate).T
        ((mask,), (recalled,)) = (trace.slabs(name, size, (width,)) for name in ("mask", "recalled"))
        mask[:, packing.batch :] = 0
        mask[:, : packing.batch] = trace.xp.asarray(kept.astype(trace.dtype) / trace.dtype.type(1 - rate))
        self.mask = [mask[:, :w] for w in trace.widths]
        self.recalled = [recalled.reshape(-1)[: size * w].reshape(size, w) for w in trace.widths]
        self.masks["recurrent_dropout"] = [mask[:, :b] for b in packing.batch_sizes]

    def step(self, cell: Cell, p: Weights, now: Now, t: int) -> None:
        """Run the cell's step, and mix what it computed with what was before."""
        inside = self._inside(now, t)
        cell.step(p, inside)
        for k, zones in self.zones.items():
            # as d s + (1 - d) s~, and not s~ + d (s - s~), so that a unit that is held keeps its last bit
            now.xp.multiply(now.prev[k], zones[t], out=now.next[k])
            now.next[k][...] += (1 - zones[t]) * inside.next[k]

    def step_backward(self, cell: Cell, p: Weights, now: Now, dstate: tuple[Array, ...], t: int) -> None:
        """Run the cell's step backward; what was held goes past it."""
        held = {k: dstate[k] * zones[t] for k, zones in self.zones.items()}
        for k, d in held.items():
            dstate[k][...] -= d
        cell.step_backward(p, self._inside(now, t), dstate)
        if self.mask is not None and not self.carries:
            dstate[0][...] *= self.mask[t]
        for k, d in held.items():
            dstate[k][...] += d

    def _inside(self, now: Now, t: int) -> Now:
        """The views that the cell works on, instead of `now`."""
        after = tuple(self.proposed[k][t] if k in self.zones else s for k, s in enumerate(now.next))
        # zoneout stands between what the step computed and the state that the Trace shows: nothing is computed from it
        reaching = tuple(None if k in self.zones else d for k, d in enumerate(now.reaching))
        if self.mask is None:
            return now._replace(next=after, reaching=reaching)
        mask, recalled = self.mask[t], self.recalled[t]
        now.xp.multiply(now.prev[0], mask, out=recalled)
        if self.carries:
            return now._replace(next=after, reaching=reaching, recalled=recalled, mask=mask)
        return now._replace(next=after, reaching=reaching, recalled=recalled, prev=(recalled, *now.prev[1:]))


def _generator(seed: Seed, stream: int) -> np.random.Generator:
    """One stream a mask, so that none depends on which others are drawn."""
    return np.random.default_rng((*((seed,) if isinstance(seed, int) else seed), stream))


def _zones(rate: float, random: np.random.Generator, name: str, trace: Trace) -> Sequence[Array]:
    """Return d_t for every step; drawn on the host, row by row, so that every device and precision gets the same."""
    packing, size, buffer = trace.packing, trace.sizes[name], f"zones of {name}"
    drawn = trace.xp.asarray(random.random((packing.rows, size), np.float32) < rate)
    slabs = trace.slabs(buffer, size)
    if is_on_gpu(drawn) and trace.kept and len(set(trace.widths)) == 1:  # all steps at once: a step costs a launch
        rows = trace.on_end(buffer, size, 0, len(slabs), trace.widths[0]).swapaxes(1, 2)
        rows[...] = 0
        rows[packing.index("_time", drawn), packing.index("column_of_row", drawn)] = drawn
        return slabs
    for t, (slab, b) in enumerate(zip(slabs, packing.batch_sizes, strict=True)):
        slab[:, :b] = drawn[packing.offsets[t] : packing.offsets[t + 1]].T
        slab[:, b:] = 0
    return slabs

"""A captioner one word at a time, as decoding takes it: where some captions stand, and the step to their next word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from captioning.grid import Look
from captioning.network import Memory, Network, States
from captioning.parts import Parts
from rnncore import sequence
from rnncore.array import Array, Workspace, array_module, check_shape
from rnncore.layers import check_ids
from rnncore.losses import log_softmax
from rnncore.packing import Packing

# Among so many captions nothing is looked for that some have in common: it may take longer than it saves.
_FEW = 32


class State(NamedTuple):
    """Where the decoding of B captions stands.

    picture (B, K) what `Entry.project` made of each one's picture, or what the head's first layer makes of that.
    cells : every layer's states, (R, H) each; row (B,) which of their rows are each one's, where captions that begin
    alike have one; None for its own.
    owner (B,) which picture each is of; steps: the network, with what it looks at.
    """

    picture: Array
    cells: tuple[States, ...]
    row: Array | None
    owner: Array
    steps: Steps

    def select(self, rows: Array) -> State:
        """Return the state of the captions `rows`, which may repeat: beam search goes on from these."""
        row = rows if self.row is None else self.row[rows]
        return State(self.picture[rows], self.cells, row, self.owner[rows], self.steps)

    def different(self, words: Array) -> tuple[Array, Array | None, Array | None]:
        """Return of captions that begin alike and read the same word of `words` (B,) but one.

        Its word, (R,); its row of `cells`, None for its own; and for each caption which of them it is, (B,), None where
        every caption goes its own way, as few do anyway.
        """
        row, (R, _) = self.row, self.cells[0][0].shape
        if row is None or len(words) <= _FEW:
            return words, row, None
        which = row.astype(np.intp) * (int(words.max()) + 1) + words
        _, first, own = np.unique(which, return_index=True, return_inverse=True)
        each = row[first]
        return words[first], None if np.array_equal(each, np.arange(R)) else each, own


class Steps:
    """The layers one word at a time, as decoding runs them: each keeps the memory that it works in."""

    def __init__(self, network: Network, memory: Memory, states: Sequence[States]) -> None:
        self.cells = tuple(network.cells)
        self._first = {**network.params[0], **memory}
        weights = [self._first, *network.params[1:]]
        self._steppers = [
            sequence.Stepper(cell, p, state=state) for cell, p, state in zip(self.cells, weights, states, strict=True)
        ]
        self._held: Sequence[States] = ()  # what the last step came to, and the steppers hold

    def __call__(
        self, x: Array, states: Sequence[States], row: Array | None, owner: Array
    ) -> tuple[Array, tuple[States, ...]]:
        """Return the output (B, H) and every layer's states after x (B, D).

        row : (B,) which of the rows of `states` each goes on from; None for its own. owner : (B,) each one's picture.
        """
        if "keys" in self._first:
            self._first["owner"] = owner
        if states is not self._held or row is not None:
            for stepper, state in zip(self._steppers, states, strict=True):
                stepper.state = state if row is None else tuple(s[row] for s in state)
        self._held = ()  # until all layers have taken their step
        for stepper in self._steppers:
            x = stepper.step(x)
        self._held = tuple(stepper.state for stepper in self._steppers)
        return x, self._held


class Stepping:
    """The forward pass of a captioner, a word of every caption at a time; from one thread at a time.

    parts, p : what it consists of, and the parameters of each part, read as they are at every step.
    network : its layers. fused : whether the softmax is a compiled loop.
    """

    def __init__(self, parts: Parts, p: Mapping[str, Mapping[str, Array]], network: Network, fused: bool) -> None:
        self.parts, self.network, self.fused, self._p = parts, network, fused, p
        self.xp = array_module(p["picture"]["mean"])
        # Whether captions that begin alike are one to the network; on a GPU few take as long as many.
        self._alike = parts.entry.after and parts.grid is None and self.xp is np
        self._splits = self._alike and parts.head.dense is not None
        self._memory = Workspace(p["picture"]["mean"].dtype, self.xp)
        self._steps: Steps | None = None

    def start(self, vectors: Array, look: Look | None) -> State:
        """Return the state before the first word of each caption, of the pictures' vectors (B, F) and their grids."""
        entry, B = self.parts.entry, len(vectors)
        picture = entry.project(self._p["picture"], vectors)
        cells, row, owner = entry.states(picture), None, self.xp.arange(B)
        if cells is None:
            zeros, row = self.xp.zeros, self.xp.zeros_like(owner)
            cells = [tuple(zeros((1, size), picture.dtype) for size in layer) for layer in entry.sizes.states]
        steps = self._steps_of({} if look is None else look.memory, cells)
        first = entry.first(picture)
        if first is not None:
            cells, row = list(steps(first, cells, row, owner)[1]), None
        if self._splits:
            p = self._p["dense"]
            picture = picture @ entry.split(p["W"])[1].T + p["b"]
        return State(picture, tuple(cells), row, owner, steps)

    def step(self, state: State, words: Array) -> tuple[Array, State]:
        """Read one word a caption; see `Captioner.step`."""
        check_ids("words", words, self.parts.embedding.words)
        check_shape("words", words, {"B": len(state.owner)})
        entry, packing, row, own = self.parts.entry, Packing.dense(1, len(words)), state.row, None
        if self._alike:
            words, row, own = state.different(words)
        x = entry.read(state.picture, self.parts.embedding.forward(self._p["embedding"], words), packing)
        h, cells = state.steps(x, state.cells, row, state.owner)
        logits = self.parts.head.logits(self._p, self._hidden(state.picture, h, own, packing))
        return log_softmax(logits, inplace=True, fused=self.fused), state._replace(cells=cells, row=own)

    def _steps_of(self, memory: Memory, states: Sequence[States]) -> Steps:
        """Return the network's steps: those of the call before where the cells are the same and see no memory."""
        steps = self._steps
        if memory or steps is None or any(a is not b for a, b in zip(steps.cells, self.network.cells, strict=True)):
            steps = Steps(self.network, memory, states)
        self._steps = None if memory else steps
        return steps

    def _hidden(self, picture: Array, h: Array, own: Array | None, packing: Packing) -> Array:
        """Return what the vocabulary's layer sees (B, M); `own` (B,) is each caption's row of the output h (R, H)."""
        p, entry, head, take = self._p, self.parts.entry, self.parts.head, self._memory.take
        if self._splits:
            h = h @ entry.split(p["dense"]["W"])[0].T
            dense = take("dense", *picture.shape)
            np.add(picture, h if own is None else np.take(h, own, axis=0, out=dense, mode="clip"), out=dense)
            return head.activate(dense)
        h = h if own is None else h[own]
        merged = entry.merge(picture, h, packing, out=take("merged", len(h), entry.merged))
        return head.before(p, merged, out=take("dense", len(h), head.words.input_size))

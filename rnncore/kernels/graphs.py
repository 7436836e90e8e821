"""CUDA graphs: what was launched once is launched again as a whole, by one call."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from rnncore.array import Array, Workspace

#: Graphs kept for one cell: sizes beyond that push out the one used longest ago.
LIMIT = 128


class Graphs:
    """The graphs of one cell, by everything that a graph has fixed: sizes, lengths, and the address of every buffer.

    The first pass with a key is launched step by step, so that kernels are compiled and workspaces made; the second
    is captured; from then on the graph runs. A training loop comes to rest on it after two passes of each size.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: OrderedDict[Hashable, tuple[Any, list[Array]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(graph is not None for graph, _ in self._kept.values())

    def run(self, key: Hashable, launch: Callable[[], None], memory: Iterable[Workspace] = ()) -> None:
        """Do what `launch` does, which may depend on nothing but `key`.

        memory : where it may also write what is of no interest after it. A buffer there that grows later makes room
        for a new one, and the old one stays with the graph, which goes on writing to it.
        """
        if key not in self._kept:
            launch()
            self._kept[key] = (None, [])
        else:
            if self._kept[key][0] is None:
                self._kept[key] = (capture(launch), [buffer for each in memory for buffer in each.buffers()])
            self._kept[key][0].launch()
            self._kept.move_to_end(key)
        while len(self._kept) > self.limit:
            self._kept.popitem(last=False)


def capture(launch: Callable[[], None]) -> Any:
    """Return the graph of all that `launch` puts on CuPy's current stream; nothing of it runs."""
    stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            launch()
        finally:
            graph = stream.end_capture()
    return graph

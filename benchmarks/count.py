"""What a recurrent layer must do, counted by hand: parameters, operations, bytes.

Products are counted as everybody counts them, an addition and a multiplication as two operations. Every matrix of a
cell multiplies each row once forward, and twice on the way back: for the gradient of the matrix, and for that of what
it multiplied. N rows are the steps of all sequences, N = T·B without padding.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from rnncore.cells import find_cell
from rnncore.cells.base import Cell

#: Element operations of one unit at one step forward, by the equations in `rnncore.cells`: additions,
#: multiplications and each sigmoid or tanh as one. LSTM: 4 additions of W x and U h, 4 of b, 5 activations, 3
#: multiplications and 1 addition for c and h. GRU: 2 additions of W x and U h, 3 of b and 3 of b', 3 activations,
#: 2 for n, 3 for h = n + z (h - n). GRU-before: 3 and 3, 3 activations, 1 for r h, 3 for h. RNN: 1, 1 and tanh.
ELEMENTS = {"LSTM": 17, "GRU": 16, "GRU-before": 13, "RNN": 3}


class Cost(NamedTuple):
    """What one pass costs.

    parameters : how many numbers are trained.
    forward, training : operations in products of a forward pass, and of a training step with all gradients.
    elements : element operations of a forward pass; None for a cell that nobody counted.
    bytes : what a training step must at least move between memory and processor, if every array is read or written
        once wherever it is needed: x forward and for dW, its gradient, parameters forward, backward and their
        gradients, and all that the Trace keeps, written, read, and its gradients written and read.
    """

    parameters: int
    forward: int
    training: int
    elements: int | None
    bytes: int


def cost(cell: str, rows: int, D: int, H: int, itemsize: int = 4) -> Cost:
    """Return what a training step of a layer over `rows` rows costs; see `Cost`."""
    kind = find_cell(cell)
    shapes = kind.shapes(D, H)
    parameters = sum(prod(shape) for shape in shapes.values())
    forward = 2 * rows * sum(prod(shape) for shape in shapes.values() if len(shape) == 2)
    kept = H * (len(kind.gates) + len(kind.state) + len(kind.saved))
    moved = 3 * rows * D + 3 * parameters + 2 * rows * (kept + H * len(kind.preactivations))
    elements = None if cell not in ELEMENTS else ELEMENTS[cell] * rows * H
    return Cost(parameters, forward, 3 * forward, elements, moved * itemsize)


def parameters(cell: Cell, D: int, H: int) -> int:
    """Return the number of a cell's parameters."""
    return sum(prod(shape) for shape in cell.shapes(D, H).values())


def units_for(cell: str, wanted: int, D: int | None = None) -> int:
    """Return the H whose number of parameters is nearest to `wanted`; D is H where it is None."""
    kind, H = find_cell(cell), 1
    while parameters(kind, D or H, H) < wanted:
        H += 1
    below = wanted - parameters(kind, D or H - 1, H - 1) if H > 1 else wanted
    return H - 1 if H > 1 and below < parameters(kind, D or H, H) - wanted else H

"""What a cell is: three small functions beside its equations. The engine in `rnncore.sequence` owns time.

Inside a step every array is *features by batch*, as in the papers: a state is (H, b), one column a sequence, and the
recurrent product is `U @ h`. The b columns are those sequences that are still running at this step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rnncore.array import Array
from rnncore.params import Initialiser, blockwise, glorot, orthogonal, zeros
from rnncore.trace import Now, Trace

Weights = Mapping[str, Array]
_METHODS = ("shapes", "initialisers", "step", "step_backward", "recurrent_grads")


class Cell(Protocol):
    """The contract of a cell. `rnncore.gradcheck.check_cell` holds any class that follows it to its word.

    gates : names of the blocks of W x + b, in their order in `W` (G·H, D) and `b` (G·H,).
    preactivations : names of the blocks of `da`. The first G are the gates; a cell whose recurrent product gets
        another gradient than its input product (a GRU with reset after the product) appends blocks of its own.
    state : names of the states; the first is the output.
    saved : what `step_backward` needs besides.

    All of these have H rows. A cell in which some have not says so by one more method,
    `sizes(hidden_size) -> dict[str, int]`: the rows of those states, saved values and appended pre-activations that
    differ, by name. `rnncore.cells.LSTMP` is an example; gates always have H.

    Regularisers work on any cell. Recurrent dropout masks `prev[0]`, h before the step, in all its uses, unless the
    cell has the attribute `carries = True`: then it says itself where. It takes `now.recalled` for h in the recurrent
    products, `prev[0]` elsewhere, and sends each product's gradient through `now.masked`, as `GRU` does.

    A cell whose steps compute each column of everything from that column alone, as all cells of the library do, says
    so by the attribute `columnwise = True`. The engine may then round b up to a number of columns at which products
    are fast. What stands in the columns more is nobody's: finite as long as everything else is, and never read.

    A cell that computes one state from another in the same step, as h_t from c_t, calls `now.reached` with the
    latter's whole gradient, so that `Trace.gradient` can show it.
    """

    gates: tuple[str, ...]
    preactivations: tuple[str, ...]
    state: tuple[str, ...]
    saved: tuple[str, ...]

    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter; `W` (G·H, D) and `b` (G·H,) must be among them."""
        ...

    def initialisers(self) -> dict[str, Initialiser]:
        """Return the default initialiser of every parameter."""
        ...

    def step(self, p: Weights, now: Now) -> None:
        """Fill the gates, the next states and `saved`, in place."""
        ...

    def step_backward(self, p: Weights, now: Now, dstate: tuple[Array, ...]) -> None:
        """Fill `now.da`, and turn `dstate` in place from the gradient of the next states into that of the previous."""
        ...

    def recurrent_grads(self, p: Weights, trace: Trace, da: Array, grads: dict[str, Array]) -> None:
        """Write the gradients of all parameters but `W` and `b`, which are there; one product over all time.

        da : (P·H, N) the gradients of the pre-activations.
        """
        ...


def plain(cell: Cell) -> Cell:
    """Return the definition behind a cell that only runs another one's steps, as `rnncore.kernels.Fused` does."""
    found: Cell = getattr(cell, "plain", cell)
    return found


def recurrent_initialisers(gates: int) -> dict[str, Initialiser]:
    """Return the usual start: Glorot uniform for each gate's block of W, orthogonal for U's, zero biases."""
    return {"W": blockwise(glorot, gates), "U": blockwise(orthogonal, gates), "b": zeros}


def as_cell(cell: Cell | type[Cell]) -> Cell:
    """Return a cell, made from its class if that is what is given; TypeError if it lacks a part of the contract."""
    cell = cell() if isinstance(cell, type) else cell
    lacking = [name for name in (*Cell.__annotations__, *_METHODS) if not hasattr(cell, name)]
    if lacking:
        hint = "hand over its cell, layer.cell" if hasattr(cell, "cell") else "see rnncore.cells.base.Cell"
        raise TypeError(f"{type(cell).__name__} is no cell, for it has no {', '.join(lacking)}; {hint}")
    return cell

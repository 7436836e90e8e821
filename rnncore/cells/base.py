"""What a cell is: three small functions beside its equations. The engine in `rnncore.sequence` owns time.

Inside a step every array is *features by batch*, as in the papers: a state is (H, b), one column a sequence, and the
recurrent product is `U @ h`. The b columns are those sequences that are still running at this step.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rnncore.array import Array
from rnncore.params import Initialiser, blockwise, glorot, orthogonal, zeros

if TYPE_CHECKING:
    from rnncore.trace import Trace

Weights = Mapping[str, Array]


class Now(NamedTuple):
    """Views of one time step of a `Trace`, made once: what a cell reads and fills in place.

    With G gates, P pre-activations and b running sequences:

    a       (G·H, b)  on entry W x_t + b; the cell leaves the activated gates there
    gates   G views (H, b) of `a`, in the order of `Cell.gates`
    prev    the states before this step, (H, b) each, in the order of `Cell.state`: read only
    next    the states after it, (H, b) each: filled by `step`
    saved   (H, b) each, in the order of `Cell.saved`: filled by `step`, read by `step_backward`
    da      (P·H, b)  the gradients of the pre-activations: filled by `step_backward`
    dgates  P views (H, b) of `da`, in the order of `Cell.preactivations`
    scratch (G·H, b)  working memory, shared by all steps
    xp      numpy or cupy
    """

    a: Array
    gates: tuple[Array, ...]
    prev: tuple[Array, ...]
    next: tuple[Array, ...]
    saved: tuple[Array, ...]
    da: Array
    dgates: tuple[Array, ...]
    scratch: Array
    xp: ModuleType


class Cell(Protocol):
    """The contract of a cell. `rnncore.gradcheck.check_cell` holds any class that follows it to its word.

    gates : names of the blocks of W x + b, in their order in `W` (G·H, D) and `b` (G·H,).
    preactivations : names of the blocks of `da`. The first G are the gates; a cell whose recurrent product gets
        another gradient than its input product (a GRU with reset after the product) appends blocks of its own.
    state : names of the states; the first is the output.
    saved : what `step_backward` needs besides.
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
        """Write the gradients of all parameters but `W` and `b`, one product over all time; `da` is (P·H, N)."""
        ...


def recurrent_initialisers(gates: int) -> dict[str, Initialiser]:
    """Return the usual start: Glorot uniform for each gate's block of W, orthogonal for U's, zero biases."""
    return {"W": blockwise(glorot, gates), "U": blockwise(orthogonal, gates), "b": zeros}

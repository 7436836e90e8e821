"""The loop over time on the GPU at the speed of the card: fused kernels, generated from the cells, in CUDA graphs.

>>> from rnncore import Recurrent
>>> from rnncore.cells import LSTM
>>> from rnncore.kernels import Fused
>>> layer = Recurrent(Fused(LSTM()), 200, 512, device="cuda")         # doctest: +SKIP

Nothing here is chosen on its own: a cell on the GPU runs by CuPy's functions unless it is wrapped.

symbols  stand for the arrays of a step
record   a cell's step, run on symbols, becomes a tape of statements
program  the tape becomes products, and one kernel between them
source   a kernel becomes CUDA C++
launch   compiled for the card, and launched
blas     products that may be part of a graph
graphs   a loop captured once, and launched as a whole
loop     the loop over time
fused    all of this as a cell
"""

from rnncore.cells import GRU, LSTM
from rnncore.kernels.fused import Fused
from rnncore.kernels.symbols import CannotRecord

__all__ = [
    "CannotRecord", "Fused", "FusedGRU", "FusedGRUBF16", "FusedGRUTF32", "FusedLSTM", "FusedLSTMBF16", "FusedLSTMTF32",
]  # fmt: skip


class FusedLSTM(Fused):
    """`Fused(LSTM())`, by a name that commands and recipes can take: "rnncore.kernels:FusedLSTM"."""

    def __init__(self, products: str = "float32") -> None:
        super().__init__(LSTM(), products=products)


class FusedGRU(Fused):
    """`Fused(GRU())`, by a name that commands and recipes can take: "rnncore.kernels:FusedGRU"."""

    def __init__(self, products: str = "float32") -> None:
        super().__init__(GRU(), products=products)


class FusedLSTMTF32(FusedLSTM):
    """`FusedLSTM` whose products round their operands to TF32."""

    def __init__(self) -> None:
        super().__init__("tf32")


class FusedGRUTF32(FusedGRU):
    """`FusedGRU` whose products round their operands to TF32."""

    def __init__(self) -> None:
        super().__init__("tf32")


class FusedLSTMBF16(FusedLSTM):
    """`FusedLSTM` whose products round their operands to bfloat16."""

    def __init__(self) -> None:
        super().__init__("bf16")


class FusedGRUBF16(FusedGRU):
    """`FusedGRU` whose products round their operands to bfloat16."""

    def __init__(self) -> None:
        super().__init__("bf16")

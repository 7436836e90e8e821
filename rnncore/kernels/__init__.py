"""Fused kernels, generated from the cells: in CUDA graphs on a GPU, by the machine's C compiler on the processor.

>>> from rnncore import LSTM
>>> lstm = LSTM(200, 512, fused=True, device="cuda")                  # doctest: +SKIP

Nothing here is chosen on its own: a cell runs by the functions of NumPy or CuPy unless fused kernels are asked for.

symbols    stand for the arrays of a step
record     a cell's step, run on symbols, becomes a tape of statements
program    the tape becomes products, and one kernel between them; blocks and sums serve it
fused      all of this as a cell

On the processor:

processor  a kernel becomes C, compiled and kept
host       a step becomes a few calls

On a GPU:

source     a kernel becomes CUDA C++
launch     compiled for the card, and launched
blas       products that may be part of a graph
copies     in bfloat16, of what products read
graphs     a loop captured once, and launched as a whole
layout     between packed rows and what a captured loop works on
loop       the loop over time
persistent the loop forward as one kernel
"""

from rnncore.cells import GRU, LSTM
from rnncore.kernels.fused import Fused
from rnncore.kernels.processor import NoCompiler
from rnncore.kernels.symbols import CannotRecord

__all__ = [
    "CannotRecord", "Fused", "FusedGRU", "FusedGRUBF16", "FusedGRUTF32", "FusedLSTM", "FusedLSTMBF16", "FusedLSTMTF32",
    "NoCompiler",
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

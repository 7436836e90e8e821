"""Recurrent networks by hand, on NumPy and on CuPy: `help(rnncore.LSTM)` has the first lines to type."""

import sys
from typing import TYPE_CHECKING, Any

from rnncore.array import to_device, to_host
from rnncore.finite import check_finite
from rnncore.gradcheck import GradientError, check_cell, check_function
from rnncore.layers import Dropout, Embedding, Linear
from rnncore.losses import NonFiniteLoss, softmax_cross_entropy
from rnncore.optim import SGD, Adam, AdamW, clip_global_norm
from rnncore.packing import Packing
from rnncore.params import Params
from rnncore.recompute import Recomputed
from rnncore.recurrent import GRU, LSTM, RNN, Recurrent
from rnncore.regularise import Regulariser
from rnncore.sequence import Stepper, backward, forward
from rnncore.stream import Truncated
from rnncore.trace import Trace

if TYPE_CHECKING:
    from rnncore.interop.files import load, save

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "Dropout",
    "Embedding",
    "GradientError",
    "Linear",
    "NonFiniteLoss",
    "Packing",
    "Params",
    "Recomputed",
    "Recurrent",
    "Regulariser",
    "Stepper",
    "Trace",
    "Truncated",
    "backward",
    "check_cell",
    "check_finite",
    "check_function",
    "clip_global_norm",
    "forward",
    "load",
    "save",
    "softmax_cross_entropy",
    "to_device",
    "to_host",
]


def __getattr__(name: str) -> Any:
    """Import `load` and `save` once they are asked for, so that `import rnncore` stays quick."""
    if name in ("load", "save"):
        from rnncore.interop import files

        return getattr(files, name)
    raise AttributeError(f"module 'rnncore' has no attribute {name!r}", name=name, obj=sys.modules[__name__])

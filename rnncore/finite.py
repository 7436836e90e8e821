"""Training stops at the first number that is not finite, and says where it is."""

from __future__ import annotations

import math

import numpy as np

from rnncore.array import Array, array_module
from rnncore.losses import NonFiniteLoss
from rnncore.params import Params


def check_finite(step: int, loss: float, grads: Params) -> None:
    """Raise `NonFiniteLoss` if the loss or a gradient is NaN or infinite; call it before the optimiser's step.

    The message names the step, the layers and parameters that are not finite, and the norm of every gradient. On the
    way back NaN spreads from the last layer to the first: the last one named is where to look. The check costs one
    pass over the gradients.

    Parameters
    ----------
    step : how many steps were taken before.
    loss : its value at this step.
    grads : the gradients by name, such as `layer.grads`.

    Raises
    ------
    NonFiniteLoss
        If anything is not finite. The parameters are as they were: save them, or go back to an earlier checkpoint.

    Examples
    --------
    >>> from rnncore import LSTM
    >>> lstm = LSTM(3, 4)
    >>> check_finite(0, 1.25, lstm.grads)
    >>> lstm.grads["layer0.U"][0, 0] = np.nan
    >>> check_finite(1, 1.25, lstm.grads)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    rnncore.losses.NonFiniteLoss: step 1: the loss is 1.25, and the gradient is not finite in layer0; norms: ...
    """
    if math.isfinite(loss) and _is_finite(grads.flat):
        return
    raise NonFiniteLoss(
        f"step {step}: the loss is {loss:g}, and {describe_gradients(grads)}; "
        "look for NaN in the inputs, lower the learning rate, or clip the gradient's norm"
    )


def describe_gradients(grads: Params) -> str:
    """Return in words which layers' gradients are not finite, and the norm of every gradient."""
    bad = [name for name, grad in grads.items() if not _is_finite(grad)]
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in bad))
    where = f"not finite in {', '.join(layers)}" if bad else "finite"
    norms = ", ".join(f"{name} {_norm(grad):.3g}{_count(grad)}" for name, grad in grads.items())
    return f"the gradient is {where}; norms: {norms}"


def _is_finite(x: Array) -> bool:
    return bool(array_module(x).isfinite(x).all())


def _norm(x: Array) -> float:
    """The Euclidean norm, in float64, in which squares of float32 do not overflow."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return float(array_module(x).linalg.norm(x.astype(np.float64).ravel()))


def _count(x: Array) -> str:
    bad = int((~array_module(x).isfinite(x)).sum())
    return f" ({bad} of {x.size} numbers)" if bad else ""

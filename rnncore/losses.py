"""Softmax cross-entropy in nats a word, and the logarithm of softmax for decoding."""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np

from rnncore.array import Array, array_module, check_float, check_shape, is_on_gpu
from rnncore.layers import check_ids

#: Numbers handled at a time on the host, so that the passes over a block of rows stay in the processor's L2
#: cache.
BLOCK = 1 << 17


class NonFiniteLoss(ArithmeticError):
    """Training met a loss that is NaN or infinite; going on would only spoil the parameters."""


class Loss(NamedTuple):
    """A mean loss and its gradient.

    On a GPU `loss` is an array of no axes: `float(loss)` waits for the device, so read it when backward is under way.
    """

    loss: float
    dlogits: Array

    def check(self, where: str) -> Loss:
        """Return self; if it is not finite raise NonFiniteLoss, saying `where`: "epoch 3, batch 17"."""
        if math.isfinite(self.loss):
            return self
        raise NonFiniteLoss(
            f"the loss is {self.loss} at {where}; look for NaN in the inputs, lower the learning rate, "
            "or clip the gradient's norm"
        )


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    weights: Array | None = None,
    inplace: bool = False,
    smoothing: float = 0.0,
    fused: bool = False,
) -> Loss:
    r"""Mean of :math:`-\log \mathrm{softmax}(z_n)_{y_n}` over rows, in nats, and its gradient in the logits.

    .. math:: L = \frac{\sum_n w_n (\log \sum_v e^{z_{nv}} - z_{n y_n})}{\sum_n w_n}, \qquad
              \frac{\partial L}{\partial z_{nv}} = \frac{w_n}{\sum w} (\mathrm{softmax}(z_n)_v - [v = y_n])

    logits : (N, V) float32 or float64; targets : (N,) integers in [0, V); weights : (N,), not negative, None
    for ones. A row of weight 0 is padding: it takes no part and its gradient is exactly zero, whatever the
    row holds. With `inplace` the gradient overwrites the logits. A loss that is not finite is returned as it
    is (`Loss.check`).

    smoothing : the share :math:`\epsilon` of every target that is spread evenly over all V classes, in [0, 1): the
    target's :math:`z_{n y_n}` becomes :math:`(1 - \epsilon) z_{n y_n} + \epsilon \sum_v z_{nv} / V`, and
    :math:`[v = y_n]` becomes :math:`(1 - \epsilon) [v = y_n] + \epsilon / V` (Szegedy et al. 2016, section 7).

    fused : whether it is one compiled loop (`rnncore.kernels.softmax`), which takes a C compiler; on the host.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no rows, the weights are negative or all zero, or smoothing is out of range.
    TypeError, IndexError
        If targets are not integers, or one is outside [0, V).

    Examples
    --------
    >>> loss, dlogits = softmax_cross_entropy(np.zeros((2, 4)), np.array([3, 0]))
    >>> round(loss, 4), dlogits[0].tolist()  # ln 4; and (softmax - target) / N
    (1.3863, [0.125, 0.125, 0.125, -0.375])
    """
    xp = array_module(logits=logits, targets=targets, weights=weights)
    check_float("logits", logits)
    check_shape("logits", logits, {"N": None, "V": None})
    check_shape("targets", targets, {"N": len(logits)})
    check_ids("targets", targets, logits.shape[1])
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing: expected a share from 0 to below 1, got {smoothing}")
    share = _shares(logits, weights)
    z = logits if inplace else logits.copy()
    with np.errstate(under="ignore", invalid="ignore"):  # e^-200 is 0 here; inf - inf gives the NaN it should
        losses = (_compiled(z).cross_entropy if fused else _in_blocks)(z, targets, share, smoothing)
        if weights is not None:
            xp.copyto(losses, 0, where=share == 0)
            xp.copyto(z, 0, where=(share == 0)[:, None])
        total = xp.dot(losses, share)
        return Loss(total if is_on_gpu(total) else float(total), z)


def log_softmax(logits: Array, inplace: bool = False, fused: bool = False) -> Array:
    r"""Return :math:`z_{nv} - \log \sum_u e^{z_{nu}}` for each row of logits (N, V), as a new array or in place.

    fused : as above.
    """
    xp = array_module(logits)
    check_float("logits", logits)
    check_shape("logits", logits, {"N": None, "V": None})
    z = logits if inplace else logits.copy()
    if fused:
        _compiled(z).log_softmax(z)
        return z
    rows = rows_together(z)
    ones, scratch = xp.ones(z.shape[1], z.dtype), xp.empty((min(rows, len(z)), z.shape[1]), z.dtype)
    with np.errstate(under="ignore"):
        for start in range(0, len(z), rows):
            part = z[start : start + rows]
            part -= part.max(axis=1, keepdims=True)
            part -= xp.log(xp.exp(part, out=scratch[: len(part)]) @ ones)[:, None]
    return z


def _compiled(z: Array) -> ModuleType:
    """Return the compiled loops, if `z` is where they run."""
    if is_on_gpu(z):
        raise TypeError("fused: expected logits on the host, got them on the GPU; leave it out there")
    from rnncore.kernels import softmax  # here, since most who import the library never ask for it

    return softmax


def rows_together(z: Array) -> int:
    """Return how many rows of z (N, V) are handled at a time."""
    return max(1, len(z) if is_on_gpu(z) else BLOCK // z.shape[1])


def _in_blocks(z: Array, targets: Array, share: Array, smoothing: float) -> Array:
    """Return the losses of the rows z, and overwrite z with the gradient of their sum weighted by `share`."""
    xp, rows = array_module(z), rows_together(z)
    losses, ones = xp.empty(len(z), z.dtype), xp.ones(z.shape[1], z.dtype)
    for start in range(0, len(z), rows):
        part = slice(start, start + rows)
        losses[part] = _block(z[part], targets[part], share[part], ones, smoothing)
    return losses


def _block(z: Array, targets: Array, share: Array, ones: Array, smoothing: float) -> Array:
    """Do that for rows that stay in the cache; `ones` adds up a row by a product."""
    xp = array_module(z)
    rows = xp.arange(len(z))
    z -= z.max(axis=1, keepdims=True)
    chosen = z[rows, targets]
    if smoothing:
        chosen = (1 - smoothing) * chosen + (z @ ones) * (smoothing / len(ones))
    xp.exp(z, out=z)
    total = z @ ones  # row sums as a product: faster than z.sum(1)
    z *= (share / total)[:, None]
    if smoothing:
        z -= (share * (smoothing / len(ones)))[:, None]
    z[rows, targets] -= (1 - smoothing) * share
    return xp.log(total) - chosen


def _shares(logits: Array, weights: Array | None) -> Array:
    """Return each row's share of the mean, (N,), adding up to 1."""
    xp = array_module(logits)
    n = len(logits)
    if n == 0:
        raise ValueError("the mean loss of no rows is undefined: logits have the shape (0, V)")
    if weights is None:
        return xp.full(n, 1 / n, logits.dtype)
    check_shape("weights", weights, {"N": n})
    low, total = float(weights.min()), float(weights.sum())
    if not (low >= 0 and total > 0):
        raise ValueError(f"weights must be at least 0 and not all 0; the least is {low}, the sum {total}")
    return weights.astype(logits.dtype) / total

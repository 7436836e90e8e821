"""Softmax over rows as one compiled loop: every row is read once from memory, and is in the first cache from then on.

Sums over a row are no functions number by number, so this is written by hand and not recorded, as cells are; tests
hold it to `rnncore.losses`. A row is summed up in sixteen parts, in the same order each time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from rnncore.array import Array
from rnncore.kernels.cores import run, shares
from rnncore.kernels.processor import FLOAT, HEADER, compiled, function_address
from rnncore.kernels.source import TYPES
from rnncore.views import address

#: e^x for x at most 0: 2^n times a polynomial in what is left, to a relative error of 2e-7; 0 below -87; NaN stays.
_EXP = """\
#include <string.h>
static inline float exp_of(float x)
{
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const float p = 0.5f + r * (0.166666567f + r * (4.16664853e-2f + r * (8.33337288e-3f + r * 1.39310698e-3f)));
    const int32_t bits = ((int32_t)(n < -126.0f ? -126.0f : n) + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return x < -87.0f ? 0.0f : power * (1.0f + (r + r * r * p));
}
#undef exp
#define exp exp_of
"""
_SOURCE = """\
#define PARTS 16
static T largest(const T *restrict z, const int64_t V)
{
    T part[PARTS], m = -INFINITY;
    int64_t j = 0;
    for (int l = 0; l < PARTS; ++l) part[l] = -INFINITY;
    for (; j + PARTS <= V; j += PARTS)
        for (int l = 0; l < PARTS; ++l) part[l] = z[j + l] > part[l] ? z[j + l] : part[l];
    for (; j < V; ++j) m = z[j] > m ? z[j] : m;
    for (int l = 0; l < PARTS; ++l) m = part[l] > m ? part[l] : m;
    return m;
}

/* The sum of e^(z - m), which is kept where z was if `keep`; and of z - m. */
static T exponentials(T *restrict z, const int64_t V, const T m, const int keep, T *all)
{
    T part[PARTS] = {0}, plain[PARTS] = {0}, sum = 0, total = 0;
    int64_t j = 0;
    for (; j + PARTS <= V; j += PARTS)
        for (int l = 0; l < PARTS; ++l) {
            const T d = z[j + l] - m, e = exp(d);
            if (keep) z[j + l] = e;
            part[l] += e;
            plain[l] += d;
        }
    for (; j < V; ++j) {
        const T d = z[j] - m, e = exp(d);
        if (keep) z[j] = e;
        sum += e;
        total += d;
    }
    for (int l = 0; l < PARTS; ++l) { sum += part[l]; total += plain[l]; }
    *all = total;
    return sum;
}

void cross_entropy(const int64_t *at)
{
    const int64_t first = at[0], last = at[1], V = at[2], *const targets = (const int64_t *)at[4];
    const T *const share = (const T *)at[5], smoothing = *(const T *)at[7];
    T *const losses = (T *)at[6];
    for (int64_t n = first; n < last; ++n) {
        T *restrict const z = (T *)at[3] + n * V;
        const T m = largest(z, V);
        T chosen = z[targets[n]] - m, all;
        const T sum = exponentials(z, V, m, 1, &all), scale = share[n] / sum, spread = smoothing / (T)V;
        if (smoothing != 0) chosen = (1 - smoothing) * chosen + spread * all;
        INDEPENDENT
        for (int64_t j = 0; j < V; ++j) z[j] = z[j] * scale - share[n] * spread;
        z[targets[n]] -= (1 - smoothing) * share[n];
        losses[n] = log(sum) - chosen;
    }
}

void log_softmax(const int64_t *at)
{
    const int64_t first = at[0], last = at[1], V = at[2];
    for (int64_t n = first; n < last; ++n) {
        T *restrict const z = (T *)at[3] + n * V;
        const T m = largest(z, V);
        T all;
        const T less = log(exponentials(z, V, m, 0, &all));
        INDEPENDENT
        for (int64_t j = 0; j < V; ++j) z[j] = (z[j] - m) - less;
    }
}
"""


def cross_entropy(z: Array, targets: Array, share: Array, smoothing: float) -> Array:
    """Return the losses of the rows z (N, V), and overwrite z with the gradient of their sum weighted by `share`."""
    losses, number = np.empty(len(z), z.dtype), np.array(smoothing, z.dtype)
    where = np.ascontiguousarray(targets, np.int64)
    _call("cross_entropy", z, where, np.ascontiguousarray(share), losses, number)
    return losses


def log_softmax(z: Array) -> None:
    """Overwrite each row of z (N, V) with the logarithm of its softmax."""
    _call("log_softmax", z)


def _call(name: str, z: Array, *others: Array) -> None:
    if not z.flags.c_contiguous:
        raise ValueError(f"fused: expected logits whose rows lie on end, got strides {z.strides}; copy them first")
    first, last = shares(len(z), z.size, some=1)
    table = np.empty((len(first), 4 + len(others)), np.int64)
    table[:, :1], table[:, 1:2], table[:, 2] = first, last, z.shape[1]
    table[:, 3:] = [address(a) for a in (z, *others)]
    run(_function(name, z.dtype), table)


@cache
def _function(name: str, dtype: np.dtype[Any]) -> int:
    single = FLOAT + _EXP if dtype == np.float32 else ""
    return function_address(compiled(HEADER.format(type=TYPES[dtype]) + single + _SOURCE), name)

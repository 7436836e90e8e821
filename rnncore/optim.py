"""Optimisers over one flat buffer: Adam, AdamW, SGD; and clipping by the global norm.

An optimiser works through the buffer in blocks that stay in the processor's L2 cache, so that memory is read
and written once a step, in place, with no temporary larger than a block. On a GPU the block is the whole
buffer.

Examples
--------
>>> import numpy as np
>>> from rnncore.params import Params
>>> p = Params({"w": (2,)})
>>> grads = p.like()
>>> optimiser = Adam(p, learning_rate=0.1)
>>> grads["w"][:] = 3, -5
>>> optimiser.step(grads.flat)
>>> p["w"].round(4).tolist()  # the first step is the learning rate, against the sign of the gradient
[-0.10000000149011612, 0.10000000149011612]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array, array_module, check_float, check_shape, is_on_gpu, to_host
from rnncore.params import Params

if TYPE_CHECKING:
    from rnncore.kernels.numbers import Numbers

#: Numbers in a block: parameters, gradient, two moments and a scratch of float32 are 640 KB. One thread works through
#: them: beside OpenBLAS, whose own thread spins on for a while after every product, a second one has no core to itself.
BLOCK = 1 << 15
#: Every so many steps moments that have all but vanished are set to zero (see Optimiser._flush).
FLUSH_EVERY = 64


class Optimiser:
    """What the optimisers share: the buffer, blocks, and a state that can be saved.

    Attributes
    ----------
    learning_rate : may be set between steps, as the schedules of `rnncore.schedules` do.
    steps : how many have been taken.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Params | Array, learning_rate: float) -> None:
        self.flat: Array = params.flat if isinstance(params, Params) else params
        check_float("params", self.flat)
        check_shape("params", self.flat, {"size": None})
        if not (math.isfinite(learning_rate) and learning_rate >= 0):
            raise ValueError(f"learning_rate must be at least 0 and finite, got {learning_rate}")
        xp = array_module(self.flat)
        self.learning_rate = learning_rate
        self.steps = 0
        self._state = {name: xp.zeros_like(self.flat) for name in self.slots}
        self._block = max(1, self.flat.size if is_on_gpu(self.flat) else min(BLOCK, self.flat.size))
        self._scratch = xp.empty(self._block, self.flat.dtype)

    def step(self, grads: Params | Array) -> None:
        """Change the parameters in place by `grads`, or by its flat buffer, of the same size and precision."""
        grads = grads.flat if isinstance(grads, Params) else grads
        array_module(params=self.flat, grads=grads)
        check_float("grads", grads, self.flat.dtype)
        check_shape("grads", grads, {"size": self.flat.size})
        self.steps += 1
        with np.errstate(under="ignore"):  # the square of a tiny gradient may well be 0
            self._update(grads)
            if self.steps % FLUSH_EVERY == 0:
                self._flush()

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs: copies of the moments on the host, and numbers."""
        moments = {name: to_host(a).copy() for name, a in self._state.items()}
        return {"steps": self.steps, "learning_rate": self.learning_rate, **moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state from `state_dict`; nothing is changed if it does not fit (ValueError)."""
        wanted = {"steps", "learning_rate", *self.slots}
        if set(state) != wanted:
            raise ValueError(f"{type(self).__name__} keeps {sorted(wanted)}, the saved state has {sorted(state)}")
        for name in self.slots:
            check_float(name, state[name], self.flat.dtype)
            check_shape(name, state[name], {"size": self.flat.size})
        self.steps, self.learning_rate = int(state["steps"]), float(state["learning_rate"])
        for name, mine in self._state.items():
            mine[...] = array_module(mine).asarray(state[name])

    def _update(self, grads: Array) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        """Set moments under 1e-30 (in float32) to zero.

        The moments of a dead unit or a rare word, whose gradient is zero, shrink until they are subnormal, which
        slows a processor down some 40 times, and by rounding they would stay so for ever. What is lost is a change
        of the parameters by less than 1e-21 times the learning rate.
        """
        xp = array_module(self.flat)
        tiny = 1e8 * float(np.finfo(self.flat.dtype).tiny)
        for moment in self._state.values():
            for start in range(0, moment.size, self._block):
                part = moment[start : start + self._block]
                size = xp.abs(part, out=self._scratch[: part.size])
                part *= size >= tiny

    def _blocks(self, grads: Array) -> Iterator[tuple[Array, ...]]:
        """Yield views of one block after another: parameters, gradient, each slot, scratch."""
        arrays = (self.flat, grads, *self._state.values())
        for start in range(0, self.flat.size, self._block):
            views = [a[start : start + self._block] for a in arrays]
            yield (*views, self._scratch[: views[0].size])


class Adam(Optimiser):
    r"""Adam (Kingma & Ba 2015, Algorithm 1).

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,

    .. math:: \theta \leftarrow \theta
              - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.

    What is kept is :math:`m / (1 - \beta_1)` and :math:`v / (1 - \beta_2)`, the weighted sums of gradients
    and of their squares: the constant factors then join the bias corrections in two scalars a step, which is
    algebraically the same and saves two passes.

    fused : whether all of it is one compiled loop over the parameters, `rnncore.kernels.numbers`, which takes a C
        compiler; for parameters on the host. The numbers differ by rounding.
    """

    slots = ("gradient_sum", "square_sum")

    def __init__(
        self,
        params: Params | Array,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        fused: bool = False,
    ) -> None:
        super().__init__(params, learning_rate)
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and epsilon > 0):
            raise ValueError(f"expected beta1, beta2 in [0, 1) and epsilon > 0, got {beta1}, {beta2}, {epsilon}")
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._fused = _compiled(_adam, self.flat, numbers=4) if fused else None

    def _update(self, grads: Array) -> None:
        first = (1 - self.beta1) / (1 - self.beta1**self.steps)
        second = math.sqrt((1 - self.beta2) / (1 - self.beta2**self.steps))
        rate, epsilon = -self.learning_rate * first / second, self.epsilon / second
        numbers = (self.beta1, self.beta2, epsilon, rate)
        if self._fused is not None:
            self._fused((self.flat, grads, *self._state.values()), numbers)
            return
        for block in self._blocks(grads):
            arguments = (*block, *numbers)
            _adam(array_module(self.flat), *arguments)


def _adam(
    xp: ModuleType, p: Array, g: Array, m: Array, v: Array, scratch: Array,
    beta1: float, beta2: float, epsilon: float, rate: float,
) -> None:  # fmt: skip
    m *= beta1
    m += g
    xp.multiply(g, g, out=scratch)
    v *= beta2
    v += scratch
    xp.sqrt(v, out=scratch)
    scratch += epsilon
    xp.divide(m, scratch, out=scratch)
    scratch *= rate
    p += scratch


def _compiled(change: Callable[..., None], flat: Array, numbers: int) -> Numbers:
    if is_on_gpu(flat):
        raise TypeError("fused: expected parameters on the host, got them on the GPU; leave it out there")
    from rnncore.kernels.numbers import Numbers  # here, since most who import the library never ask for it

    return Numbers(change, ("p", "g", "m", "v"), numbers, flat.dtype)


class AdamW(Adam):
    r"""Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2).

    Before Adam's own change each decayed parameter shrinks, :math:`\theta \leftarrow (1 - \alpha \lambda)
    \theta`, with the learning rate in the product as PyTorch and Keras have it.

    decay : :math:`\lambda`. names : the parameters that decay; by default those with two or more axes, so no
    biases. Leave an embedding with frozen rows out of them: decay is no gradient and would shrink the frozen
    rows too.
    """

    def __init__(
        self,
        params: Params,
        learning_rate: float = 1e-3,
        decay: float = 1e-2,
        names: Sequence[str] | None = None,
        **adam: Any,
    ) -> None:
        super().__init__(params, learning_rate, **adam)
        if not decay >= 0:
            raise ValueError(f"decay must be at least 0, got {decay}")
        chosen = [n for n, a in params.items() if a.ndim >= 2] if names is None else list(names)
        unknown = sorted(set(chosen) - set(params))
        if unknown:
            raise KeyError(f"no parameters {unknown} to decay; there are {sorted(params)}")
        self.decay = decay
        self._decayed = [params[name] for name in chosen]

    def _update(self, grads: Array) -> None:
        for view in self._decayed:
            view *= 1 - self.learning_rate * self.decay
        super()._update(grads)


class SGD(Optimiser):
    r"""Gradient descent with momentum, plain or Nesterov's (Sutskever et al. 2013; PyTorch's form).

    .. math:: u \leftarrow \mu u + g, \qquad \theta \leftarrow \theta - \alpha u
              \quad (\text{Nesterov: } \theta - \alpha (g + \mu u))
    """

    slots = ("velocity",)

    def __init__(
        self, params: Params | Array, learning_rate: float, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(params, learning_rate)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov

    def _update(self, grads: Array) -> None:
        xp = array_module(self.flat)
        for p, g, u, scratch in self._blocks(grads):
            u *= self.momentum
            u += g
            xp.multiply(u, -self.learning_rate * (self.momentum if self.nesterov else 1.0), out=scratch)
            p += scratch
            if self.nesterov:
                xp.multiply(g, -self.learning_rate, out=scratch)
                p += scratch


def clip_global_norm(grads: Params | Array, limit: float) -> float:
    r"""Scale `grads` in place so that its Euclidean norm is at most `limit`; return the norm before.

    :math:`g \leftarrow g \min(1, c / \lVert g \rVert)` over all parameters together (Pascanu et al. 2013).

    Raises
    ------
    FloatingPointError
        If the norm is NaN or infinite, naming the worst parameter when `grads` is a Params. Nothing is
        changed.
    """
    if not limit > 0:
        raise ValueError(f"the limit must be above 0, got {limit}")
    flat = grads.flat if isinstance(grads, Params) else grads
    check_float("grads", flat)
    xp = array_module(flat)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        norm = math.sqrt(float(xp.dot(flat, flat)))
        if not math.isfinite(norm):  # squares overflow float32 above 1e19
            norm = float(xp.linalg.norm(flat.astype(np.float64)))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the gradient's norm is {norm}{_worst(grads)}; lower the learning rate")
    if norm > limit:
        flat *= limit / norm
    return norm


def _worst(grads: Params | Array) -> str:
    """Say which parameter has the most numbers that are not finite, if the names are known."""
    if not isinstance(grads, Params):
        return ""
    xp = array_module(grads.flat)
    counts = {name: int((~xp.isfinite(a)).sum()) for name, a in grads.items()}
    name = max(counts, key=lambda n: counts[n])
    return f": {counts[name]} of the {grads[name].size} numbers of {name} are not finite"

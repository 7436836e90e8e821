"""LSTMs that cuDNN has not, as loops over time in PyTorch: what one writes there who needs them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from rnncore import Recurrent, to_host

EPSILON = 1e-5


class Loop(nn.Module):
    """An LSTM with zoneout, recurrent dropout, peepholes or layer normalisation, by the name of the variant.

    Its weights are those of a layer of ours, in whose order its gates are: i, f, o, g.

    Attributes
    ----------
    given : masks by the names of `rnncore.trace.Trace`, in place of drawn ones.
    """

    def __init__(self, layer: Recurrent, variant: str) -> None:
        super().__init__()
        self.variant = variant
        for full, value in layer.params.items():
            setattr(self, full.rpartition(".")[2], nn.Parameter(torch.from_numpy(to_host(value).copy())))
        regulariser = layer.stack.rates.regulariser
        self.zoneout = dict(regulariser.zoneout) if regulariser else {}
        self.dropout = regulariser.recurrent_dropout if regulariser else 0.0
        self.given: Mapping[str, np.ndarray] = {}

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the outputs (T, B, H) of x (T, B, D)."""
        (T, B, _), H = x.shape, self.U.shape[1]
        a, U = x @ self.W.T + self.b, self.U.T
        if self.variant == "layer normalisation":
            a = self._normal(a) * self.alpha_W + self.beta
        zones = {name: self._zones(name, rate, (T, B, H), x) for name, rate in self.zoneout.items()}
        mask = self._mask((B, H), x)
        h = c = x.new_zeros(B, H)
        outputs = []
        for t in range(T):
            seen = h if mask is None else h * mask
            h_new, c_new = self._step(a[t], seen, c, U)
            h = torch.lerp(h_new, h, zones["h"][t]) if "h" in zones else h_new
            c = torch.lerp(c_new, c, zones["c"][t]) if "c" in zones else c_new
            outputs.append(h)
        return (torch.stack(outputs),)

    def _step(self, a: torch.Tensor, h: torch.Tensor, c: torch.Tensor, U: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return h and c of one step from W x + b, and h and c before it."""
        normal = self.variant == "layer normalisation"
        a = torch.addmm(a, h, U) if not normal else a + self._normal(h @ U) * self.alpha_U
        i, f, o, g = a.chunk(4, 1)
        if self.variant == "peepholes":
            p_i, p_f, p_o = self.P.chunk(3)
            c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
            return torch.sigmoid(o + p_o * c) * torch.tanh(c), c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        squashed = self._normal(c) * self.alpha_c + self.beta_c if normal else c
        return torch.sigmoid(o) * torch.tanh(squashed), c

    def _normal(self, v: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(v, v.shape[-1:], eps=EPSILON)

    def _zones(self, name: str, rate: float, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        given = self.given.get(f"zoneout {name}")
        return like.new_tensor(given) if given is not None else like.new_empty(shape).bernoulli_(rate)

    def _mask(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor | None:
        if not self.dropout:
            return None
        given = self.given.get("recurrent_dropout")
        if given is not None:
            return like.new_tensor(given[0])
        return like.new_empty(shape).bernoulli_(1 - self.dropout) / (1 - self.dropout)

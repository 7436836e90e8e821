"""What cuDNN's LSTM has not, beside a loop over time in PyTorch: zoneout, recurrent dropout, peepholes, layer norm.

PyTorch's loop does what can be done before it there: W x and b for all steps in one product, masks for all steps at
once, on the card. Ours are drawn on the host, so that they are equal on every device, and that is in the time.
The LSTM with layer normalisation takes means over units, which no fused kernel of ours does: it runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.gpu.layers import AGREE, check_agreement, compare, competitors, torch_competitors
from rnncore import Recurrent, cells, to_host
from rnncore.kernels import Fused

SHAPES = ((34, 64, 256), (100, 64, 512), (100, 64, 1024))
ZONEOUT, DROPOUT = {"h": 0.05, "c": 0.5}, 0.25
VARIANTS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "zoneout": (cells.LSTM, {"zoneout": ZONEOUT}),
    "recurrent dropout": (cells.LSTM, {"recurrent_dropout": DROPOUT}),
    "peepholes": (cells.PeepholeLSTM, {}),
    "layer normalisation": (cells.LayerNormLSTM, {}),
}
NOT_FUSED = ("layer normalisation",)


def rows() -> Iterator[dict[str, Any]]:
    """Yield what names each row of the table."""
    for T, B, H in SHAPES:
        for variant in VARIANTS:
            yield {"variant": variant, "T": T, "B": B, "H": H}


def measure(
    torch: bool, *, variant: str, T: int, B: int, H: int, device: str = "cuda", **options: Any
) -> dict[str, Any]:
    """Return the figures of a row: milliseconds of each, in float32, and the ratio to PyTorch's loop."""
    shape = (T, B, H)
    mine = layer(variant, H, device)
    sides = {"ours": competitors(mine, shape, device)}
    if torch:
        from benchmarks.gpu.torch_loop import Loop

        loop = Loop(mine, variant)
        sides["torch"] = torch_competitors(loop.to(device), shape, "float32", device, loop.U.dtype)
        results = sides["ours"]["training"].first()
        noise = mine.trace.noise
        loop.given = {name: to_host(mine.trace[name]) for name in (noise.masks if noise else ())}
        check_agreement(results, sides["torch"]["training"].first(), AGREE["float32"])
        loop.given = {}
    return {what: compare(sides, what, **options) for what in ("forward", "training")}


def layer(variant: str, H: int, device: str) -> Recurrent:
    """Return our layer of a variant, fused where it can be; its noise goes on in `forward` too, as in training."""
    cell, noise = VARIANTS[variant]
    made = cell() if variant in NOT_FUSED or device == "cpu" else Fused(cell())
    found = Recurrent(made, H, H, seed=1, device=device, **noise)
    rng = np.random.default_rng(2)
    for name, value in found.params.items():
        if name.endswith((".P", ".beta_c")):  # which begin at zero
            value[...] = value + float(rng.normal()) * 0.1
    return found

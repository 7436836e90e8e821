"""One layer on the GPU, ours beside PyTorch's cuDNN and beside the floor, over shapes, cells and precisions, in one go.

    python -m benchmarks.gpu --json benchmarks/results/gpu-h100.json

Before anything is timed both must give the same outputs and gradients. Times are medians over rounds in which the
competitors take turns (`benchmarks.turns`), each call ending when the card has finished. The floor is the products of
a training step alone, at the rate of one large product of the same precision on the same card, measured here.

'tf32' and 'bf16' round operands: ours on the way into float32 products, PyTorch's by `allow_tf32`, and by weights and
inputs in bfloat16. 'float32' turns TF32 off on both sides; PyTorch has it on by default.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import save, setting
from benchmarks.turns import Competitor, take_turns
from rnncore import Recurrent, cells, to_device, to_host
from rnncore.array import module_for
from rnncore.interop.pytorch import to_pytorch
from rnncore.kernels import Fused

#: T, B, H; D is H.
SHAPES = ((34, 64, 256), (34, 256, 512), (100, 64, 512), (100, 64, 1024), (128, 16, 1024), (512, 32, 256))
CELLS: dict[str, Callable[[], Any]] = {"LSTM": cells.LSTM, "GRU": cells.GRU}
GATES = {"LSTM": 4, "GRU": 3}
#: How far outputs and gradients may be apart, relative to the largest number, by how products are rounded.
AGREE = {"float32": 1e-4, "tf32": 2e-2, "bf16": 1e-1}


def ours(cell: str, shape: tuple[int, int, int], products: str) -> dict[str, Competitor]:
    """Our layer: forward, and forward with all gradients."""
    H = shape[2]
    fused = Fused(CELLS[cell](), products=products)
    layer = Recurrent(fused, H, H, seed=1, device="cuda")
    x, dy = (to_device(a) for a in numbers(shape))
    synchronize = module_for("cuda").cuda.get_current_stream().synchronize

    def forward() -> Any:
        output, _ = layer(x)
        synchronize()
        return (output,)

    def training() -> Any:
        output, _ = layer(x)
        dx, _ = layer.backward(dy)
        synchronize()
        return (output, dx, layer.grads["layer0.W"], layer.grads["layer0.U"])

    return {"forward": Competitor(forward), "training": Competitor(training)}


def torchs(cell: str, shape: tuple[int, int, int], products: str) -> dict[str, Competitor]:
    """PyTorch's layer with the same weights."""
    import torch

    H = shape[2]
    module = getattr(torch.nn, cell)(H, H)
    weights = to_pytorch(Recurrent(CELLS[cell](), H, H, seed=1))
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
    kind = torch.bfloat16 if products == "bf16" else torch.float32
    module = module.to("cuda", kind)
    x, dy = (torch.from_numpy(a).to("cuda", kind) for a in numbers(shape))
    x.requires_grad_()

    def prepare() -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = products == "tf32"

    def forward() -> Any:
        with torch.no_grad():
            output = module(x)[0]
        torch.cuda.synchronize()
        return (output,)

    def training() -> Any:
        module.zero_grad(set_to_none=True)
        x.grad = None
        output = module(x)[0]
        output.backward(dy)
        torch.cuda.synchronize()
        return (output, x.grad)

    return {"forward": Competitor(forward, prepare), "training": Competitor(training, prepare)}


def numbers(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the input and the gradient of the output, (T, B, H) each."""
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    return x, dy


def check_agreement(mine: tuple[Any, ...], theirs: tuple[Any, ...], tolerance: float) -> None:
    """Raise AssertionError unless both gave the same; what is compared is outputs, and the gradient of x."""
    for one, other in zip(mine, theirs, strict=False):
        a, b = to_host(one), other.detach().float().cpu().numpy()
        gap, scale = float(np.abs(a - b).max()), float(np.abs(b).max())
        assert gap <= tolerance * scale, f"ours and PyTorch's differ by {gap:.1e} of {scale:.1e}"


def floor_seconds(cell: str, shape: tuple[int, int, int], rate: float) -> float:
    """Return the seconds that the products of a training step need: forward, and twice as much backward."""
    T, B, H = shape
    return 3 * 2 * T * B * GATES[cell] * H * 2 * H / rate


def product_rate(products: str, size: int = 8192) -> float:
    """Return the FLOP/s of a large product of this precision on this card."""
    from rnncore.kernels.blas import Blas

    xp = module_for("cuda")
    A, B, out = xp.ones((size, size), np.float32), xp.ones((size, size), np.float32), xp.empty((size, size), np.float32)
    blas, synchronize = Blas(products), xp.cuda.get_current_stream().synchronize

    def call() -> Any:
        blas.product(A, B, out)
        synchronize()

    return 2 * size**3 / statistics.median(take_turns({"product": Competitor(call)})["product"])


def measure(
    cell: str, shape: tuple[int, int, int], products: str, rate: float, torch: bool, **options: Any
) -> dict[str, Any]:
    """Return one row of the table: milliseconds of each, and the ratio to PyTorch's."""
    T, B, H = shape
    row: dict[str, Any] = {"cell": cell, "T": T, "B": B, "H": H, "products": products}
    sides: dict[str, Mapping[str, Competitor]] = {"ours": ours(cell, shape, products)}
    if torch:
        sides["torch"] = torchs(cell, shape, products)
        check_agreement(sides["ours"]["training"].first(), sides["torch"]["training"].first(), AGREE[products])
    for what in ("forward", "training"):
        for _ in range(3):  # so that graphs are captured before anything is timed
            sides["ours"][what].first()
        times = take_turns({name: side[what] for name, side in sides.items()}, **options)
        row[what] = {f"{name}_ms": statistics.median(each) * 1e3 for name, each in times.items()}
        if torch:
            pairs = zip(times["ours"], times["torch"], strict=True)
            row[what]["ratio"] = statistics.median(a / b for a, b in pairs)
    row["training"]["floor_ms"] = floor_seconds(cell, shape, rate) * 1e3
    return row


def card() -> dict[str, Any]:
    """Return the card's name, and the versions of driver and libraries."""
    cupy = module_for("cuda")
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return {
        "card": name,
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every row and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the record goes")
    parser.add_argument("--without-torch", action="store_true", help="leave PyTorch out")
    chosen = parser.parse_args(arguments)
    record = setting("benchmarks.gpu") | {"part": "gpu", "gpu": card(), "rows": []}
    if not chosen.without_torch:
        import torch

        record["gpu"] |= {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    record["rates"] = {products: product_rate(products) for products in AGREE}
    for shape in SHAPES:
        for cell in CELLS:
            for products in AGREE:
                row = measure(cell, shape, products, record["rates"][products], not chosen.without_torch)
                print(row, file=sys.stderr)
                record["rows"].append(row)
                save(chosen.json, record)  # what is measured stays, whatever comes


if __name__ == "__main__":
    main()

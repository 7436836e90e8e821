"""One layer, ours beside PyTorch's cuDNN and beside the floor, over shapes, cells and precisions.

'tf32' and 'bf16' round operands: ours on the way into float32 products, PyTorch's by `allow_tf32`, and by weights and
inputs in bfloat16. 'float32' turns TF32 off on both sides; PyTorch has it on by default. The floor is the products of
a training step alone, at the rate of one large product of the same precision on the same card, measured here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu.card import finish, finish_torch, round_products
from benchmarks.turns import Competitor, take_turns
from rnncore import Recurrent, cells, to_device, to_host
from rnncore.array import module_for
from rnncore.interop.pytorch import to_pytorch
from rnncore.kernels import Fused
from rnncore.kernels.persistent import MOST_SEQUENCES

Shape = tuple[int, int, int]
#: T, B, H; D is H.
SHAPES = ((34, 64, 256), (34, 256, 512), (100, 64, 512), (100, 64, 1024), (128, 16, 1024), (512, 32, 256))
CELLS: dict[str, Callable[[], Any]] = {"LSTM": cells.LSTM, "GRU": cells.GRU}
GATES = {"LSTM": 4, "GRU": 3}
#: How far outputs and gradients may be apart, relative to the largest number, by how products are rounded.
AGREE = {"float32": 1e-4, "tf32": 2e-2, "bf16": 1e-1}


def rows() -> Iterator[dict[str, Any]]:
    """Yield what names each row of the table."""
    for T, B, H in SHAPES:
        for cell in CELLS:
            for products in AGREE:
                yield {"cell": cell, "T": T, "B": B, "H": H, "products": products}


def measure(
    rates: Mapping[str, float], torch: bool, *, cell: str, T: int, B: int, H: int, products: str, **options: Any
) -> dict[str, Any]:
    """Return the figures of a row: milliseconds of each, and the ratio to PyTorch's.

    rates : FLOP/s of a large product, by precision (`product_rate`). options : of `benchmarks.turns.take_turns`.
    """
    shape, row = (T, B, H), {}
    sides = {"ours": ours(cell, shape, products)}
    if products == "float32" and B <= MOST_SEQUENCES:
        try:
            persistent = ours(cell, shape, products, persistent=True)
            persistent["forward"].first()
            sides["ours persistent"] = persistent
        except Exception as error:  # more units than the card holds; or it does not compile or run, and says so
            row["persistent"] = f"{type(error).__name__}: {error}"
    if torch:
        sides["torch"] = torchs(cell, shape, products)
    for name, side in sides.items():
        if name != "ours":
            check_agreement(sides["ours"]["training"].first(), side["training"].first(), AGREE[products])
    row |= {what: compare(sides, what, **options) for what in ("forward", "training")}
    row["training"]["floor_ms"] = floor_seconds(cell, shape, rates[products]) * 1e3
    return row


def compare(sides: Mapping[str, Mapping[str, Competitor]], what: str, **options: Any) -> dict[str, float]:
    """Return the milliseconds of a call of each side, and the ratio of ours to PyTorch's within a round."""
    for side in sides.values():
        for _ in range(3):  # so that graphs are captured before anything is timed
            side[what].first()
    times = take_turns({name: side[what] for name, side in sides.items()}, **options)
    found = {f"{name}_ms": statistics.median(each) * 1e3 for name, each in times.items()}
    if "torch" in times:
        found["ratio"] = statistics.median(a / b for a, b in zip(times["ours"], times["torch"], strict=True))
    return found


def ours(cell: str, shape: Shape, products: str, persistent: bool = False) -> dict[str, Competitor]:
    """Our layer: forward, and forward with all gradients."""
    H = shape[2]
    fused = Fused(CELLS[cell](), products=products, persistent=persistent)
    return competitors(Recurrent(fused, H, H, seed=1, device="cuda"), shape, "cuda")


def competitors(layer: Recurrent, shape: Shape, device: str) -> dict[str, Competitor]:
    """Any layer of ours in a training pass and, for `training`, all its gradients."""
    x, dy = (to_device(a) if device == "cuda" else a for a in numbers(shape))

    def forward() -> Any:
        output, _ = layer(x)
        finish(device)
        return (output,)

    def training() -> Any:
        output, _ = layer(x)
        dx, _ = layer.backward(dy)
        finish(device)
        return (output, dx, layer.grads["layer0.W"], layer.grads["layer0.U"])

    return {"forward": Competitor(forward), "training": Competitor(training)}


def torchs(cell: str, shape: Shape, products: str) -> dict[str, Competitor]:
    """PyTorch's layer with the same weights."""
    import torch

    H = shape[2]
    module = getattr(torch.nn, cell)(H, H)
    weights = to_pytorch(Recurrent(CELLS[cell](), H, H, seed=1))
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
    kind = torch.bfloat16 if products == "bf16" else torch.float32
    return torch_competitors(module.to("cuda", kind), shape, products, "cuda", kind)


def torch_competitors(module: Any, shape: Shape, products: str, device: str, kind: Any) -> dict[str, Competitor]:
    """A module of PyTorch, whose output comes first, forward alone, and with all gradients."""
    import torch

    x, dy = (torch.from_numpy(a).to(device, kind) for a in numbers(shape))
    x.requires_grad_()

    def forward() -> Any:
        with torch.no_grad():
            output = module(x)[0]
        finish_torch(device)
        return (output,)

    def training() -> Any:
        module.zero_grad(set_to_none=True)
        x.grad = None
        output = module(x)[0]
        output.backward(dy)
        finish_torch(device)
        return (output, x.grad)

    prepare = lambda: round_products(products)  # noqa: E731
    return {"forward": Competitor(forward, prepare), "training": Competitor(training, prepare)}


def numbers(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Return the input and the gradient of the output, (T, B, H) each."""
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    return x, dy


def check_agreement(mine: tuple[Any, ...], theirs: tuple[Any, ...], tolerance: float) -> None:
    """Raise AssertionError unless both gave the same outputs and the same gradients, as far as both have them."""
    for one, other in zip(mine, theirs, strict=False):
        a, b = _on_host(one), _on_host(other)
        gap, scale = float(np.abs(a - b).max()), float(np.abs(b).max())
        if not gap <= tolerance * scale:
            raise AssertionError(f"the competitors differ by {gap:.1e} of {scale:.1e}")


def _on_host(x: Any) -> np.ndarray:
    return np.asarray(x.detach().float().cpu().numpy() if hasattr(x, "detach") else to_host(x))


def floor_seconds(cell: str, shape: Shape, rate: float) -> float:
    """Return the seconds that the products of a training step need: forward, and twice as much backward."""
    T, B, H = shape
    return 3 * 2 * T * B * GATES[cell] * H * 2 * H / rate


def product_rate(products: str, size: int = 8192) -> float:
    """Return the FLOP/s of a large product of this precision on this card."""
    from rnncore.kernels.blas import Blas

    xp = module_for("cuda")
    A, B, out = xp.ones((size, size), np.float32), xp.ones((size, size), np.float32), xp.empty((size, size), np.float32)
    blas = Blas(products)

    def call() -> Any:
        blas.product(A, B, out)
        finish("cuda")

    return 2 * size**3 / statistics.median(take_turns({"product": Competitor(call)})["product"])

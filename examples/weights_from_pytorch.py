"""Bring an LSTM from PyTorch, hold it to what PyTorch computed, look inside it, and take it on to ONNX Runtime.

    python examples/weights_from_pytorch.py

PyTorch is not needed: the weights, the input and PyTorch's own output and gradients lie in a small file that it made
(tests/rnncore/golden/make_golden.py). With a model of your own, `state` is its `state_dict()`, or what
`safetensors.numpy.load_file` returns; see `read` for that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from rnncore import Recurrent, load, save
from rnncore.interop import Bundle, from_pytorch, to_onnx, to_pytorch

ROOT = Path(__file__).resolve().parents[1]
#: T, B, D, H, layers, directions of what lies in the file.
T, B, D, H, L, R = 4, 3, 2, 3, 2, 2

Arrays = dict[str, Any]


def shapes() -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The file holds two flat vectors; these are the arrays in them, in their order."""
    weights: dict[str, tuple[int, ...]] = {}
    for layer in range(L):
        for way in ("", "_reverse"):
            size = R * H if layer else D
            weights[f"weight_ih_l{layer}{way}"] = (4 * H, size)
            weights[f"weight_hh_l{layer}{way}"] = (4 * H, H)
            weights[f"bias_ih_l{layer}{way}"] = weights[f"bias_hh_l{layer}{way}"] = (4 * H,)
    output, state = (T, B, R * H), (L * R, B, H)
    given = {**weights, "x": (T, B, D), "h0": state, "c0": state, "doutput": output, "dh": state, "dc": state}
    theirs = {"output": output, "h": state, "c": state, "dx": (T, B, D), "dh0": state, "dc0": state}
    return given, theirs | {f"d {name}": shape for name, shape in weights.items()}


def cut(flat: np.ndarray, wanted: dict[str, tuple[int, ...]]) -> Arrays:
    """Return the arrays that lie end to end in `flat`."""
    ends = np.cumsum([int(np.prod(shape)) for shape in wanted.values()])
    parts = np.split(flat, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(wanted.items(), parts, strict=True)}


def read(file: Path) -> tuple[Arrays, Arrays]:
    """What PyTorch was given and what it computed."""
    given, theirs = shapes()
    with np.load(file, allow_pickle=False) as stored:
        return cut(stored["LSTM.2.2 problem"], given), cut(stored["LSTM.2.2.full.float64"], theirs)


def compare(lstm: Recurrent, given: Arrays, theirs: Arrays) -> float:
    """Forward and backward here; print and return the largest difference from PyTorch."""
    output, (h, c) = lstm(given["x"], (given["h0"], given["c0"]))
    dx, (dh0, dc0) = lstm.backward(given["doutput"], (given["dh"], given["dc"]))
    ours = {"output": output, "h": h, "c": c, "dx": dx, "dh0": dh0, "dc0": dc0}
    grads = to_pytorch(Bundle("LSTM", dict(lstm.grads)))  # the gradients, too, under PyTorch's names
    ours |= {f"d {name}": grad for name, grad in grads.items() if not name.startswith("bias_hh")}
    worst = max(float(np.abs(value - theirs[name]).max()) for name, value in ours.items())
    print(f"{len(ours)} arrays, outputs, states and gradients, differ from PyTorch's by {worst:.1e} at most")
    return worst


def look_inside(lstm: Recurrent) -> None:
    """What PyTorch does not show: the gates and the memory at every step, and the gradients that reached them."""
    for layer, lanes in enumerate(lstm.traces):
        for way, trace in zip(("forward", "reverse"), lanes, strict=True):
            forget, reached = trace["forget"].mean((1, 2)), np.abs(trace.gradient("forget")).mean((1, 2))
            print(f"layer {layer} {way}: forget gate {forget.round(2)}, its gradient {reached.round(3)}")


def take_on(lstm: Recurrent, given: Arrays, folder: Path) -> float:
    """Save, load, export, run in ONNX Runtime; print and return the largest difference."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "lstm.safetensors", lstm, about={"from": "PyTorch"})
    narrow = load(folder / "lstm.safetensors").astype("float32")
    to_onnx(narrow, folder / "lstm.onnx", state=True)
    session = onnxruntime.InferenceSession(str(folder / "lstm.onnx"), providers=["CPUExecutionProvider"])
    feed = {name: given[name].astype("float32") for name in ("x", "h0", "c0")}
    theirs, *_ = session.run(None, feed)
    ours, _ = narrow.layer()(feed["x"], (feed["h0"], feed["c0"]))
    worst = float(np.abs(theirs - ours).max())
    print(f"{folder / 'lstm.onnx'} in ONNX Runtime differs by {worst:.1e} at most")
    return worst


def main() -> int:
    """Run as the command line says, and return 0 if all agrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, default=ROOT / "tests/rnncore/golden/torch.npz")
    parser.add_argument("--folder", type=Path, default=Path("runs/from-pytorch"), help="for the files that are written")
    options = parser.parse_args()
    given, theirs = read(options.golden)
    state = {name: value for name, value in given.items() if name.startswith(("weight", "bias"))}
    lstm = from_pytorch(state).layer()  # for a part of a larger model: from_pytorch(state, prefix="encoder.lstm.")
    print(lstm)
    close = compare(lstm, given, theirs) < 1e-10
    look_inside(lstm)
    return 0 if take_on(lstm, given, options.folder) < 1e-5 and close else 1


if __name__ == "__main__":
    sys.exit(main())

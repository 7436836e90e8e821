"""What is compared with PyTorch and Keras: the cases, problems for them, and how both lie in the golden files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
T, B, D, H = 4, 3, 2, 3
P = 2  # rows of h in an LSTM with projection
LENGTHS = (4, 1, 3)
Arrays = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """One layer to build and run. `lengths` is whether the sequences have LENGTHS, else all T steps are real."""

    kind: str
    layers: int
    directions: int
    lengths: bool
    dtype: str

    @property
    def problem_name(self) -> str:
        """Cases that differ in lengths and precision alone share their problem."""
        return f"{self.kind}.{self.layers}.{self.directions}"

    def __str__(self) -> str:
        return f"{self.problem_name}.{'lengths' if self.lengths else 'full'}.{self.dtype}"

    @property
    def gates(self) -> int:
        return {"LSTM": 4, "LSTM-projection": 4, "RNN": 1}.get(self.kind, 3)

    @property
    def output(self) -> int:
        """The rows of h."""
        return P if self.kind == "LSTM-projection" else H

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.kind.startswith("LSTM") else ("h",)

    @property
    def state_shapes(self) -> Shapes:
        return {s: (self.layers * self.directions, B, self.output if s == "h" else H) for s in self.states}

    @property
    def steps(self) -> tuple[int, ...]:
        return LENGTHS if self.lengths else (T,) * B

    @property
    def real(self) -> Any:
        """(T, B, 1): 1 where there is a real step, else 0."""
        return (np.arange(T)[:, None] < np.array(self.steps))[..., None].astype(self.dtype)

    def torch_weights(self) -> Shapes:
        """The names and shapes of a PyTorch `state_dict`, in its order."""
        shapes: Shapes = {}
        for k, way in product(range(self.layers), ("", "_reverse")[: self.directions]):
            rows, size, out = self.gates * H, self.directions * self.output if k else D, self.output
            ours: Shapes = {"weight_ih": (rows, size), "weight_hh": (rows, out), "bias_ih": (rows,), "bias_hh": (rows,)}
            ours |= {"weight_hr": (P, H)} if self.kind == "LSTM-projection" else {}
            shapes |= {f"{name}_l{k}{way}": shape for name, shape in ours.items()}
        return shapes

    def keras_weights(self) -> Shapes:
        """The shapes that Keras's `get_weights` lists, named `{layer}.{place in its list}`."""
        shapes: Shapes = {}
        for k in range(self.layers):
            columns, size = self.gates * H, self.directions * H if k else D
            bias = (2, columns) if self.kind == "GRU" else (columns,)
            each: list[tuple[int, ...]] = [(size, columns), (H, columns), bias]
            shapes |= {f"{k}.{n}": shape for n, shape in enumerate(each * self.directions)}
        return shapes

    def problem(self, weights: Shapes) -> Shapes:
        """The weights, then x, the initial states, and the gradients of the output and of the last states."""
        shapes = {**weights, "x": (T, B, D), **{f"{s}0": shape for s, shape in self.state_shapes.items()}}
        dlast = {f"d{s}": shape for s, shape in self.state_shapes.items()}
        return shapes | {"doutput": (T, B, self.directions * self.output), **dlast}

    def result(self, weights: Shapes) -> Shapes:
        """The output, the last states, the gradients of x, of the initial states and of every weight."""
        shapes: Shapes = {"output": (T, B, self.directions * self.output), **self.state_shapes}
        shapes |= {"dx": (T, B, D), **{f"d{s}0": shape for s, shape in self.state_shapes.items()}}
        return shapes | {f"d {name}": shape for name, shape in weights.items()}

    def draw(self, weights: Shapes, seed: int) -> Arrays:
        """A random problem, of a size that saturates no gate."""
        rng = np.random.default_rng(seed)
        return {n: rng.normal(0, 0.6, shape).astype(self.dtype) for n, shape in self.problem(weights).items()}


def every(kinds: Iterable[str], layers: Iterable[int]) -> list[Case]:
    """All cases of the given kinds and numbers of layers."""
    options = product(kinds, layers, (1, 2), (False, True), ("float64", "float32"))
    return [Case(kind, k, d, lengths, dtype) for kind, k, d, lengths, dtype in options]


TORCH = every(("RNN", "LSTM", "GRU", "LSTM-projection"), (1, 2, 3))
#: Keras multiplies float64 matrices in float32, unless it runs on TensorFlow (keras/src/backend/common/dtypes.py); only
#: its LSTM and GRU without a mask, which it hands to PyTorch whole, are float64 throughout.
KERAS = [
    case
    for case in every(("RNN", "LSTM", "GRU", "GRU-before"), (1, 2))
    if case.dtype == "float32" or (case.kind in ("LSTM", "GRU") and not case.lengths)
]


def flatten(arrays: Mapping[str, Any], shapes: Shapes) -> Any:
    """The arrays end to end: hundreds of small members would make a zip file several times larger."""
    assert {name: a.shape for name, a in arrays.items()} == shapes
    return np.concatenate([arrays[name].ravel() for name in shapes])


def unflatten(flat: Any, shapes: Shapes, dtype: str) -> Arrays:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    assert len(flat) == ends[-1]
    parts = np.split(flat, ends[:-1])
    return {name: p.reshape(s).astype(dtype) for (name, s), p in zip(shapes.items(), parts, strict=True)}


def golden(file: str, case: Case, weights: Shapes) -> tuple[Arrays, Arrays]:
    """The problem of a case, and what the other library made of it."""
    with np.load(FOLDER / file, allow_pickle=False) as stored:
        problem, result = stored[f"{case.problem_name} problem"], stored[str(case)]
    return unflatten(problem, case.problem(weights), case.dtype), unflatten(result, case.result(weights), case.dtype)

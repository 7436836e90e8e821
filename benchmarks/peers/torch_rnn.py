"""PyTorch's `nn.LSTM` and `nn.GRU`, at the settings that are best for the work: threads, oneDNN on or off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from benchmarks.peers.problem import Problem
from benchmarks.turns import Competitor, fastest
from rnncore.machine import usable_cores


def training(problem: Problem) -> dict[str, Competitor]:
    """Forward, backward, the gradients of all weights and of x; with mixed lengths packed and padded."""
    if not problem.mixed:
        return {"torch": tuned(dense(problem, problem.x, problem.dy))}
    packing = problem.packing
    rows = [torch.from_numpy(packing.pack(a)) for a in (problem.x, problem.dy)]
    sizes = torch.tensor(packing.batch_sizes)
    real = torch.from_numpy(packing.unpack(packing.pack(problem.x)[:, :1] * 0 + 1))
    dy = (torch.from_numpy(problem.dy) * real).numpy()
    return {
        "torch packed": tuned(_packed(problem, rows[0], rows[1], sizes)),
        "torch padded": tuned(dense(problem, problem.x, dy)),
    }


def forward(problem: Problem) -> dict[str, Competitor]:
    """Forward alone, in inference mode."""
    module, x = recurrent(problem), torch.from_numpy(problem.x)

    def call() -> Any:
        with torch.inference_mode():
            return (module(x)[0],)

    return {"torch": tuned(call)}


def step(problem: Problem) -> dict[str, Competitor]:
    """One step of a stream: the layer over a sequence of one step, PyTorch's own single cell, the layer as installed.

    What PyTorch does by default, all threads and oneDNN, is several times slower here than one thread without it.
    """
    module, x = recurrent(problem), torch.from_numpy(problem.x)
    cell = getattr(nn, f"{problem.cell}Cell")(problem.D, problem.H)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    state: list[Any] = [None, None]

    def layer() -> Any:
        with torch.inference_mode():
            output, state[0] = module(x, state[0])
            return (output[0],)

    def single() -> Any:
        with torch.inference_mode():
            state[1] = cell(x[0], state[1])
            return (state[1][0] if problem.cell == "LSTM" else state[1],)

    def reset() -> None:
        state[:] = None, None

    cores = usable_cores()
    untuned = Competitor(layer, partial(use, cores, True, reset), {"threads": cores, "onednn": True})
    return {"torch": tuned(layer, reset), "torch cell": tuned(single, reset), "torch untuned": untuned}


def recurrent(problem: Problem) -> nn.RNNBase:
    """The layer with the problem's weights."""
    module: nn.RNNBase = getattr(nn, problem.cell)(problem.D, problem.H)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in problem.torch_weights.items()})
    return module


def tuned(call: Callable[[], Any], reset: Callable[[], None] | None = None) -> Competitor:
    """Return the work at the quickest of its settings: one thread or all, oneDNN's fused kernels or PyTorch's own."""
    variants: dict[str, Competitor] = {}
    for threads, onednn in product(sorted({1, usable_cores()}), (True, False)):
        settings: Mapping[str, Any] = {"threads": threads, "onednn": onednn}
        variants[str(settings)] = Competitor(call, partial(use, threads, onednn, reset), settings)
    return fastest(variants)


def use(threads: int, onednn: bool, reset: Callable[[], None] | None = None) -> None:
    """Set what PyTorch computes with from now on, and where a stream begins."""
    torch.set_num_threads(threads)
    torch.backends.mkldnn.set_flags(onednn)
    if reset is not None:
        reset()


def dense(problem: Problem, x: Any, dy: Any) -> Callable[[], Any]:
    """Return the training step over sequences of one length, or padded ones."""
    module = recurrent(problem)
    inputs, gradient = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

    def call() -> Any:
        _forget(module, inputs)
        output = module(inputs)[0]
        output.backward(gradient)
        return output.detach(), inputs.grad

    return call


def _packed(problem: Problem, rows: torch.Tensor, gradient: torch.Tensor, sizes: torch.Tensor) -> Callable[[], Any]:
    module = recurrent(problem)
    rows.requires_grad_()

    def call() -> Any:
        _forget(module, rows)
        output = module(PackedSequence(rows, sizes))[0].data
        output.backward(gradient)
        return output.detach(), rows.grad

    return call


def _forget(module: nn.Module, x: torch.Tensor) -> None:
    module.zero_grad(set_to_none=True)
    x.grad = None

"""The cases run by PyTorch and by Keras themselves: what the golden files hold, and what the live tests compare with.

Neither library is imported before it is asked for.
"""

import os
from typing import Any

import numpy as np

from tests.rnncore.golden.cases import Arrays, Case, D, H, P, T


def run_torch(case: Case, problem: Arrays) -> Arrays:
    """Forward and backward of nn.RNN, nn.LSTM (with a projection too) or nn.GRU."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    kind = {"RNN": torch.nn.RNN, "GRU": torch.nn.GRU}.get(case.kind, torch.nn.LSTM)
    options = {"proj_size": P} if case.kind == "LSTM-projection" else {}
    options |= {"num_layers": case.layers, "bidirectional": case.directions == 2, "dtype": getattr(torch, case.dtype)}
    module = kind(D, H, **options)
    names = list(module.state_dict())
    assert names == list(case.torch_weights())
    module.load_state_dict({name: torch.from_numpy(problem[name]) for name in names})

    x = torch.from_numpy(problem["x"]).requires_grad_()
    initial = [torch.from_numpy(problem[f"{s}0"]).requires_grad_() for s in case.states]
    given = pack_padded_sequence(x, torch.tensor(case.steps), enforce_sorted=False) if case.lengths else x
    output, last = module(given, tuple(initial) if len(initial) > 1 else initial[0])
    last = last if isinstance(last, tuple) else (last,)
    if case.lengths:
        output, _ = pad_packed_sequence(output, total_length=T)
    loss = (output * torch.from_numpy(problem["doutput"])).sum()
    loss = loss + sum((s * torch.from_numpy(problem[f"d{n}"])).sum() for n, s in zip(case.states, last, strict=True))
    loss.backward()
    result = {"output": output, **dict(zip(case.states, last, strict=True)), "dx": x.grad}
    result |= {f"d{n}0": s.grad for n, s in zip(case.states, initial, strict=True)}
    result |= {f"d {name}": p.grad for name, p in module.named_parameters()}
    return {name: value.detach().numpy() for name, value in result.items()}


def run_keras(case: Case, problem: Arrays) -> Arrays:
    """Forward and backward of a stack of keras.layers.LSTM and its kin, on Keras's torch backend."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import torch

    layers = _keras_layers(case, problem)
    x = torch.from_numpy(problem["x"]).requires_grad_()
    initial = [torch.from_numpy(problem[f"{s}0"]).requires_grad_() for s in case.states]
    real = torch.from_numpy(case.real)
    mask = real[..., 0].T.bool() if case.lengths else None
    rows, last = x.transpose(0, 1), []
    for k, layer in enumerate(layers):
        lanes = range(k * case.directions, (k + 1) * case.directions)
        rows, *state = layer(rows, mask=mask, initial_state=[s[lane] for lane in lanes for s in initial])
        last += state
    output = rows.transpose(0, 1) * real  # Keras repeats the last output in the padding
    n = len(case.states)
    final = {s: torch.stack(last[k::n]) for k, s in enumerate(case.states)}
    loss = (output * torch.from_numpy(problem["doutput"])).sum()
    (loss + sum((final[s] * torch.from_numpy(problem[f"d{s}"])).sum() for s in case.states)).backward()
    result = {"output": output, **final, "dx": x.grad}
    result |= {f"d{s}0": a.grad for s, a in zip(case.states, initial, strict=True)}
    for k, layer in enumerate(layers):
        result |= {f"d {k}.{n}": v.value.grad for n, v in enumerate(layer.trainable_variables)}
    return {name: value.detach().numpy() for name, value in result.items()}


def _keras_layers(case: Case, problem: Arrays) -> list[Any]:
    import keras

    options: dict[str, Any] = {"return_sequences": True, "return_state": True, "dtype": case.dtype}
    if case.kind.startswith("GRU"):
        options["reset_after"] = case.kind == "GRU"
    kind = {"RNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM}.get(case.kind, keras.layers.GRU)
    made = []
    for k in range(case.layers):
        layer = kind(H, **options)
        if case.directions == 2:
            layer = keras.layers.Bidirectional(layer, dtype=case.dtype)
        size = case.directions * H if k else D
        layer.build((None, T, size))
        layer.set_weights([problem[name] for name in case.keras_weights() if name.startswith(f"{k}.")])
        assert [np.shape(w) for w in layer.get_weights()] == [
            s for name, s in case.keras_weights().items() if name.startswith(f"{k}.")
        ]
        made.append(layer)
    return made

"""A person's own script, every public name in it, for a strict type checker; tests/test_types.py has it checked.

Lines that end in `# refused` are mistakes that a type checker must see.
"""

from pathlib import Path
from typing import assert_type

import numpy as np

import rnncore
from rnncore import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Adam,
    AdamW,
    Dropout,
    Embedding,
    GradientError,
    Linear,
    NonFiniteLoss,
    Packing,
    Params,
    Recomputed,
    Recurrent,
    Regulariser,
    Stepper,
    Trace,
    Truncated,
    backward,
    check_cell,
    check_finite,
    check_function,
    clip_global_norm,
    forward,
    load,
    save,
    softmax_cross_entropy,
    to_device,
    to_host,
)
from rnncore.cells import CELLS, Cell
from rnncore.cells import LSTM as LSTMCell
from rnncore.interop import Bundle, from_keras, from_onnx, from_pytorch, to_keras, to_onnx, to_pytorch
from rnncore.params import uniform
from rnncore.schedules import Cosine


def layers() -> None:
    x = np.zeros((7, 2, 5), np.float32)
    lstm = LSTM(5, 4, layers=2, bidirectional=True, dropout=0.1, zoneout={"c": 0.5}, initialisers=uniform(0.5), seed=1)
    gru: Recurrent = GRU(5, 4, reset_after=False, dtype="float64", projection=3)  # refused
    rnn = RNN(5, 4, batch_first=True, num_layers=2)  # refused
    deep = LSTM("5", 4)  # refused
    print(gru, rnn, deep)
    output, (h, c) = lstm(x, lengths=[7, 3])
    output, state = lstm(x, (h, c), np.array([7, 3]))
    dx, dstate = lstm.backward(output, (h, None), keep_state_gradients=True)
    assert_type(lstm.trace, Trace)
    print(dx, dstate, state, lstm.trace["forget"], lstm.trace.gradient("c"))
    live = lstm.stepper(batch=2)
    print(live.step(x[0]), live.state)
    for where, out in Truncated(lstm).chunks(x, steps=3):
        assert_type(where, slice)
        print(out)
    Recomputed(lstm)(x)


def training(lstm: LSTM) -> None:
    AdamW(lstm.params, 1e-3, decay=0.01).step(lstm.grads)
    Adam(lstm.params, learning_rate="fast").step(lstm.grads)  # refused
    SGD(lstm.params, 0.1, momentum=0.9).step(lstm.grads.flat)
    assert_type(clip_global_norm(lstm.grads, 1.0), float)
    loss, dlogits = softmax_cross_entropy(np.zeros((3, 4), np.float32), np.array([0, 1, 2]))
    assert_type(loss, float)
    try:
        check_finite(0, loss, lstm.grads)
    except NonFiniteLoss as error:
        print(error, dlogits, Cosine(10).rate(1.0, 3))


def engine(x: "np.ndarray") -> None:
    try:
        print(check_cell(LSTMCell).error, check_cell(CELLS["GRU"](), sizes=(3, 2, 4, 5)).name)
        check_function(lambda: 0.0, {"x": x}, {"x": x})
    except GradientError:
        raise
    cell: Cell = CELLS["GRU"]()
    p = Params({"W": (2, 3)}).initialise({"W": uniform(0.1)}, 0)
    p["W"] = np.zeros((2, 3))
    trace = forward(cell, p, x, None, Packing([7, 3], 7), regulariser=Regulariser({"h": 0.1}).seeded(3))
    gradients = backward(cell, p, trace, x)
    print(gradients.x, gradients.params, gradients.initial, Stepper(cell, p, 2).step(x[0]))
    print(Linear(5, 4).forward(p, x), Embedding(5, 4).forward(p, x), Dropout(0.5, seed=1).forward(x))


def files(lstm: LSTM) -> None:
    save("lstm.safetensors", lstm, about={"corpus": "Flickr8k"})
    bundle: Bundle = load(Path("lstm.safetensors"))
    assert_type(bundle.layer(), Recurrent)
    print(from_pytorch(to_pytorch(lstm)), from_keras(to_keras(lstm)), from_onnx(to_onnx(lstm)))
    print(to_host(to_device(lstm.params.flat)), rnncore.__all__)

"""A loss or a gradient that is not finite stops training, and the message says where."""

import re

import numpy as np
import pytest

from rnncore import LSTM
from rnncore.finite import check_finite
from rnncore.losses import NonFiniteLoss


def layer() -> LSTM:
    lstm = LSTM(3, 4, layers=2, bidirectional=True)
    lstm.grads.flat[...] = 1
    return lstm


def test_what_is_finite_passes_even_where_squares_overflow() -> None:
    lstm = layer()
    lstm.grads.flat[...] = 3e38
    check_finite(0, -1e300, lstm.grads)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_layer_the_parameter_and_the_norms_are_named(value: float) -> None:
    lstm = layer()
    lstm.grads["layer0.reverse.U"][2, 1] = value
    lstm.grads["layer0.reverse.b"][:2] = value
    text = re.escape("step 17: the loss is 0.5, and the gradient is not finite in layer0.reverse; norms: ")
    with pytest.raises(NonFiniteLoss, match=text) as caught:
        check_finite(17, 0.5, lstm.grads)
    words = str(caught.value)
    assert re.search(r"layer0.reverse.U (nan|inf) \(1 of 64 numbers\), layer0.reverse.b \w+ \(2 of 16 numbers\)", words)
    assert "layer0.W 6.93," in words
    assert words.endswith("look for NaN in the inputs, lower the learning rate, or clip the gradient's norm")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_training_though_the_gradient_is(value: float) -> None:
    with pytest.raises(NonFiniteLoss, match=rf"step 3: the loss is {value}, and the gradient is finite; norms: layer0"):
        check_finite(3, value, layer().grads)

"""The latch says what was there when the mark was last set, and cells with gates learn it."""

import numpy as np
import pytest

from rnncore.cells import find_cell
from rnncore.study.latch import latch_batch, latch_run, learn_latch


def test_what_is_wanted_is_the_value_at_the_last_mark() -> None:
    x, wanted = latch_batch(np.random.default_rng(3), 30, 5)
    assert x.dtype == wanted.dtype == np.float32
    for b in range(5):
        kept = None
        for t in range(30):
            kept = x[t, b, 0] if x[t, b, 1] else kept
            assert wanted[t, b, 0] == kept
    assert 0.1 < x[1:, :, 1].mean() < 0.3


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_it_is_learned_and_equal_seeds_give_equal_networks(cell: str) -> None:
    first, second = (learn_latch(find_cell(cell), steps=250, seed=1) for _ in range(2))
    assert first.error == second.error
    assert first.error < 0.05 < 1 / 3  # the variance of what is wanted
    np.testing.assert_array_equal(first.layer.params.flat, second.layer.params.flat)
    run = latch_run(first, steps=12)
    assert run["h"].shape == (12, 1, 6)

"""Operations, bytes and parameters against counts by hand, and against what is really computed."""

import pytest

from benchmarks.count import cost, parameters, units_for
from rnncore import GRU, LSTM, RNN
from rnncore.cells import CELLS, find_cell


def test_an_lstm_by_hand() -> None:
    # D = 3, H = 2: W (8, 3), U (8, 2), b (8,); 5 rows. (8, 3) times a row: 24 multiplications and additions.
    counted = cost("LSTM", 5, 3, 2)
    assert counted.parameters == 24 + 16 + 8
    assert counted.forward == 5 * (2 * 24 + 2 * 16)
    assert counted.training == 3 * counted.forward
    assert counted.elements == 5 * 2 * 17
    # x, x again, dx: 3 · 5 · 3; parameters thrice; 4 gates, h, c, tanh c kept and 4 gradients, each twice.
    kept = 2 * (4 + 2 + len(find_cell("LSTM").saved) + 4)
    assert counted.bytes == 4 * (3 * 5 * 3 + 3 * 48 + 2 * 5 * kept)


def test_both_grus_by_hand() -> None:
    after, before = cost("GRU", 5, 3, 2), cost("GRU-before", 5, 3, 2)
    assert (after.parameters, before.parameters) == (18 + 12 + 6 + 6, 18 + 12 + 6)
    assert after.forward == before.forward == 5 * 2 * (18 + 12)
    assert after.elements == 5 * 2 * 16
    assert before.elements == 5 * 2 * 13


@pytest.mark.parametrize(("layer", "name"), [(LSTM(7, 5), "LSTM"), (GRU(7, 5), "GRU"), (RNN(7, 5), "RNN")])
def test_parameters_are_those_of_the_layer(layer: LSTM | GRU | RNN, name: str) -> None:
    assert cost(name, 1, 7, 5).parameters == layer.params.size


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_can_be_counted(name: str) -> None:
    small, twice = cost(name, 10, 6, 4), cost(name, 20, 6, 4)
    assert small.parameters == twice.parameters == parameters(find_cell(name), 6, 4)
    assert twice.forward == 2 * small.forward > 0
    assert small.bytes < twice.bytes < 2 * small.bytes


def test_in_products_a_gru_is_three_quarters_of_an_lstm() -> None:
    assert cost("GRU", 9, 64, 64).training / cost("LSTM", 9, 64, 64).training == 0.75


def test_units_for_equal_parameters() -> None:
    wanted = parameters(find_cell("LSTM"), 256, 256)
    H = units_for("GRU", wanted)
    assert abs(parameters(find_cell("GRU"), H, H) - wanted) <= abs(parameters(find_cell("GRU"), H + 1, H + 1) - wanted)
    assert abs(parameters(find_cell("GRU"), H, H) - wanted) <= abs(parameters(find_cell("GRU"), H - 1, H - 1) - wanted)
    assert units_for("LSTM", wanted) == 256
    assert units_for("LSTM", parameters(find_cell("LSTM"), 100, 40), D=100) == 40
    assert units_for("LSTM", 1) == 1

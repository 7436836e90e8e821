"""Bundles: what is held against what, and the layers they become."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import GRU, LSTM, RNN, Recurrent
from rnncore.cells import CELLS, LSTMP, GreffLSTM
from rnncore.cells import LSTM as LSTMCell
from rnncore.interop import Bundle, load, save, to_keras, to_pytorch
from rnncore.interop.bundle import cell_name, permute


class Own(LSTMCell):
    """A user's own cell."""


def arrays(layer: Recurrent) -> dict[str, Any]:
    return {name: a.copy() for name, a in layer.params.items()}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_a_layer_of_any_cell_comes_back(name: str, layers: int, bidirectional: bool) -> None:
    layer = Recurrent(CELLS[name](), 3, 4, layers=layers, bidirectional=bidirectional, seed=3, dtype=np.float64)
    bundle = Bundle.of(layer)
    got = (bundle.cell, bundle.input_size, bundle.hidden_size, bundle.layers, bundle.directions, bundle.dtype)
    assert got == (name, 3, 4, layers, 1 + bidirectional, np.float64)
    again = bundle.layer()
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    assert not np.shares_memory(again.params.flat, layer.params.flat)


def test_a_bundle_is_a_copy_and_so_is_its_layer() -> None:
    layer = LSTM(3, 4)
    bundle = Bundle.of(layer)
    made = bundle.layer()
    layer.params.flat[...] = 7
    made.params.flat[...] = 8
    assert float(np.abs(bundle.params["layer0.W"]).max()) < 7
    assert Bundle.of(bundle) is bundle


def test_options_go_to_the_layer() -> None:
    made = Bundle.of(GRU(3, 4, layers=2)).layer(batch_first=True, dropout=0.5)
    assert made(np.zeros((2, 5, 3), np.float32))[0].shape == (2, 5, 4)


def test_other_precisions() -> None:
    wide = Bundle.of(RNN(3, 4)).astype(np.float64)
    assert wide.dtype == wide.layer().params.flat.dtype == np.float64


def test_a_users_own_cell_is_given_and_never_imported() -> None:
    layer = Recurrent(Own(), 3, 4)
    bundle = Bundle.of(layer)
    assert bundle.cell == f"{__name__}:Own"
    with pytest.raises(ValueError, match=r"weights of .*:Own; give the cell itself: layer\(cell=MyCell\(\)\)"):
        bundle.layer()
    with pytest.raises(ValueError, match=r"weights of .*:Own, got the cell LSTM"):
        bundle.layer(LSTMCell())
    with pytest.raises(ValueError, match=r"sizes of .*Own are not known"):
        _ = bundle.hidden_size
    np.testing.assert_array_equal(bundle.layer(Own()).params.flat, layer.params.flat)


def test_what_does_not_fit_is_named() -> None:
    given = arrays(LSTM(3, 4, layers=2))

    def without(name: str) -> dict[str, Any]:
        return {n: a for n, a in given.items() if n != name}

    with pytest.raises(ValueError, match=r"expected layer1.U \(16, 4\), got none"):
        Bundle("LSTM", without("layer1.U"))
    with pytest.raises(ValueError, match=r"layer0.W is missing"):
        Bundle("LSTM", without("layer0.W"))
    with pytest.raises(ValueError, match=r"expected layer0.b_U not to be there, got \(12,\)"):
        Bundle("LSTM", given | {"layer0.b_U": np.zeros(12, np.float32)})
    with pytest.raises(ValueError, match=r"expected layer0.b \(16,\), got \(12,\)"):
        Bundle("LSTM", given | {"layer0.b": np.zeros(12, np.float32)})
    with pytest.raises(ValueError, match=r"expected names such as layer0.W and layer0.reverse.W, got 'W'"):
        Bundle("LSTM", given | {"W": np.zeros(12, np.float32)})
    with pytest.raises(ValueError, match="as many directions in every layer"):
        Bundle("LSTM", given | {"layer0.reverse.W": given["layer0.W"]})
    with pytest.raises(ValueError, match="layers are numbered from 0"):
        Bundle("LSTM", {name.replace("layer1", "layer2"): a for name, a in given.items()})
    with pytest.raises(TypeError, match="all float32 or all float64, got float32, float64"):
        Bundle("LSTM", given | {"layer1.b": np.zeros(16)})
    with pytest.raises(TypeError, match="got int64"):
        Bundle("LSTM", {name: a.astype(np.int64) for name, a in given.items()})


def test_blocks_are_moved_by_their_names() -> None:
    moved = permute(np.arange(6), ["a", "b", "c"], ["c", "a", "b"])
    assert moved.tolist() == [4, 5, 0, 1, 2, 3]
    assert permute(moved, ["c", "a", "b"], ["a", "b", "c"]).tolist() == list(range(6))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_its_name(name: str) -> None:
    assert cell_name(CELLS[name]()) == name


@pytest.mark.parametrize("variant", ["V", "CIFG", "NIG", "FGR"])
def test_a_variant_made_by_its_switch_has_the_name_of_its_own_class(variant: str) -> None:
    name = {"V": "LSTM-peephole", "CIFG": "CIFG"}.get(variant, f"Greff-{variant}")
    bundle = Bundle.of(Recurrent(GreffLSTM(variant), 2, 3))
    assert bundle.cell == name
    assert type(bundle.layer().cell) is CELLS[name]
    with pytest.raises(ValueError, match=rf"weights of {name}, got the cell Greff-NFG"):
        bundle.layer(GreffLSTM("NFG"))


def test_a_projection_keeps_its_size(tmp_path: Path) -> None:
    layer = Recurrent(LSTMP(2), 3, 4, layers=2, bidirectional=True)
    save(tmp_path / "p", layer)
    bundle = load(tmp_path / "p")
    assert (bundle.hidden_size, bundle.layer().params["layer1.W"].shape) == (4, (16, 4))
    x = np.ones((3, 1, 3), np.float32)
    np.testing.assert_array_equal(bundle.layer()(x)[0], layer(x)[0])


@pytest.mark.parametrize("name", ["LSTM", "LSTM-projection", "GRU"])
def test_what_goes_out_shares_no_memory(name: str) -> None:
    bundle = Bundle.of(Recurrent(CELLS[name](), 2, 3))
    out = list(to_pytorch(bundle).values())
    out += [a for arrays in to_keras(bundle) for a in arrays] if name != "LSTM-projection" else []
    assert not any(np.shares_memory(a, mine) for a in out for mine in bundle.params.values())

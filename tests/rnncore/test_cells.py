"""Every cell: its gradients against finite differences, its shapes, its first values."""

from typing import Any

import numpy as np
import pytest

from rnncore import sequence
from rnncore.cells import (
    CELLS,
    GRU,
    LSTM,
    LSTMP,
    RNN,
    Cell,
    GreffLSTM,
    GRUBefore,
    LayerNormLSTM,
    PeepholeLSTM,
    find_cell,
)
from rnncore.cells.greff import VARIANTS
from rnncore.gradcheck import check_cell
from rnncore.params import Params
from tests.rnncore.problems import ALL, problem

T_B_D_H = [(4, 3, 3, 5), (1, 3, 2, 4), (5, 1, 2, 3), (3, 2, 1, 2), (3, 2, 2, 1), (1, 1, 1, 1), (2, 26, 1, 1)]
#: Of fewer than three units nothing is left once their mean and scale are taken away: no gradient to check.
NORMALISED = ("LSTM-layernorm",)
CASES = [
    (name, sizes)
    for name in ALL
    for sizes in (
        T_B_D_H if name in ("RNN", "LSTM", "GRU", "GRU-before") else [(3, 3, 2, 3), (2, 2, 2, 4), *T_B_D_H[4:6]]
    )
    if sizes[3] >= 3 or name not in NORMALISED
]


def initialised(cell: Cell, D: int = 4, H: int = 5, seed: int = 0, dtype: Any = np.float64) -> Params:
    return Params(cell.shapes(D, H), dtype).initialise(cell.initialisers(), seed)


@pytest.mark.parametrize(("name", "sizes"), CASES, ids=str)
def test_gradients(name: str, sizes: tuple[int, int, int, int]) -> None:
    worst = check_cell(ALL[name](), sizes=sizes)
    print(name, sizes, worst)  # shown by pytest -rP
    assert worst.error < 2e-9


@pytest.mark.parametrize("lengths", [(2, 3), (3, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("name", ALL)
def test_gradients_at_given_lengths(name: str, lengths: tuple[int, int]) -> None:
    H = 4 if name in NORMALISED else 2
    assert check_cell(ALL[name](), sizes=(3, 2, 1, H), lengths=lengths, seed=5).error < 2e-9


@pytest.mark.parametrize(
    ("cell", "gates", "states", "size"),
    [
        (RNN(), ("hidden",), ("h",), 5 * (4 + 5 + 1)),
        (LSTM(), ("input", "forget", "output", "candidate"), ("h", "c"), 4 * 5 * (4 + 5 + 1)),
        (GRU(), ("reset", "update", "candidate"), ("h",), 3 * 5 * (4 + 5 + 2)),
        (GRUBefore(), ("reset", "update", "candidate"), ("h",), 3 * 5 * (4 + 5 + 1)),
    ],
)
def test_names_and_sizes(cell: Cell, gates: tuple[str, ...], states: tuple[str, ...], size: int) -> None:
    assert cell.gates == gates == cell.preactivations[: len(gates)]
    assert cell.state == states
    shapes = cell.shapes(4, 5)
    rows = 5 * len(gates)
    expected = {"W": (rows, 4), "U": (rows, 5), "b": (rows,)}
    assert shapes == (expected | {"b_U": (rows,)} if isinstance(cell, GRU) else expected)
    assert initialised(cell).size == size


@pytest.mark.parametrize("name", [name for name in CELLS if "U" in CELLS[name]().shapes(1, 1)])
def test_every_block_of_U_starts_orthogonal_and_differs(name: str) -> None:
    blocks = np.split(initialised(CELLS[name]())["U"], len(CELLS[name]().gates))
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(5), atol=1e-14)
    assert all(np.abs(a - b).max() > 0.1 for k, a in enumerate(blocks) for b in blocks[:k])


@pytest.mark.parametrize("name", CELLS)
def test_W_starts_within_glorots_limit_of_one_gate(name: str) -> None:
    limit = np.sqrt(6 / (40 + 50))
    W = initialised(CELLS[name](), 40, 50)["W"]
    assert 0.98 * limit < np.abs(W).max() <= limit
    assert abs(W.mean()) < 0.01


@pytest.mark.parametrize("name", CELLS)
def test_biases_start_at_zero_but_for_the_forget_gate(name: str) -> None:
    p = initialised(CELLS[name]())
    gates, where = CELLS[name]().gates, "beta" if name == "LSTM-layernorm" else "b"
    expected = np.repeat([float(gate == "forget") for gate in gates], 5)
    np.testing.assert_array_equal(p[where], expected)
    assert where == "b" or not p["b"].any()
    assert not p.get("b_U", np.zeros(1)).any()


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_says_that_its_columns_do_not_meet(name: str) -> None:
    """So that products have as many columns as are fast; that it is true is held by `check_cell`."""
    assert getattr(CELLS[name](), "columnwise", False) is True


def test_layer_normalisation_starts_as_normalisation_alone() -> None:
    p = initialised(LayerNormLSTM(forget_bias=2.5))
    assert {name: set(p[name].tolist()) for name in ("alpha_W", "alpha_U", "alpha_c", "beta_c", "beta")} == {
        "alpha_W": {1.0}, "alpha_U": {1.0}, "alpha_c": {1.0}, "beta_c": {0.0}, "beta": {0.0, 2.5},
    }  # fmt: skip


def test_one_definition_has_all_variants_of_greff() -> None:
    sizes = {name: initialised(GreffLSTM(name), 3, 2).size for name in VARIANTS}
    vanilla = 4 * 2 * (3 + 2 + 1) + 3 * 2
    gate = 2 * (3 + 2 + 1) + 2
    fewer = dict.fromkeys(("NIG", "NFG", "NOG", "CIFG"), vanilla - gate)
    same = dict.fromkeys(("V", "NIAF", "NOAF"), vanilla)
    assert sizes == fewer | same | {"NP": vanilla - 6, "FGR": vanilla + 36}
    assert GreffLSTM().variant == PeepholeLSTM().variant == "V"
    assert {kind.variant for kind in CELLS.values() if issubclass(kind, GreffLSTM)} == set(VARIANTS)
    with pytest.raises(ValueError, match="variant: expected one of V, NIG, NFG, NOG, NIAF, NOAF, CIFG, NP, FGR, got"):
        GreffLSTM("nig")


def test_without_peepholes_it_is_the_lstm() -> None:
    case = problem("Greff-NP", 4, 3, 2, 3, (2, 4, 0))
    lstm, greff = problem("LSTM", 4, 3, 2, 3, (2, 4, 0)), case
    assert np.array_equal(lstm.p.flat, greff.p.flat)
    (one, want), (other, got) = lstm.run(), greff.run()
    np.testing.assert_allclose(other.output, one.output, rtol=1e-13)
    for name, value in want.params.items():
        np.testing.assert_allclose(got.params[name], value, rtol=1e-12, atol=1e-14)


def test_a_projection_that_is_a_unit_matrix_is_the_lstm() -> None:
    lstm, case = problem("LSTM", 4, 3, 2, 3), problem("LSTM-projection", 4, 3, 2, 3)
    for name in ("W", "U", "b"):
        case.p[name][...] = lstm.p[name]
    case.p["V"][...] = np.eye(3)
    case.x, case.initial = lstm.x, lstm.initial
    np.testing.assert_array_equal(case.run()[0].output, lstm.run()[0].output)
    with pytest.raises(ValueError, match="projection: expected at least 1, or None for as many as H, got 0"):
        LSTMP(0)
    assert LSTMP(1).shapes(2, 5)["V"] == (1, 5)


def test_backward_needs_the_variant_that_ran_forward() -> None:
    case = problem("LSTM-peephole", 2, 2, 2, 2)
    trace, _ = case.run()
    sequence.backward(PeepholeLSTM(), case.p, trace)
    with pytest.raises(ValueError, match="backward needs the cell that ran forward"):
        sequence.backward(PeepholeLSTM("NIAF"), case.p, trace)


@pytest.mark.parametrize("bias", [0.0, 2.5])
def test_forget_bias_is_a_first_value_only(bias: float) -> None:
    expected = np.repeat([0, bias, 0, 0], 5)
    np.testing.assert_array_equal(initialised(LSTM(forget_bias=bias))["b"], expected)
    assert check_cell(LSTM(forget_bias=bias), sizes=(2, 2, 2, 2)) == check_cell(LSTM(), sizes=(2, 2, 2, 2))


@pytest.mark.parametrize("name", CELLS)
def test_equal_seeds_give_equal_values(name: str) -> None:
    cell = CELLS[name]()
    one, other = initialised(cell, seed=3), initialised(CELLS[name](), seed=3)
    np.testing.assert_array_equal(one.flat, other.flat)
    np.testing.assert_array_equal(initialised(cell, seed=3, dtype=np.float32).flat, one.flat.astype(np.float32))
    assert np.any(initialised(cell, seed=4).flat != one.flat)


@pytest.mark.parametrize("name", CELLS)
def test_find_cell_by_name_and_by_module(name: str) -> None:
    kind = CELLS[name]
    assert type(find_cell(name)) is kind
    assert type(find_cell(f"{kind.__module__}:{kind.__name__}")) is kind


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstm", "no cell 'lstm'; there are RNN, LSTM, GRU, GRU-before, .*, or write module:Class"),
        ("nowhere.at.all:Cell", "'nowhere.at.all:Cell' cannot be loaded: No module named 'nowhere'"),
        ("rnncore.cells:Peephole", "'rnncore.cells:Peephole' cannot be loaded: .* 'Peephole'"),
    ],
)
def test_find_cell_says_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_cell(name)


def test_peepholes_are_those_of_onnx() -> None:
    """Against onnxruntime's LSTM, whose blocks are i, o, f, c."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    case = problem("LSTM-peephole", 5, 3, 4, 2, dtype=np.float32)
    values = {k: np.split(v, 4) for k, v in case.p.items() if k != "P"}
    W, U, b = (np.concatenate([values[k][n] for n in (0, 2, 1, 3)])[None] for k in ("W", "U", "b"))
    i, f, o = np.split(case.p["P"], 3)
    arrays = {"W": W, "R": U, "B": np.hstack([b, 0 * b]), "P": np.concatenate([i, o, f])[None]}
    h, c = (s[None] for s in case.initial)
    arrays |= {"h": h, "c": c}
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c", "P"], ["y", "", "last"], hidden_size=2)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info("x", float32, case.x.shape)],
        [helper.make_tensor_value_info(name, float32, None) for name in ("y", "last")],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), k) for k, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    y, last = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": case.x})
    trace, _ = case.run()
    np.testing.assert_allclose(trace.output, y[:, 0], atol=1e-6)
    np.testing.assert_allclose(trace.last[1], last[0], atol=1e-6)


@pytest.mark.parametrize("lengths", [None, (4, 1, 3)])
def test_the_projection_is_that_of_pytorch(lengths: tuple[int, ...] | None) -> None:
    """Outputs and every gradient, where torch is installed; its blocks are i, f, g, o."""
    torch = pytest.importorskip("torch")
    case = problem("LSTM-projection-2", 4, 3, 3, 5, lengths)
    module = torch.nn.LSTM(3, 5, proj_size=2).double()

    def theirs(w: Any) -> Any:
        i, f, o, g = np.split(w, 4)
        return torch.tensor(np.concatenate([i, f, g, o]))

    def ours(w: Any) -> Any:
        i, f, g, o = np.split(w.numpy(), 4)
        return np.concatenate([i, f, o, g])

    with torch.no_grad():
        for to, name in ((module.weight_ih_l0, "W"), (module.weight_hh_l0, "U"), (module.bias_ih_l0, "b")):
            to.copy_(theirs(case.p[name]))
        module.weight_hr_l0.copy_(torch.tensor(case.p["V"]))
        module.bias_hh_l0.zero_()
    x = torch.tensor(case.x, requires_grad=True)
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, last = module(given, tuple(torch.tensor(s[None]) for s in case.initial))
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=4)
    arriving = [(s * torch.tensor(d)).sum() for s, d in zip(last, case.dlast, strict=True)]
    ((y * torch.tensor(case.dh)).sum() + sum(arriving)).backward()
    trace, got = case.run()
    np.testing.assert_allclose(trace.output, y.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(got.x, x.grad.numpy(), atol=1e-12)
    for grad, name in ((module.weight_ih_l0, "W"), (module.weight_hh_l0, "U"), (module.bias_ih_l0, "b")):
        np.testing.assert_allclose(got.params[name], ours(grad.grad), atol=1e-12)
    np.testing.assert_allclose(got.params["V"], module.weight_hr_l0.grad.numpy(), atol=1e-12)

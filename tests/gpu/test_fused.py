"""Fused kernels and captured loops against the cells they come from: every field of the Trace, every gradient."""

from typing import Any

import numpy as np
import pytest

from rnncore import Recurrent, Regulariser, cells, to_device, to_host
from rnncore.kernels import CannotRecord, Fused
from rnncore.kernels.program import compose
from rnncore.kernels.record import Kind, record
from rnncore.sequence import backward, forward
from tests.gpu.test_same_as_host import moved
from tests.rnncore import same
from tests.rnncore.problems import ALL, SIZES, Problem, problem
from tests.rnncore.same import close

#: Cells whose step takes means over units, which is no function number by number.
NOT_FUSED = ["LSTM-layernorm"]
FUSED = [name for name in ALL if name not in NOT_FUSED]
ODD = SIZES[:3] + SIZES[6:9]


def assert_same(case: Problem, fused: Fused, passes: int, keep: bool = False, **options: Any) -> None:
    tolerance = 1e-12 if case.x.dtype == np.float64 else 2e-5
    same.assert_same(case, fused, moved(case), passes, keep, tolerance, **options)


@pytest.mark.parametrize("name", FUSED)
def test_every_field_and_gradient(kernels: str, name: str) -> None:
    for sizes in ODD:
        case = problem(name, *sizes)
        fused = Fused(case.cell)
        assert_same(case, fused, passes=3)  # launched, captured, launched as a graph
        if case.x.shape[0] and sum(case.lengths or (1,)):
            assert len(fused.graphs) == 2


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "RNN"])
def test_float32_stays_float32(kernels: str, name: str) -> None:
    case = problem(name, 6, 5, 4, 7, (6, 2, 0, 5, 5), dtype=np.float32)
    assert_same(case, Fused(case.cell), passes=3)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "Greff-FGR", "LSTM-projection-2"])
def test_gradients_of_the_states_are_kept(kernels: str, name: str, graph: bool) -> None:
    case = problem(name, 5, 4, 2, 3, (2, 5, 0, 3))
    fused = Fused(case.cell, graph=graph)
    assert_same(case, fused, passes=3, keep=True)
    assert len(fused.graphs) == (2 if graph else 0)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "Greff-FGR"])
def test_matrices_may_lie_column_by_column(kernels: str, name: str) -> None:
    many = problem(name, 30, 2, 2, 3, (30, 24))  # so many that the engine lays them out so for the steps backward
    assert_same(many, Fused(many.cell), passes=1, regulariser=Regulariser(recurrent_dropout=0.25, seed=1))
    case = problem(name, 3, 2, 4, 3)
    host, there = case.run()[0], moved(case)
    turned = {k: a if a.ndim == 1 else to_device(np.ascontiguousarray(case.p[k].T)).T for k, a in there.p.items()}
    for _ in range(2):
        close(forward(Fused(case.cell), turned, there.x, there.initial).output, host.output, 1e-12)
    gaps = turned | {"U": to_device(np.repeat(np.repeat(case.p["U"], 2, 0), 2, 1))[::2, ::2]}
    with pytest.raises(ValueError, match="rows or columns have no gaps"):
        forward(Fused(case.cell), gaps, there.x, there.initial)
    gaps = turned | {"b": to_device(np.repeat(case.p["b"], 2))[::2]}
    with pytest.raises(ValueError, match="b: expected a vector without gaps"):
        forward(Fused(case.cell), gaps, there.x, there.initial)


NOISES = [
    Regulariser({"h": 0.3}, 0.25, seed=4),
    Regulariser(recurrent_dropout=0.25, seed=4),
    Regulariser({"h": 0.3}),  # inference: the rate itself
]


@pytest.mark.parametrize("name", [name for name in FUSED if name != "minGRU"])
def test_zoneout_and_recurrent_dropout_are_part_of_the_graph(kernels: str, name: str) -> None:
    case = problem(name, 5, 4, 2, 3, (2, 5, 0, 3))
    for noise in NOISES:
        fused = Fused(case.cell)
        assert_same(case, fused, passes=3, keep=True, regulariser=noise)
        assert len(fused.graphs) == 2


def test_zoneout_of_every_state_at_its_own_rate(kernels: str) -> None:
    case, fused = problem("LSTM", 5, 4, 2, 3, (2, 5, 0, 3)), Fused(cells.LSTM())
    for rates in ({"h": 0.05, "c": 0.5}, {"c": 0.5}, {"h": 0.2, "c": 0.5}):
        for seed in (None, 1):
            assert_same(case, fused, passes=2, keep=True, regulariser=Regulariser(rates, seed=seed))
    case = problem("minGRU", 5, 4, 2, 3, (2, 5, 0, 3))
    assert_same(case, Fused(case.cell), passes=3, keep=True, regulariser=Regulariser({"h": 0.3}, seed=1))


def test_new_masks_go_through_the_same_graph(kernels: str) -> None:
    """In a layer with all noise there is, every pass draws its own masks, and none is captured anew."""
    x = np.random.default_rng(0).normal(size=(5, 3, 4))
    noise: dict[str, Any] = {"dropconnect": 0.3, "zoneout": 0.2, "recurrent_dropout": 0.25, "dtype": np.float64}
    fused = Fused(cells.LSTM())
    host, there = Recurrent(cells.LSTM(), 4, 6, **noise), Recurrent(fused, 4, 6, device="cuda", **noise)
    for k in range(5):
        output, last = host(x, lengths=[5, 2, 4])
        found, found_last = there(to_device(x), lengths=[5, 2, 4])
        dx, dx_found = host.backward(output)[0], there.backward(found)[0]
        for got, expected in zip((found, *found_last, dx_found), (output, *last, dx), strict=True):
            close(got, expected, 1e-12)
        close(there.grads.flat, host.grads.flat, 1e-12)
        assert len(fused.graphs) == (2 if k else 0)
        assert len(fused.graphs._kept) == 2


def test_another_rate_is_another_graph(kernels: str) -> None:
    case, fused, trace = problem("GRU", 4, 3, 2, 5), Fused(cells.GRU()), None
    there = moved(case)
    for rate in (0.3, 0.3, 0.3, 0.6, 0.6, 0.6):
        noise = Regulariser({"h": rate})
        trace = forward(fused, there.p, there.x, there.initial, None, trace, noise)
        close(trace.output, forward(case.cell, case.p, case.x, case.initial, regulariser=noise).output, 1e-12)


@pytest.mark.parametrize("buffer", ["mask", "recalled", "zones of h", "proposed h"])
def test_no_graph_serves_once_a_mask_has_moved(kernels: str, buffer: str) -> None:
    case, fused, trace = problem("LSTM", 4, 3, 2, 5), Fused(cells.LSTM()), None
    there, kept = moved(case), []
    noise = Regulariser({"h": 0.3}, 0.25)
    for k in range(6):
        if k == 3:
            kept.append(trace._memory._buffers.pop(buffer))
            kept[0][...] = np.nan
        each = noise.seeded(k)
        trace = forward(fused, there.p, there.x, there.initial, None, trace, each)
        got = backward(fused, there.p, trace, there.dh, there.dlast)
        host_trace = forward(case.cell, case.p, case.x, case.initial, regulariser=each)
        host = backward(case.cell, case.p, host_trace, case.dh, case.dlast)
        close(trace.output, host_trace.output, 1e-12)
        close(got.params["U"], host.params["U"], 1e-12)


def test_launches_a_step_with_noise(counted: Any, kernels: str) -> None:
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    T, case = 5, problem("LSTM", 5, 3, 2, 5)
    there = moved(case)
    for noise, ahead, back in (
        (Regulariser({"h": 0.3, "c": 0.5}, seed=1), 1, 1),  # what is held back goes into the product, or before it
        (Regulariser(recurrent_dropout=0.25, seed=1), 2, 2),
    ):
        fused = Fused(cells.LSTM(), graph=False)
        trace = forward(fused, there.p, there.x, there.initial, regulariser=noise)
        counted.clear()
        forward(fused, there.p, there.x, there.initial, None, trace, noise)
        assert (counted["kernels"], counted["products"]) == (T * ahead + 1, T + 1)
        counted.clear()
        backward(fused, there.p, trace, there.dh, there.dlast)
        assert counted["kernels"] == T * back + 1


def test_what_is_left_out_is_zero_and_outputs_alone_may_be_wanted(kernels: str) -> None:
    case = problem("LSTM", 4, 3, 2, 5)
    there, fused = moved(case), Fused(case.cell)
    for _ in range(3):
        host = backward(case.cell, case.p, forward(case.cell, case.p, case.x), None, [case.dlast[0], None])
        got = backward(fused, there.p, forward(fused, there.p, there.x), None, [there.dlast[0], None])
        close(got.x, host.x, 1e-12)
        close(got.params["U"], host.params["U"], 1e-12)


def test_no_steps_at_all(kernels: str) -> None:
    case = problem("GRU", 3, 2, 2, 2, (0, 0))
    assert_same(case, Fused(case.cell), passes=2)


def test_layers_in_both_directions_share_a_fused_cell(kernels: str) -> None:
    rng = np.random.default_rng(0)
    x, doutput = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 3, 12))
    found = []
    for fuse, device in ((lambda cell: cell, "cpu"), (Fused, "cuda")):
        layer = Recurrent(fuse(cells.LSTM()), 4, 6, layers=2, bidirectional=True, dtype=np.float64, device=device)
        move = to_device if device == "cuda" else np.asarray
        for _ in range(3):
            output, last = layer(move(x), lengths=[5, 2, 0])
            dx, _ = layer.backward(move(doutput))
        stepper = Recurrent(layer.cell, 4, 6, dtype=np.float64, device=device).stepper(batch=3)
        found.append([output, *last, dx, layer.grads.flat, *[stepper.step(move(x_t)) for x_t in x]])
    for host, got in zip(*found, strict=True):
        close(got, host, 1e-12)


def test_other_values_at_the_same_sizes_go_through_the_same_graph(kernels: str) -> None:
    first, second = problem("LSTM", 4, 3, 2, 5, (4, 1, 3)), problem("LSTM", 4, 3, 2, 5, (4, 1, 3), seed=1)
    there, fused, trace = moved(first), Fused(first.cell), None
    for case in (first, first, second, first):
        there.p.assign({name: to_device(a) for name, a in case.p.items()})
        given = moved(case)
        trace = forward(fused, there.p, given.x, given.initial, case.lengths, trace)
        got = backward(fused, there.p, trace, given.dh, given.dlast)
        host_trace, host = case.run()
        close(trace.output, host_trace.output, 1e-12)
        close(got.params["W"], host.params["W"], 1e-12)
    assert len(fused.graphs) == 2


def test_graphs_are_kept_up_to_a_bound(kernels: str) -> None:
    fused = Fused(cells.RNN())
    fused.graphs.limit = 3
    for T in (1, 2, 3, 4, 5):
        case = moved(problem("RNN", T, 2, 2, 2))
        for _ in range(2):
            forward(fused, case.p, case.x)
    assert len(fused.graphs._kept) == 3


def test_a_graph_serves_no_buffer_that_has_moved(kernels: str) -> None:
    case, fused = problem("GRU", 4, 3, 2, 5), Fused(cells.GRU())
    there = moved(case)
    for _ in range(3):
        kept = [forward(fused, there.p, there.x, there.initial) for _ in range(3)]  # every Trace has its own memory
        for trace in kept:
            close(trace.output, case.run()[0].output, 1e-12)


def test_a_graph_keeps_working_memory_that_has_been_outgrown(kernels: str) -> None:
    fused, noise = Fused(cells.GRUBefore()), Regulariser({"h": 0.3})  # what is held goes past two products in memory
    small, large = (moved(problem("GRU-before", 3, B, 2, 5)) for B in (2, 7))
    trace = None
    for _ in range(2):
        trace = forward(fused, small.p, small.x, small.initial, None, trace, noise)
        backward(fused, small.p, trace, small.dh, small.dlast)
    working = fused.memory[small.x.dtype]._buffers
    before = dict(working)
    assert any(name.startswith("temporary") for name in before)
    backward(fused, large.p, forward(fused, large.p, large.x, regulariser=noise), large.dh)
    for name, outgrown in before.items():
        assert working[name] is not outgrown
        assert any(outgrown is kept for _, buffers in fused.graphs._kept.values() for kept in buffers)


@pytest.mark.parametrize(("products", "lost"), [("tf32", 2**-11), ("bf16", 2**-8)])
def test_products_that_round_their_operands(kernels: str, products: str, lost: float) -> None:
    case = problem("LSTM", 6, 5, 8, 16, dtype=np.float32)
    there = moved(case)
    exact, rounded = (forward(Fused(case.cell, products=p), there.p, there.x) for p in ("float32", products))
    gap = np.abs(to_host(exact.output) - to_host(rounded.output)).max()
    assert gap < 16 * lost
    if kernels == "stand-in":
        assert gap > lost / 16
    assert to_host(rounded.output).dtype == np.float32


def narrowed(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, ties to even, as float32."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", [name for name in FUSED if name != "minGRU"])
def test_copies_in_bfloat16_change_no_number(kernels: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS that rounds float32 operands, and cuBLAS that is handed them rounded, multiply the same numbers."""
    case = problem(name, 5, 10, 4, 7, (5, 2, 0, 4, 4, 1, 1, 1, 3, 5), dtype=np.float32)
    there, found = moved(case), []
    for copies in (True, False):
        if not copies:
            monkeypatch.setattr("rnncore.kernels.fused.Copies", lambda *sizes: None)
        for noise in (None, Regulariser({"h": 0.3}, 0.25, seed=4)):
            fused, trace = Fused(case.cell, products="bf16"), None
            for _ in range(3):
                trace = forward(fused, there.p, there.x, there.initial, there.lengths, trace, noise)
                got = backward(fused, there.p, trace, there.dh, there.dlast)
            assert len(fused.graphs) == 2
            assert any(launcher.copies for launcher in fused._launchers.values()) is copies
            found.append([trace.output.copy(), *trace.last, got.x, *got.params.values(), *got.initial])
    for one, other in zip(found[0] + found[1], found[2] + found[3], strict=True):
        if kernels == "stand-in":
            np.testing.assert_array_equal(to_host(one), to_host(other))
        else:
            close(one, to_host(other), 1e-4)


def test_a_step_of_an_lstm_reads_copies_alone_and_launches_none(counted: Any, kernels: str) -> None:
    """In bfloat16 a pass has two kernels more than in float32, for the copies of U and of the first h; no step has."""
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    case, launched = problem("LSTM", 6, 3, 2, 5, dtype=np.float32), {}
    there = moved(case)
    for products in ("float32", "bf16"):
        fused = Fused(cells.LSTM(), graph=False, products=products)
        counted.clear()
        trace = forward(fused, there.p, there.x, there.initial)
        ahead = counted["kernels"]
        backward(fused, there.p, trace, there.dh, there.dlast)
        launched[products] = (ahead, counted["kernels"] - ahead)
    assert launched["bf16"] == (launched["float32"][0] + 2, launched["float32"][1] + 1)
    copies = fused.memory[np.dtype(np.uint16)]._buffers
    assert copies["U"].nbytes == there.p["U"].nbytes // 2
    assert {name: buffer.size for name, buffer in copies.items() if name != "U"} == {
        "copy of next h": 5 * 8,  # as many columns as tensor cores read at once
        "copy of da": 20 * 8,
    }


def test_copies_are_the_nearest_bfloat16(kernels: str) -> None:
    from rnncore.kernels.copies import _copy

    x = np.array([[1.0, -2.5, 1.00390625, 1.01171875, 3.1415927, 0.0, -0.0, np.inf, -np.inf, 1e-40, 3.4e38, np.nan]])
    source = to_device(x.astype(np.float32))
    copy = to_device(np.zeros(x.shape, np.uint16))
    _copy(source, copy)
    found = (to_host(copy).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found[:, :-1], narrowed(x.astype(np.float32))[:, :-1])
    assert np.isnan(found[0, -1])


@pytest.mark.parametrize("products", ["float32", "tf32", "bf16"])
def test_products_after_the_loop_are_of_the_same_precision(kernels: str, products: str) -> None:
    """All gradients by our own cuBLAS calls: CuPy's products, and so its setting, have no part in a layer's pass."""
    case = problem("GRU", 4, 3, 2, 5, dtype=np.float32)
    there, fused = moved(case), Fused(cells.GRU(), products=products)
    trace = forward(fused, there.p, there.x, there.initial)
    asked = []
    product = fused.blas(there.x).product
    fused.blas(there.x).product = lambda *given: asked.append(given[2].shape) or product(*given)  # type: ignore[method-assign]
    got = backward(fused, there.p, trace, there.dh, there.dlast)
    after = asked[-4:]  # W, U's two parts, and x
    assert after == [(15, 2), (10, 5), (5, 5), (12, 2)]
    host = case.run()[1]
    for name in ("W", "U"):
        gap = np.abs(to_host(got.params[name]) - host.params[name]).max() / np.abs(host.params[name]).max()
        assert gap < {"float32": 1e-5, "tf32": 2e-3, "bf16": 2e-2}[products]
        if kernels == "stand-in" and products != "float32":
            assert gap > 1e-5


def test_float64_is_never_rounded(kernels: str) -> None:
    case = problem("LSTM", 3, 2, 4, 5)
    assert_same(case, Fused(case.cell, products="bf16"), passes=1)


def test_a_step_that_no_program_can_hold_is_refused_by_what_it_does(kernels: str) -> None:
    case = moved(problem("LSTM-layernorm", 2, 2, 2, 3))
    with pytest.raises(CannotRecord, match=r"LayerNormLSTM\.step cannot be recorded: .*expected a range of rows"):
        forward(Fused(case.cell), case.p, case.x)


class Peeks(cells.RNN):
    """Looks at a number in its step."""

    def step(self, p: Any, now: Any) -> None:
        super().step(p, now)
        if np.asarray(now.a).max() > 1:
            now.a[...] = 1


class Sums(cells.RNN):
    """Takes a sum over units."""

    def step(self, p: Any, now: Any) -> None:
        super().step(p, now)
        now.next[0][...] = np.add.reduce(now.a)


@pytest.mark.parametrize(("cell", "why"), [(Peeks, "looks at the numbers"), (Sums, "numpy.add.reduce")])
def test_cells_of_ones_own_are_refused_with_a_reason(kernels: str, cell: Any, why: str) -> None:
    case = moved(problem("RNN", 2, 2, 2, 3))
    with pytest.raises(CannotRecord, match=why):
        forward(Fused(cell()), case.p, case.x)


def test_unknown_products_are_refused() -> None:
    with pytest.raises(ValueError, match="one of float32, tf32, bf16, got 'fp8'"):
        Fused(cells.LSTM(), products="fp8")


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "RNN"])
def test_launches_a_pass(counted: Any, kernels: str, name: str) -> None:
    """One kernel a step each way for LSTM, GRU and RNN; a graph is one launch for the whole loop."""
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    T, case = 7, problem(name, 7, 3, 2, 5)
    there, fused = moved(case), Fused(case.cell)
    in_a_step = {"LSTM": (1, 1), "RNN": (1, 1), "GRU": (1, 1), "GRU-before": (2, 2)}[name]
    kernels_in_a_step = {"GRU-before": 2}.get(name, 1)
    after = {"LSTM": 3, "RNN": 3, "GRU": 4, "GRU-before": 4}  # dW, dx, and dU, of the GRUs in two parts
    trace = None
    for graphs in (False, False, True):
        counted.clear()
        trace = forward(fused, there.p, there.x, there.initial, None, trace)
        forward_counts = dict(counted)
        counted.clear()
        backward(fused, there.p, trace, there.dh, there.dlast)
        if graphs:
            assert (forward_counts["graphs"], counted["graphs"]) == (1, 1)
            assert forward_counts["kernels"] == 1  # the rows of the outputs, whose places a graph must not know
            assert counted["kernels"] == 1  # the gradient of the outputs, brought into the layout of the steps
        elif "graphs" not in forward_counts:
            assert forward_counts["kernels"] == T * kernels_in_a_step + 1  # and the rows of the outputs
            assert forward_counts["products"] == T * in_a_step[0] + 1  # W x for all steps at once
            assert counted["kernels"] == T * kernels_in_a_step + 1
            assert counted["products"] == T * in_a_step[1] + after[name]
        assert forward_counts.get("reads", 0) == counted.get("reads", 0) == 0


def test_bytes_that_a_step_moves() -> None:
    """Every number is read and written once: LSTM reads a and c and writes a, c, h and tanh c, in H·b each."""
    shapes = cells.LSTM().shapes(5, 8)
    (kernel,) = compose(record(cells.LSTM(), shapes, 8, Kind(whole=True)), 8).kernels
    assert (len(kernel.loads), len(kernel.stores)) == (4 + 1, 4 + 3)
    (back,) = compose(record(cells.LSTM(), shapes, 8, Kind(True, whole=True, arrives=(True,))), 8).kernels
    assert (len(back.loads), len(back.stores)) == (4 + 1 + 1 + 2 + 1, 4 + 1)  # ... and upstream; da and dc


@pytest.mark.parametrize("buffer", ["a", "state h", "state c", "saved tanh_c", "state rows", "scratch", "all da"])
def test_no_graph_serves_once_a_single_buffer_has_moved(kernels: str, buffer: str) -> None:
    case, fused, trace = problem("LSTM", 4, 3, 2, 5), Fused(cells.LSTM()), None
    there = moved(case)
    host_trace, host = case.run()
    kept = []
    for k in range(6):
        if k == 3:
            kept.append(trace._memory._buffers.pop(buffer))
            trace.packing, trace.widths = None, ()  # so that it is laid out again
        trace = forward(fused, there.p, there.x, there.initial, None, trace)
        got = backward(fused, there.p, trace, there.dh, there.dlast)
        for name in (*trace.names,):
            close(trace[name], host_trace[name], 1e-12)
        close(trace.output, host_trace.output, 1e-12)
        close(got.params["U"], host.params["U"], 1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "LSTM-projection-2", "Greff-FGR", "minGRU"])
@pytest.mark.parametrize("noise", [None, Regulariser({"h": 0.3}, seed=4)], ids=["plain", "zoneout"])
def test_one_graph_serves_all_lengths(kernels: str, name: str, noise: Regulariser | None) -> None:
    """Every field and every gradient, of last states too, at lengths that never come twice; none is captured anew."""
    fused, trace = Fused(problem(name, 2, 2, 2, 3).cell), None
    for k, lengths in enumerate([(2, 5, 0, 3), (5, 5, 1, 1), (0, 0, 0, 5), (5, 4, 3, 2), (1, 5, 5, 5)]):
        case = problem(name, 5, 4, 2, 3, lengths, seed=k)
        there, host_trace = moved(case), forward(case.cell, case.p, case.x, case.initial, lengths, regulariser=noise)
        host = backward(case.cell, case.p, host_trace, case.dh, case.dlast)
        if k == 0:
            p = there.p
        p.assign(there.p)
        views = trace.now if trace else None
        trace = forward(fused, p, there.x, there.initial, lengths, trace, noise)
        assert views is None or trace.now is views  # which are not made anew either
        got = backward(fused, p, trace, there.dh, there.dlast)
        for field in host_trace.names:
            close(trace[field], host_trace[field], 1e-12)
        for pair in zip((*trace.last, *got.initial, got.x), (*host_trace.last, *host.initial, host.x), strict=True):
            close(*pair, 1e-12)
        for field, value in host.params.items():
            close(got.params[field], value, 1e-12)
        assert len(fused.graphs._kept) == 2
    assert len(fused.graphs) == 2


def test_larger_batches_and_single_launches_are_not_padded(kernels: str) -> None:
    case = problem("LSTM", 5, 4, 2, 3, (2, 5, 0, 3))
    there = moved(case)
    for fused, padded in (
        (Fused(case.cell), True),
        (Fused(case.cell, padded=3), False),
        (Fused(case.cell, graph=False), False),
    ):
        trace = forward(fused, there.p, there.x, there.initial, case.lengths)
        assert (trace.widths == (4,) * 5) is padded
        assert_same(case, fused, passes=3)


def test_a_graph_reads_nothing_of_a_layout_that_is_gone(kernels: str) -> None:
    """Lengths given anew at every call make a new `Packing` each, whose indices on the device go with it."""
    case = problem("GRU", 4, 3, 2, 5, (4, 1, 3))
    there = moved(case)
    for padded in (0, 256):
        fused, trace = Fused(cells.GRU(), padded=padded), None
        for _ in range(4):
            trace = forward(fused, there.p, there.x, there.initial, list(case.lengths), trace)
            got = backward(fused, there.p, trace, there.dh, there.dlast)
            trace.packing = None  # nobody else holds it
        close(got.params["W"], case.run()[1].params["W"], 1e-12)

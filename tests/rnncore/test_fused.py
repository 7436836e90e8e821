"""Fused kernels on the processor against the cells they come from: every field of the Trace, every gradient."""

import copy
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import GRU, Adam, AdamW, Packing, Params, Recurrent, Regulariser, cells
from rnncore.cells import Cell, Now, Weights
from rnncore.gradcheck import check_cell
from rnncore.kernels import CannotRecord, Fused, host, processor
from rnncore.kernels.processor import NoCompiler
from rnncore.kernels.program import compose
from rnncore.kernels.symbols import Matrix, Product, Tape, Weight
from rnncore.losses import log_softmax, softmax_cross_entropy
from rnncore.sequence import Stepper, backward, forward
from tests.rnncore import same
from tests.rnncore.problems import ALL, SIZES, Problem, problem
from tests.rnncore.same import close

pytestmark = [pytest.mark.usefixtures("two_threads")]
try:
    processor.compiler()
except NoCompiler as missing:
    pytestmark.append(pytest.mark.skip(reason=str(missing)))

#: Cells whose step takes means over units, which is no function number by number.
NOT_FUSED = ["LSTM-layernorm"]
FUSED = [name for name in ALL if name not in NOT_FUSED]


def assert_same(case: Problem, fused: Cell, keep: bool = False, passes: int = 2, **options: Any) -> None:
    tolerance = 1e-12 if case.x.dtype == np.float64 else 2e-5
    same.assert_same(case, fused, case, passes, keep, tolerance, **options)


@pytest.mark.parametrize("name", FUSED)
def test_every_field_and_gradient(name: str) -> None:
    fused = Fused(ALL[name]())
    for sizes in SIZES:
        assert_same(problem(name, *sizes), fused)
        assert_same(problem(name, *sizes), fused, keep=True, passes=1)


@pytest.mark.parametrize("columns", [7, 1 << 10])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "RNN", "LSTM-projection-2"])
def test_sizes_at_which_compilers_make_vectors(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole vectors and remainders, lengths that end within them, and several products of W; float32 stays float32."""
    monkeypatch.setattr("rnncore.steps._COLUMNS", columns)
    fused = Fused(ALL[name]())
    lengths = tuple(k * 11 % 13 for k in range(37))
    for dtype in (np.float32, np.float64):
        for sizes in ((12, 37, 9, 33, lengths), (5, 64, 9, 32), (9, 1, 20, 40)):
            case = problem(name, *sizes, dtype=dtype)
            case.p.flat[...] *= 0.3  # so large layers would blow up every rounding
            assert_same(case, fused)


@pytest.mark.parametrize(
    "way", ["every second number", "numbers backwards", "half of a row", "rows backwards", "a field"]
)
@pytest.mark.parametrize("lengths", [None, (7, 2, 0, 7, 5)])
def test_a_gradient_may_lie_in_any_way(way: str, lengths: Any) -> None:
    case = problem("GRU", 7, 5, 3, 20, lengths)
    wide = np.full((7, 5, 40), np.nan)
    there = {"every second number": wide[..., ::2], "numbers backwards": wide[..., 20:][..., ::-1]}
    there |= {"half of a row": wide[..., 20:], "rows backwards": wide[::-1, ::-1, :20]}
    there |= {"a field": np.zeros((7, 5), [("flag", "u1"), ("d", "f8", (20,))])["d"]}
    there[way][...] = case.dh
    case.dh = there[way]
    assert_same(case, Fused(case.cell), keep=True)
    # rows as a `Packing` has them lie as they are, where padded ones are gathered first
    packing = Packing(lengths or [7] * 5, 7)
    rows, wider = packing.pack(case.dh), np.full((packing.rows, 2, 40), np.nan)
    records = np.zeros(packing.rows, [("flag", "u1"), ("d", "f8", (20,))])
    lain = {"every second number": wider[:, 1, ::2], "numbers backwards": wider[:, 1, 20:][:, ::-1]}
    lain |= {"half of a row": wider[:, 1, 20:], "rows backwards": wider[::-1, 1, :20], "a field": records["d"]}
    lain[way][...] = rows
    x, both = packing.pack(case.x), []
    for cell, dh in ((case.cell, rows), (Fused(case.cell), lain[way])):
        trace = forward(cell, case.p, x, case.initial, packing)
        both.append(backward(cell, case.p, trace, dh))
    close(both[1].x, both[0].x, 1e-12)


@pytest.mark.parametrize("name", FUSED)
def test_noise_is_part_of_the_kernels(name: str) -> None:
    fused, state = Fused(ALL[name]()), ALL[name]().state
    case = problem(name, 5, 4, 2, 3, (2, 5, 0, 3))
    noises = [Regulariser(dict.fromkeys(state, 0.4), seed=4), Regulariser(dict.fromkeys(state, 0.4))]
    if name != "minGRU":
        noises += [Regulariser({"h": 0.3}, 0.25, seed=4), Regulariser(recurrent_dropout=0.25, seed=4)]
    for noise in noises:
        assert_same(case, fused, keep=True, regulariser=noise)


@pytest.mark.parametrize("name", FUSED)
def test_without_a_trace_and_step_by_step(name: str) -> None:
    for lengths in (None, (3, 9, 0, 4)):
        case = problem(name, 9, 4, 2, 3, lengths)
        want, fused = forward(case.cell, case.p, case.x, case.initial, lengths), Fused(case.cell)
        got = forward(fused, case.p, case.x, case.initial, lengths, keep=False)
        for pair in zip((got.output, *got.last), (want.output, *want.last), strict=True):
            close(*pair, 1e-13)
        assert not got.kept
    plain, stepper = (
        Stepper(case.cell, case.p, state=case.initial),
        Stepper(Fused(case.cell), case.p, state=case.initial),
    )
    for x in case.x:
        close(stepper.step(x), plain.step(x), 1e-13)
    for batch in (2, 7, 24, 17, 30, 100, 3, 20):
        rng = np.random.default_rng(batch)
        x = rng.normal(size=(3, batch, 2))
        plain.state = stepper.state = tuple(rng.uniform(-1, 1, (batch, s.shape[1])) for s in plain.state)
        for read in x:
            close(stepper.step(read), plain.step(read), 1e-13)
        for pair in zip(stepper.state, plain.state, strict=True):
            close(*pair, 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [None, Regulariser({"h": 0.1}), Regulariser(recurrent_dropout=0.3)])
def test_steps_of_as_many_sequences_as_there_are_columns(noise: Any, dtype: Any) -> None:
    """Of a cell that does not say that columns may be added there are none of nobody's."""
    for kind in (cells.LSTM, type("Plain", (cells.LSTM,), {"columnwise": False})):
        case = problem("LSTM", 3, 2, 5, 20, dtype=dtype)
        for batch in (17, 30, 41):
            rng = np.random.default_rng(batch)
            state = [rng.uniform(-1, 1, (batch, 20)).astype(dtype) for _ in range(2)]
            plain, fused = (Stepper(c, case.p, state=state, regulariser=noise) for c in (kind(), Fused(kind())))
            for x in rng.normal(size=(3, batch, 5)).astype(dtype):
                close(fused.step(x), plain.step(x), 1e-12 if dtype == np.float64 else 2e-5)


@pytest.mark.parametrize("name", ["GRU", "GRU-before", "LSTM-projection-2"])
def test_steps_leave_columns_alone_that_they_have_room_for(name: str) -> None:
    case = problem(name, 3, 41, 5, 20)
    stepper = Stepper(Fused(case.cell), case.p, state=case.initial)
    after = stepper._trace.now[0].next
    for slab in after:
        assert slab.shape[1] == 72
        slab[:, 48:] = 7
    stepper.step(case.x[0])
    assert all((slab[:, 48:] == 7).all() for slab in after)


def test_steps_of_a_few_sequences_more_or_less_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case, made, make = problem("LSTM", 1, 2, 2, 3), [], host._made
    monkeypatch.setattr(host, "_made", lambda *a: made.append(a) or make(*a))
    stepper = Stepper(Fused(case.cell), case.p)
    for batch in (100, 2, 99, 73, 136, 3, 2, 100):
        stepper.state = tuple(np.zeros((batch, 3)) for _ in stepper.state)
        stepper.step(np.ones((batch, 2)))
    assert len(made) == 3  # for 2, for 3, and for up to 136
    stepper.state = tuple(np.zeros((137, 3)) for _ in stepper.state)
    stepper.step(np.ones((137, 2)))
    assert len(made) == 4


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before"])
def test_gradients_are_those_of_differences(name: str) -> None:
    check_cell(Fused(ALL[name]()))


def test_a_wrong_derivative_is_in_the_kernels_too() -> None:
    """What is compiled is the cell's own step backward, and nothing that knows better."""

    class Wrong(cells.LSTM):
        def step_backward(self, p: Weights, now: Now, dstate: tuple[Any, ...]) -> None:
            super().step_backward(p, now, dstate)
            dstate[1][...] *= 1.001

    with pytest.raises(AssertionError, match="analytic"):
        check_cell(Fused(Wrong()))


@pytest.mark.parametrize(("order", "expected"), [((0, 2), [6]), ((2, 0), [2, 4])], ids=str)
def test_products_are_joined_where_rows_of_a_parameter_follow_one_another(
    order: tuple[int, ...], expected: list[int]
) -> None:
    """H = 2; the first product is with four rows of U, the second with the other two, or the other way about."""
    tape, parts = Tape(), {0: slice(4), 2: slice(4, 6)}
    U, a, d = Weight(tape, Matrix("U", 0, 6, 2, False), False), tape.rows("a", 6), tape.rows("d", 2)
    a *= 2.0
    for k in order:
        d += np.matmul(U[parts[k]].T, a[parts[k]])
    for adds in (True, False):
        stages = compose(tape, 2, adds).stages
        assert [stage.matrix.rows for stage in stages if isinstance(stage, Product)] == expected


def test_layers_of_both_directions_share_a_fused_cell() -> None:
    rng = np.random.default_rng(0)
    x, doutput = rng.normal(size=(30, 3, 4)), rng.normal(size=(30, 3, 12))
    noise = {"dropconnect": 0.3, "zoneout": 0.2, "recurrent_dropout": 0.25}
    for options in ({}, noise):
        found = []
        for cell in (cells.LSTM(), Fused(cells.LSTM())):
            layer = Recurrent(cell, 4, 6, layers=2, bidirectional=True, dtype=np.float64, **options)
            for lengths in ([30, 2, 0], [12, 30, 7], None):
                output, last = layer(x, lengths=lengths)
                dx, _ = layer.backward(doutput)
                found.append([output, *last, dx, layer.grads.flat.copy()])
        for one, other in zip(found[:3], found[3:], strict=True):
            for got, want in zip(other, one, strict=True):
                close(got, want, 1e-11)


def test_other_arrays_of_the_same_sizes_are_not_taken_for_those_of_before() -> None:
    """Parameters elsewhere, and parameters changed where they are; and what is prepared is not kept without end."""
    case, fused, trace = problem("GRU", 30, 3, 2, 5), Fused(cells.GRU()), None
    for seed in (0, 1, 0):
        other = problem("GRU", 30, 3, 2, 5, seed=seed)
        trace = forward(fused, other.p, case.x, trace=trace)
        close(trace.output, forward(cells.GRU(), other.p, case.x).output, 1e-13)
        other.p.flat[...] *= 0.5
        trace = forward(fused, other.p, case.x, trace=trace)
        close(trace.output, forward(cells.GRU(), other.p, case.x).output, 1e-13)
    assert trace is not None
    for _ in range(3):
        trace = forward(fused, problem("GRU", 30, 3, 2, 5).p.copy(), case.x, trace=trace)
    assert len(trace.prepared) == 1


@pytest.mark.parametrize("name", ["all da", "upstream", "gradient of h", "gradient of c"])
def test_a_buffer_that_has_grown_is_found_where_it_is(name: str) -> None:
    layer, x = Recurrent(Fused(cells.LSTM()), 4, 6), np.ones((5, 3, 4), "float32")
    found = []
    for _ in range(2):
        output, _ = layer(x)
        dx, _ = layer.backward(np.cos(output))
        found.append([output, dx, layer.grads.flat.copy()])
        before = layer.trace.take(name, 1)
        layer.trace.take(name, 10_000)[...] = 0  # larger than it is
        before[...] = np.nan
    for got, want in zip(*found, strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_is_prepared_keeps_no_memory_alive() -> None:
    layer, x = GRU(4, 6, fused=True), np.ones((5, 3, 4), "float32")
    layer.backward(np.cos(layer(x)[0]))
    stepper = layer.stepper(3)
    stepper.step(x[0])
    traces = [weakref.ref(layer.trace), weakref.ref(stepper._steppers[0]._trace)]
    gc.disable()  # circles would last until it runs
    try:
        del layer, stepper
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("seed", [None, 3])
def test_sequences_without_a_step_end_where_they_began(seed: int | None) -> None:
    case, noise = problem("LSTM", 4, 3, 2, 5), Regulariser({"h": 0.3, "c": 0.2}, 0.25, seed=seed)
    initial = [np.full((3, 5), value) for value in (0.5, -2.0)]
    trace = forward(Fused(case.cell), case.p, case.x, initial, [0, 0, 0], regulariser=noise)
    for got, want in zip(trace.last, initial, strict=True):
        np.testing.assert_array_equal(got, want)
    assert not trace.output.any()


def test_a_matrix_that_lies_otherwise_at_the_same_place_is_another() -> None:
    case, fused = problem("RNN", 5, 3, 2, 4), Fused(cells.RNN())
    trace = forward(fused, case.p, case.x)
    turned = {**case.p, "U": case.p["U"].T}
    close(forward(fused, turned, case.x, trace=trace).output, forward(case.cell, turned, case.x).output, 1e-13)


def test_a_vector_with_gaps_is_refused() -> None:
    case = problem("LSTM", 5, 3, 2, 4)
    with pytest.raises(ValueError, match=r"b: expected a vector without gaps, got strides of \(16,\) bytes"):
        forward(Fused(case.cell), {**case.p, "b": np.repeat(case.p["b"], 2)[::2]}, case.x)


def test_a_single_step_is_the_cells_own() -> None:
    case = problem("LSTM", 2, 3, 2, 4)
    trace = forward(Fused(case.cell), case.p, case.x)
    with pytest.raises(TypeError, match="on the host whole passes: use the cell itself"):
        trace.cell.step(case.p, trace.now[0])


def test_a_second_pass_prepares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Recurrent(Fused(cells.LSTM()), 4, 6), np.ones((30, 5, 4), "float32")
    layer(x)
    layer.backward(np.ones((30, 5, 6), "float32"))
    monkeypatch.setattr("rnncore.kernels.host._made", None)
    layer(x)
    layer.backward(np.ones((30, 5, 6), "float32"))


def test_tanh_of_float32_is_within_a_few_units_of_the_last_place() -> None:
    """At every 101st number up to where it is 1, and never beyond 1; NaN stays NaN."""
    bits = np.arange(0, np.float32(20).view(np.uint32), 101, dtype=np.uint32)
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    x = np.concatenate([x, np.array([np.inf, -np.inf, np.nan, 0, -0.0, 1e-42], np.float32)])[None]
    p = {"W": np.eye(1, dtype="f4"), "U": np.zeros((1, 1), "f4"), "b": np.zeros(1, "f4")}
    with np.errstate(invalid="ignore"):
        found = forward(Fused(cells.RNN()), p, x[..., None]).output.ravel()
    want = np.tanh(x.ravel().astype(np.float64))
    units = np.abs(found - want) / np.spacing(np.maximum(np.abs(want), 1e-38).astype(np.float32))
    assert np.isnan(found[-4])
    assert np.abs(found[~np.isnan(found)]).max() == 1
    assert np.nanmax(units) < 5


def test_what_cannot_be_recorded_says_so() -> None:
    case = problem("LSTM-layernorm", 2, 2, 2, 3)
    with pytest.raises(CannotRecord, match=r"LayerNormLSTM\.step cannot be recorded"):
        forward(Fused(case.cell), case.p, case.x)


@pytest.mark.parametrize("options", [{"products": "tf32"}, {"persistent": True}])
def test_what_only_a_gpu_has_is_refused(options: dict[str, Any]) -> None:
    case = problem("LSTM", 2, 2, 2, 3)
    with pytest.raises(TypeError, match="are for the GPU"):
        forward(Fused(case.cell, **options), case.p, case.x)


def test_a_used_layer_can_be_copied() -> None:
    layer, x = Recurrent(Fused(cells.GRU()), 4, 6), np.ones((3, 2, 4), "float32")
    want, _ = layer(x)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x)[0], want)


def test_layers_say_it_by_a_word() -> None:
    plain, fused = GRU(4, 6), GRU(4, 6, fused=True)
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
    assert isinstance(fused.stack.cell, Fused)
    assert type(fused.cell) is cells.GRU
    np.testing.assert_allclose(fused(x)[0], plain(x)[0], atol=1e-6)
    assert "fused" in repr(fused)
    assert "fused" not in repr(plain)


class TestCompiling:
    """Where what is compiled goes, and what is said when it cannot be."""

    TEXT = "int answer(void) { return 42; }\n"

    @pytest.fixture(autouse=True)
    def own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RNNCORE_CACHE", str(tmp_path / "cache"))
        processor.compiled.cache_clear()
        yield
        processor.compiled.cache_clear()

    def test_it_is_compiled_once_for_all_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert processor.compiled(self.TEXT).answer() == 42
        processor.compiled.cache_clear()
        monkeypatch.setattr(subprocess, "run", None)
        assert processor.compiled(self.TEXT).answer() == 42
        assert [path.suffix for path in processor.cache_folder().iterdir()] == [".so"]  # and nothing is left behind

    def test_another_compiler_or_processor_is_another_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        processor.compiled(self.TEXT)
        for name in ("_version", "cpu_model"):
            processor.compiled.cache_clear()
            monkeypatch.setattr(processor, name, lambda *path: "another")
            processor.compiled(self.TEXT)
        assert len(list(processor.cache_folder().iterdir())) == 3

    def test_a_truncated_library_is_made_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done = subprocess.run([sys.executable, "-c", _COMPILE], check=False)  # not loaded here, for it is cut short
        assert done.returncode == 0
        (library,) = processor.cache_folder().iterdir()
        library.write_bytes(library.read_bytes()[:100])
        assert processor.compiled(self.TEXT).answer() == 42
        processor.compiled.cache_clear()
        monkeypatch.setattr(subprocess, "run", None)
        assert processor.compiled(self.TEXT).answer() == 42  # and kept this time

    def test_a_folder_that_cannot_be_written_is_done_without(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cache").write_text("a file where a folder should be")
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        assert processor.compiled(self.TEXT).answer() == 42
        assert not any((tmp_path / "temporary").iterdir())  # nothing is left behind

    def test_nowhere_to_keep_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cache").write_text("a file where a folder should be")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))
        with pytest.raises(NoCompiler, match="cannot be kept or loaded: "):
            processor.compiled(self.TEXT)

    def test_no_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(NoCompiler, match="need a C compiler, and none of cc, gcc, clang is there: install one"):
            processor.compiled(self.TEXT)

    def test_a_compiler_that_refuses(self) -> None:
        with pytest.raises(NoCompiler, match=r"does not compile the fused kernels:\n(.|\n)*error"):
            processor.compiled("int answer(void) { return; }}\n")


_COMPILE = f"from rnncore.kernels import processor; processor.compiled({TestCompiling.TEXT!r})"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam_in_one_loop_is_adam(dtype: Any) -> None:
    """Of so many parameters that vectors leave some over, moments and all, over a flush of vanished ones."""
    rng, tolerance = np.random.default_rng(0), 1e-13 if dtype == np.float64 else 1e-5
    shapes = {"W": (37, 29), "b": (37,)}
    for kind in (Adam, AdamW):
        plain, fused = Params(shapes, dtype), Params(shapes, dtype)
        plain.flat[...] = fused.flat[...] = rng.normal(size=plain.size)
        one, other = kind(plain, 0.01), kind(fused, 0.01, fused=True)
        for k in range(70):
            gradient = (rng.normal(size=plain.size) * 10.0 ** -(k % 30)).astype(dtype)
            one.learning_rate = other.learning_rate = 0.01 / (k + 1)
            one.step(gradient)
            other.step(gradient)
        close(fused.flat, plain.flat, tolerance)
        for name in Adam.slots:
            close(other.state_dict()[name], one.state_dict()[name], tolerance)


def test_arrays_that_one_loop_cannot_run_over_are_refused() -> None:
    optimiser = Adam(np.zeros(6, "float32"), fused=True)
    with pytest.raises(ValueError, match=r"g: expected 6 numbers of float32 that lie on end, got \(6,\) of float32"):
        optimiser.step(np.zeros(12, "float32")[::2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 5, 16, 37, 100])
def test_softmax_in_one_loop_is_softmax(classes: int, dtype: Any) -> None:
    """Whole vectors and what is left over; rows of weight 0 with anything in them; and logits far apart."""
    rng, tolerance = np.random.default_rng(0), 1e-13 if dtype == np.float64 else 3e-6
    logits, targets = (30 * rng.normal(size=(9, classes))).astype(dtype), rng.integers(0, classes, 9)
    logits[2], logits[3, 0] = np.nan, -np.inf if classes > 1 else 0
    targets[3] = classes - 1
    weights = rng.random(9).astype(dtype)
    weights[2] = 0
    for smoothing in (0.0, 0.1):
        logits[3, 0] = -50 if smoothing else logits[3, 0]  # of what is not possible no share can be had
        want = softmax_cross_entropy(logits, targets, weights, smoothing=smoothing)
        got = softmax_cross_entropy(logits, targets, weights, smoothing=smoothing, fused=True)
        assert got.loss == pytest.approx(want.loss, rel=tolerance)
        close(got.dlogits, want.dlogits, tolerance)
    real = np.delete(logits, 2, axis=0)
    close(log_softmax(real, fused=True), log_softmax(real), 10 * tolerance)
    assert np.isnan(log_softmax(logits, fused=True)[2]).all()
    spoilt = softmax_cross_entropy(logits, targets, fused=True)
    assert np.isnan(spoilt.loss)
    assert np.isnan(spoilt.dlogits[2]).all()


def test_the_compiled_exponential_is_within_a_few_units_of_the_last_place() -> None:
    """Of two classes the second's logit is x, the first's 0: its gradient is e^x / (1 + e^x) at weight 1."""
    x = -np.concatenate([np.linspace(0, 87, 100_001), [0, 1e-30, 88, 200]]).astype(np.float32)
    logits = np.stack([np.zeros_like(x), x], 1)
    weights = np.ones(len(x), np.float32)
    found = softmax_cross_entropy(logits, np.zeros(len(x), int), weights, fused=True).dlogits[:, 1] * np.float32(len(x))
    want = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(found / want - 1)[x >= -70].max() < 6e-7  # behind that shares are subnormal
    assert (found[x < -87] == 0).all()


def test_nothing_is_compiled_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore.kernels.softmax._call", None)
    monkeypatch.setattr("rnncore.kernels.numbers.Numbers.__call__", None)
    softmax_cross_entropy(np.zeros((2, 3)), np.zeros(2, int))
    log_softmax(np.zeros((2, 3)))
    Adam(np.zeros(3)).step(np.ones(3))


def test_loops_of_the_processor_are_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore.losses.is_on_gpu", lambda x: True)
    monkeypatch.setattr("rnncore.optim.is_on_gpu", lambda x: True)
    with pytest.raises(TypeError, match="expected logits on the host"):
        log_softmax(np.zeros((2, 3)), fused=True)
    with pytest.raises(TypeError, match="expected parameters on the host"):
        Adam(np.zeros(3), fused=True)


def test_logits_that_do_not_lie_on_end_are_refused() -> None:
    with pytest.raises(ValueError, match="rows lie on end"):
        log_softmax(np.zeros((4, 6))[:, ::2], inplace=True, fused=True)

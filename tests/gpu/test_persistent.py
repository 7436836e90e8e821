"""The whole loop as one kernel: its threads and its barriers run on the processor, a few of each."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import Regulariser, cells
from rnncore.kernels import CannotRecord, Fused, persistent
from rnncore.sequence import forward
from tests.gpu import stand_in_cuda
from tests.gpu.test_fused import assert_same, close
from tests.gpu.test_same_as_host import moved
from tests.rnncore.problems import problem

#: T, B, D, H, lengths: units that do not divide evenly, one block, fewer pairs than threads and more.
SIZES: list[Any] = [(3, 3, 2, 5, (3, 1, 2)), (3, 1, 2, 1, None), (2, 3, 2, 34, None), (3, 4, 2, 7, (0, 3, 2, 3))]


@pytest.fixture(autouse=True)
def few_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the processor a block has 4 threads instead of 512."""
    if "card" not in request.node.name:
        monkeypatch.setattr(persistent, "THREADS", 4)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [*(("LSTM", sizes) for sizes in SIZES), *((name, SIZES[0]) for name in ("GRU", "RNN", "LSTM-peephole"))],
    ids=str,
)
def test_every_field_and_gradient(kernels: str, name: str, sizes: Any) -> None:
    case = problem(name, *sizes)
    assert_same(case, Fused(case.cell, persistent=True), passes=2)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_float32(kernels: str, name: str) -> None:
    case = problem(name, 4, 4, 3, 11, (4, 2, 0, 3), dtype=np.float32)
    assert_same(case, Fused(case.cell, persistent=True), passes=1)


@pytest.mark.parametrize("name", ["GRU-before", "LSTM-projection-2", "Greff-FGR", "minGRU"])
def test_cells_with_other_steps_are_refused(kernels: str, name: str) -> None:
    case = moved(problem(name, 2, 2, 3, 4))
    with pytest.raises(CannotRecord, match="a persistent kernel takes"):
        forward(Fused(case.cell, persistent=True), case.p, case.x)


def test_too_many_sequences_and_too_large_weights_are_refused(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = moved(problem("RNN", 1, 65, 1, 2))
    with pytest.raises(ValueError, match="up to 64 sequences, got 65"):
        forward(Fused(case.cell, persistent=True), case.p, case.x)
    monkeypatch.setattr(persistent, "limits_of_card", lambda: persistent.Limits(2, 1000))
    case = moved(problem("LSTM", 2, 2, 3, 20))
    with pytest.raises(ValueError, match=r"H=20 needs \d,\d\d\d bytes of shared memory .* there are 1,000"):
        forward(Fused(case.cell, persistent=True), case.p, case.x)


def test_noise_is_refused(kernels: str) -> None:
    case = moved(problem("LSTM", 2, 2, 3, 4))
    with pytest.raises(ValueError, match="takes neither zoneout nor recurrent dropout"):
        forward(Fused(case.cell, persistent=True), case.p, case.x, regulariser=Regulariser({"h": 0.1}, seed=1))


def test_a_grid_that_would_not_run_as_a_whole_is_refused(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels != "stand-in":
        pytest.skip("the stand-in runs what it is told to")
    monkeypatch.setitem(stand_in_cuda.CARD, "resident", 0)
    case = moved(problem("RNN", 2, 2, 3, 4))
    with pytest.raises(RuntimeError, match="needs 2 blocks at once; this card runs 0"):
        forward(Fused(case.cell, persistent=True), case.p, case.x)


def test_one_launch_for_all_steps(counted: Any, kernels: str) -> None:
    if kernels != "stand-in":
        pytest.skip("the stand-in counts")
    case = problem("LSTM", 6, 2, 3, 4)
    there, fused = moved(case), Fused(cells.LSTM(), persistent=True)
    trace = forward(fused, there.p, there.x, there.initial)
    counted.clear()
    trace = forward(fused, there.p, there.x, there.initial, None, trace)
    assert (counted["kernels"], counted["products"], counted["graphs"]) == (2, 1, 0)  # the loop, and rows of outputs
    close(trace.output, case.run()[0].output, 1e-12)


def test_it_is_prepared_once_for_each_size_of_batch(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller batches, which need less shared memory, take none away from the larger ones that come again."""
    sources, source = [], persistent.source
    monkeypatch.setattr(persistent, "source", lambda *given: sources.append(given) or source(*given))
    fused, batches = Fused(cells.LSTM(), persistent=True), (20, 16, 20, 16)
    needed = {persistent.Limits(3, 0).needed(64, B, 4, 8) for B in batches}
    assert kernels == "card" or min(needed) > 48 << 10
    for B in batches:
        case = problem("LSTM", 1, B, 2, 64)
        there = moved(case)
        close(forward(fused, there.p, there.x, there.initial).output, case.run()[0].output, 1e-12)
    assert len(sources) == 2


@pytest.mark.parametrize("hidden", [256, 512, 1024])
def test_what_a_hopper_card_holds(hidden: int) -> None:
    """132 multiprocessors with 227 KiB each: LSTMs up to 1024 units in float32, with room for 64 sequences."""
    limits, gates = persistent.Limits(132, 227 << 10), 4
    assert limits.needed(hidden, 64, gates, 4) <= limits.shared
    assert limits.blocks(hidden) <= limits.processors
    assert limits.units(hidden) * limits.blocks(hidden) >= hidden


def test_persistent_kernels_round_no_products() -> None:
    with pytest.raises(ValueError, match="its own products, in full; got products='tf32'"):
        Fused(cells.LSTM(), products="tf32", persistent=True)


def test_the_count_in_the_documentation() -> None:
    """What a step would move between the blocks and the second-level cache, in MB, by the formulas."""
    text = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text("utf-8")
    rows = re.findall(r"^\| \((\d+), (\d+)\) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 6
    for B, H, *said in ([float(x) for x in row] for row in rows):
        blocks, gates, h = persistent.Limits(132, 227 << 10).blocks(int(H)), 4, 4 * H * B
        counted = (4 * gates * H * H, blocks * h, blocks * gates * h, 2 * blocks * h)
        assert said == [round(bytes_moved / 1e6, 1) for bytes_moved in counted]

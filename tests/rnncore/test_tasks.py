"""The toy tasks: answers found by other means, baselines by simulation, gradients by differences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.cells import find_cell
from rnncore.gradcheck import numeric_gradient
from rnncore.tasks import TASKS, Adding, Batch, CopyMemory, Network, Parity, Task, TemporalOrder, Text, make_task
from rnncore.tasks import hidden_for as hidden_with
from rnncore.tasks import parameters_of as count
from rnncore.tasks.reber import SYMBOLS, strings

MANY = 20_000
SMALL: dict[str, Task] = {
    "adding": Adding(length=7),
    "copy": CopyMemory(delay=3, symbols=2, kinds=3),
    "order": TemporalOrder(length=12),
    "order of three": TemporalOrder(length=20, marks=3),
    "parity": Parity(length=5),
    "parity at the end": Parity(length=5, every_step=False),
    "reber": make_task("reber"),
    "text": Text(length=6),
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def predicted(task: Task, batch: Batch) -> np.ndarray[Any, Any]:
    """What the baseline's predictor says, (T, B, K) or (B, K), worked out here from the batch alone."""
    T, B = batch.x.shape[:2]
    if isinstance(task, Adding):
        return np.ones((B, 1))
    if isinstance(task, CopyMemory):
        y = np.full((T, B, task.kinds + 1), -50.0)
        y[: -task.symbols, :, task.kinds] = 0
        y[-task.symbols :, :, :-1] = 0
        return y
    if isinstance(task, Text):
        text = task.corpus
        counts = np.bincount(text.train, minlength=len(text.alphabet)) + 1
        return np.broadcast_to(np.log(counts / counts.sum()), (T, B, len(counts)))
    if task.name == "reber":
        return reber_without_memory(batch)
    return np.zeros((*batch.targets.shape, task.output_size))


def measured(task: Task, batch: Batch, y: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Loss and error of predictions, over the steps that are real and those that are counted."""
    if batch.at_end:
        return task.loss(y, batch.targets).loss, task.error(y, batch.targets)
    T, B = batch.targets.shape
    real = np.ones((T, B), bool) if batch.lengths is None else np.arange(T)[:, None] < batch.lengths
    counted = real if batch.counted is None else real & batch.counted
    return task.loss(y[real], batch.targets[real]).loss, task.error(y[counted], batch.targets[counted])


@pytest.mark.parametrize("name", SMALL)
def test_the_baseline_is_what_its_predictor_reaches(name: str) -> None:
    task = SMALL[name]
    batch = task.held_out(rng(1), MANY)
    loss, error = measured(task, batch, predicted(task, batch))
    baseline = task.baseline()
    assert loss == pytest.approx(baseline.loss, rel=0.02)
    assert error == pytest.approx(baseline.error, rel=0.03)


@pytest.mark.parametrize(
    ("task", "loss", "error"),
    [
        (Adding(), 0.1666667, 0.1666667),
        (CopyMemory(100, 10, 8), 10 * math.log(8) / 120, 7 / 8),  # Arjovsky et al. give 10 log 8 / (T + 20)
        (TemporalOrder(), math.log(4), 3 / 4),
        (TemporalOrder(marks=3), math.log(8), 7 / 8),
        (Parity(), math.log(2), 1 / 2),
    ],
)
def test_baselines_by_hand(task: Task, loss: float, error: float) -> None:
    assert task.baseline().loss == pytest.approx(loss, rel=1e-6)
    assert task.baseline().error == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_batches_in_float32(name: str) -> None:
    first, again, other = (SMALL[name].batch(rng(seed), 9) for seed in (3, 3, 4))
    assert first.x.dtype == np.float32
    assert np.array_equal(first.x, again.x)
    assert np.array_equal(first.targets, again.targets)
    assert first.x.shape != other.x.shape or not np.array_equal(first.x, other.x)
    assert first.x.shape[2] == SMALL[name].input_size


def test_adding_sums_the_marked_numbers_of_both_halves() -> None:
    batch = Adding(length=9).batch(rng(), 500)
    seen = set()
    for b in range(500):
        numbers, marks = batch.x[:, b].T
        first, second = np.flatnonzero(marks)
        assert first < 4 <= second
        assert batch.targets[b, 0] == pytest.approx(numbers[first] + numbers[second])
        seen |= {int(first), int(second)}
    assert seen == set(range(9))


def test_copy_wants_blanks_and_then_what_was_shown() -> None:
    task = CopyMemory(delay=4, symbols=3, kinds=5)
    batch = task.batch(rng(), 200)
    shown = batch.x.argmax(2)
    for b in range(200):
        kept = shown[:3, b].tolist()
        assert max(kept) < 5
        assert shown[:, b].tolist() == [*kept, 5, 5, 5, 6, 5, 5, 5]  # T - 1 blanks, the delimiter, S blanks
        assert batch.targets[:, b].tolist() == [5] * 7 + kept
    assert batch.counted is not None
    assert batch.counted.sum(1).tolist() == [0] * 7 + [200] * 3


@pytest.mark.parametrize("marks", [2, 3])
def test_order_is_read_off_the_marks(marks: int) -> None:
    task = TemporalOrder(length=100, marks=marks)
    batch = task.batch(rng(), 2000)
    names, places = "abcdXYEB", set()
    for b in range(2000):
        text = "".join(names[k] for k in batch.x[:, b].argmax(1))
        assert re.fullmatch(r"E[abcdXY]{98}B", text)
        found = [(k, letter) for k, letter in enumerate(text) if letter in "XY"]
        assert len(found) == marks
        assert batch.targets[b] == int("".join("01"["XY".index(letter)] for _, letter in found), 2)
        places |= {k for k, _ in found}
    wanted = [(10, 20), (50, 60)] if marks == 2 else [(10, 20), (33, 43), (66, 76)]
    assert places == {k for first, last in wanted for k in range(first, last)}
    assert np.bincount(batch.targets).min() > 2000 / 2**marks * 0.8


@pytest.mark.parametrize("length", [10, 11, 13, 25])
def test_the_windows_of_short_sequences_stay_apart(length: int) -> None:
    for marks in (2, 3):
        windows = TemporalOrder(length=length, marks=marks).windows
        steps = [k for first, last in windows for k in range(first, last)]
        assert len(steps) == len(set(steps))
        assert 1 <= min(steps) <= max(steps) < length - 1


def test_parity_counts_ones() -> None:
    batch, at_end = (Parity(length=6, every_step=every).batch(rng(), 100) for every in (True, False))
    for b in range(100):
        ones = [int((batch.x[: t + 1, b, 0] == 1).sum()) for t in range(6)]
        assert batch.targets[:, b].tolist() == [n % 2 for n in ones]
    assert set(np.unique(batch.x)) == {-1, 1}
    assert np.array_equal(at_end.targets, batch.targets[-1])


#: The grammar once more, as the literature draws it: from each node the letters that lead on, and where to.
GRAPH = {
    "start": {"B": "fork"},
    "fork": {"T": "upper", "P": "lower"},
    "upper": {"S": "upper", "X": "right of upper"},
    "lower": {"T": "lower", "V": "right of lower"},
    "right of upper": {"X": "lower", "S": "last"},
    "right of lower": {"P": "right of upper", "V": "last"},
    "last": {"E": "end"},
}


def accepts(text: str) -> bool:
    """Whether a text is an embedded Reber string."""
    if len(text) < 8 or text[0] + text[-1] != "BE" or text[1] not in "TP" or text[-2] != text[1]:
        return False
    node = "start"
    for letter in text[2:-2]:
        if letter not in GRAPH.get(node, {}):
            return False
        node = GRAPH[node][letter]
    return node == "end"


def reber_without_memory(batch: Batch) -> np.ndarray[Any, Any]:
    """Log-probabilities of who follows the grammar and knows all, but the second letter, T or P with one half each."""
    T, B = batch.x.shape[:2]
    y = np.full((T, B, len(SYMBOLS)), -50.0)
    assert batch.lengths is not None
    for b in range(B):
        node, letters = "start", [SYMBOLS[k] for k in batch.x[: batch.lengths[b], b].argmax(1)]
        for t, letter in enumerate(letters):
            if t >= 2:
                node = GRAPH.get(node, {}).get(letter, "outside")
            following = "TP" if t == 0 or node == "end" else "E" if node == "outside" else "".join(GRAPH[node])
            for symbol in following:
                y[t, b, SYMBOLS.index(symbol)] = -math.log(len(following))
    return y


def test_reber_strings_are_accepted_by_another_automaton() -> None:
    ids, lengths = strings(rng(), 3000)
    texts = ["".join(SYMBOLS[k] for k in ids[:n, b]) for b, n in enumerate(lengths)]
    assert all(accepts(text) for text in texts)
    assert len(set(texts)) > 300
    assert np.mean(lengths) == pytest.approx(12, rel=0.02)
    rejected = [accepts(text[:-2] + ("P" if text[-2] == "T" else "T") + "E") for text in texts]
    rejected += [accepts(text[:4] + text[5:]) and text[4] not in "ST" for text in texts]
    assert not any(rejected)
    batch = make_task("reber").batch(rng(), 3000)
    for b, text in enumerate(texts):
        assert "".join(SYMBOLS[k] for k in batch.targets[: lengths[b] - 1, b]) == text[1:]
        assert batch.counted is not None
        assert np.flatnonzero(batch.counted[:, b]).tolist() == [lengths[b] - 3]


def test_text_is_cut_where_it_says(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("äbc" * 300 + "z" * 100, "utf-8")
    task = Text(str(file), length=20)
    assert task.corpus.alphabet == "bczä"
    learned, held = task.batch(rng(), 50), task.held_out(rng(), 50)
    assert (held.x.argmax(2) == 2).all()
    assert learned.targets.max() == 3
    assert np.array_equal(learned.x[1:].argmax(2), learned.targets[:-1])
    with pytest.raises(ValueError, match="too few for a window"):
        Text(str(file), length=100).batch(rng(), 1)
    file.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        Text(str(file), length=21).baseline()
    with pytest.raises(OSError, match="nowhere"):
        Text("nowhere.txt").baseline()


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "LSTM-projection", "Greff-FGR"])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_a_network_hold(name: str, cell: str) -> None:
    task = SMALL[name] if name != "text" else Text(length=2)
    network = Network(task, find_cell(cell), 2, dtype=np.float64)
    network.params.flat[...] = rng(1).normal(0, 0.7, network.params.size)
    batch = task.batch(rng(2), 3)
    network.loss_and_gradients(batch)
    analytic = network.grads.flat.copy()
    chosen = rng(3).permutation(network.params.size)[:60]
    for k in chosen:
        one = network.params.flat[k : k + 1]
        [numeric] = numeric_gradient(lambda: network.measure(batch).loss, one)
        assert analytic[k] == pytest.approx(numeric, abs=1e-8, rel=1e-6)
    assert np.abs(analytic[chosen]).max() > 1e-4


def test_a_network_measures_what_a_plain_reading_of_its_outputs_says() -> None:
    task = make_task("reber")
    network, batch = Network(task, find_cell("GRU"), 4), task.batch(rng(), 200)
    got = network.measure(batch)
    assert network.trace is not None
    h = network.trace.packing.unpack(network.trace.output)
    y = h @ network.params["out.W"].T + network.params["out.b"]
    assert batch.lengths is not None
    where = (batch.lengths - 2, np.arange(200))
    assert got.error == pytest.approx((y[where].argmax(1) != batch.targets[where]).mean())
    assert 0 < got.error < 1


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU", "minGRU", "CIFG", "LSTM-projection"])
@pytest.mark.parametrize("hidden", [1, 5, 64])
def test_equal_parameters_are_as_close_as_can_be(cell: str, hidden: int) -> None:
    task = Adding()
    wanted = count(task, find_cell("LSTM"), hidden)
    found = hidden_with(task, find_cell(cell), wanted)
    assert count(task, find_cell(cell), found) == Network(task, find_cell(cell), found).params.size
    gaps = {h: abs(count(task, find_cell(cell), h) - wanted) for h in range(1, 3000)}
    assert gaps[found] == min(gaps.values())


def test_parameters_that_no_size_has_are_refused() -> None:
    with pytest.raises(ValueError, match="one unit"):
        hidden_with(Text(), find_cell("LSTM"), 20)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: make_task("adds"),
            r"no task 'adds'; there are adding, copy, .*, or write module:Class",
        ),
        (lambda: make_task("nowhere:Latch"), r"'nowhere:Latch' cannot be loaded: No module named 'nowhere'"),
        (lambda: make_task("adding", size=3), r"adding has no setting 'size'; there are length=50"),
        (lambda: make_task("adding", length="many"), r"adding: length must be a whole number, got 'many'"),
        (lambda: make_task("adding", length=2.5), r"length must be a whole number"),
        (lambda: make_task("parity", every_step="maybe"), r"every_step must be true or false"),
        (lambda: make_task("adding", length=1), r"length must be at least 2, got 1: there are two numbers"),
        (lambda: make_task("copy", kinds=1), r"kinds must be at least 2"),
        (lambda: make_task("order", marks=4), r"marks must be 2 or 3, got 4"),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], Task], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_settings_come_as_text_and_make_the_task_again() -> None:
    assert make_task("parity", length="9", every_step="false") == Parity(9, False)
    for task in SMALL.values():
        settings = task.settings()
        settings.pop("fingerprint", None)
        assert make_task(**settings) == task
    assert set(TASKS) == {"adding", "copy", "order", "parity", "reber", "text"}

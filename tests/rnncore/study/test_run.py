"""A run is a copy of everything that happened, and comes out of it as arrays, tables and files."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors import safe_open

from rnncore import GRU, LSTM
from rnncore.study import Run, table, text, write_csv, write_safetensors
from tests.rnncore.study.runs import LENGTHS, small_run

TOKENS = [["the", "dog", "runs", "on", "the", "grass"], ["the", "a", "b"], [], list("abcde")]


def test_a_run_holds_what_the_trace_showed_and_no_later_pass_changes_it() -> None:
    rng = np.random.default_rng(0)
    layer = LSTM(3, 4, layers=2, bidirectional=True, dtype="float64")
    x = rng.normal(size=(6, 4, 3))
    output, _ = layer(x, lengths=LENGTHS)
    layer.backward(output, keep_state_gradients=True)
    expected = {name: layer.traces[1][1][name] for name in layer.traces[1][1].names}
    dc = layer.traces[1][1].gradient("c")
    run = Run.of(layer, TOKENS, depth=1, reverse=True, name="upper")
    layer(rng.normal(size=(6, 4, 3)), lengths=[1, 1, 1, 1])
    layer.params.flat[...] = 0
    assert run.values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(run[name], value)
    np.testing.assert_array_equal(run.gradients["c"], dc)
    assert run.weights["W"].any()
    assert run.tokens is not None
    assert run.tokens[0] == tuple(reversed(TOKENS[0]))
    assert (run.steps, run.batch, run.hidden, run.name) == (6, 4, 4, "upper")
    trace = run.again()
    np.testing.assert_array_equal(trace["h"], run["h"])


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "LSTM-projection", "Greff-FGR", "RNN", "minGRU", "LSTM-layernorm"])
def test_states_before_a_step_are_those_after_the_one_before(cell: str) -> None:
    run = small_run(cell)
    for k, name in enumerate(run.cell.state):
        before = run.before(name)
        np.testing.assert_array_equal(before[0], run.initial[k])
        np.testing.assert_array_equal(before[1:][run.real[1:]], run[name][:-1][run.real[1:]])


def test_rows_and_words_go_together_and_leave_out_the_padding() -> None:
    run = small_run(tokens=TOKENS)
    assert len(run.words()) == len(run.rows("forget")) == sum(LENGTHS)
    k = 6 + 1  # the second word of the second sequence
    assert run.words()[k] == "a"
    np.testing.assert_array_equal(run.rows("forget")[k], run["forget"][1, 1])


def test_a_run_without_backward_has_no_gradients() -> None:
    layer = GRU(2, 3)
    layer(np.ones((4, 1, 2), "float32"))
    assert Run.of(layer).gradients == {}


def test_what_does_not_fit_is_refused() -> None:
    layer = GRU(2, 3)
    layer(np.ones((4, 1, 2), "float32"))
    with pytest.raises(ValueError, match=r"one for each real step, \[4\] of them, got \[2\]"):
        Run.of(layer, [["a", "b"]])
    with pytest.raises(ValueError, match="no reverse direction"):
        Run.of(layer, reverse=True)
    run = Run.of(layer)
    with pytest.raises(KeyError, match="no 'forget' in this run; there are reset, update"):
        run["forget"]
    with pytest.raises(ValueError, match="has no tokens"):
        run.words()
    with pytest.raises(KeyError, match="no columns"):
        table(run, 0, names=["forget"])


def test_a_table_shows_the_numbers_of_one_unit() -> None:
    run = small_run(tokens=TOKENS)
    shown = text(run, unit=2, sequence=1, names=["forget", "d c"], digits=4)
    for t, word in enumerate(TOKENS[1]):
        line = next(line for line in shown.splitlines() if f" {t} " in line and f" {word} " in line)
        assert f"{run['forget'][t, 1, 2]:.4f}" in line
        assert f"{run.gradients['c'][t, 1, 2]:.4f}" in line
    console = Console(file=io.StringIO(), width=100)
    console.print(table(run, 0))
    assert "candidate" in console.file.getvalue()  # type: ignore[attr-defined]


def test_csv_gives_every_number_back(tmp_path: Path) -> None:
    run = small_run("LSTM-projection", tokens=TOKENS)
    write_csv(run, tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(LENGTHS) * run.hidden
    for row in rows:
        t, b, k = (int(row[key]) for key in ("step", "sequence", "unit"))
        assert row["token"] == TOKENS[b][t]
        assert float(row["forget"]) == run["forget"][t, b, k]
        assert float(row["d c"]) == run.gradients["c"][t, b, k]


def test_safetensors_gives_every_array_back(tmp_path: Path) -> None:
    run = small_run(tokens=TOKENS)
    write_safetensors(run, tmp_path / "run.safetensors")
    with safe_open(tmp_path / "run.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["header"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert header["cell"] == "LSTM"
    assert header["tokens"] == TOKENS
    for group, values in (("value", run.values), ("gradient", run.gradients), ("weight", run.weights)):
        for name, value in values.items():
            np.testing.assert_array_equal(arrays[f"{group}/{name}"], value)
    np.testing.assert_array_equal(arrays["lengths"], run.lengths)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        write_csv(small_run(), tmp_path / "missing" / "run.csv")
    assert list(tmp_path.iterdir()) == []

"""The examples run as a person runs them, with small settings, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnncore import Recomputed, Recurrent, Regulariser, check_cell
from rnncore.cells import find_cell

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: str) -> str:
    line = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def numbers(pattern: str, text: str) -> list[float]:
    return [float(n) for n in re.findall(pattern, text)]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.stem)
def test_an_example_is_short_and_says_how_to_run_it(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text.splitlines()) < 180
    assert f"python examples/{file.name}" in text


def test_own_cell() -> None:
    text = run("own_cell", "--hidden", "12", "--steps", "150")
    [error] = numbers(r"gradients hold: .*relative error (\S+)", text)
    assert error < 1e-7
    assert "output (6, 3, 8), h (4, 3, 4), c (4, 3, 4)" in text
    [(first, last)] = [(float(a), float(b)) for a, b in re.findall(r"error (\S+) at first, (\S+) at last", text)]
    assert last < first


def test_the_own_cell_gets_what_the_library_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    cell = find_cell("own_cell:Peephole")
    noise = Regulariser(zoneout={"h": 0.3, "c": 0.4}, recurrent_dropout=0.3, seed=1)
    assert check_cell(cell, regulariser=noise).error < 1e-7
    layer = Recurrent(cell, 2, 3, layers=2, dropconnect=0.3, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(9, 4, 2))
    layer.training = False
    output, _ = layer(x, lengths=[9, 3, 0, 8])
    layer.backward(output, keep_state_gradients=True)
    assert layer.trace.gradient("c")[0].any()
    expected, sparse = layer.grads.copy(), Recomputed(layer)
    sparse(x, lengths=[9, 3, 0, 8])
    sparse.backward(output)
    np.testing.assert_allclose(layer.grads.flat, expected.flat, atol=1e-12)
    live = layer.stepper(batch=4)
    np.testing.assert_allclose(np.stack([live.step(x_t) for x_t in x]), layer(x)[0], atol=1e-14)


def test_the_cell_in_own_cell_is_of_the_length_that_is_promised() -> None:
    text = (ROOT / "examples" / "own_cell.py").read_text("utf-8")
    assert text.index("class Peephole:") < text.index("def spikes(")
    assert len(text[: text.index("def spikes(")].splitlines()) <= 110


def test_char_lm(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("abcdefgh. " * 400, "utf-8")
    small = ("--hidden", "24", "--layers", "1", "--steps", "300", "--batch", "4", "--length", "16")
    text = run("char_lm", "--text", str(file), *small, "--sample", "30", "--temperature", "0.2")
    held_out = numbers(r"perplexity held out (\S+)", text)
    assert len(held_out) == 10
    assert held_out[-1] < 1.3 < held_out[0]
    assert re.search(r"(abcdefgh\. )\1", text)


def test_char_lm_reads_what_comes_with_python() -> None:
    small = ("--characters", "20000", "--hidden", "16", "--steps", "20", "--batch", "8", "--length", "16")
    text = run("char_lm", *small, "--sample", "20")
    assert text.startswith("20,000 characters, ")
    held_out = numbers(r"perplexity held out (\S+)", text)
    assert held_out[-1] < held_out[0]


def test_adding_problem() -> None:
    text = run("adding_problem", "--kinds", "LSTM", "RNN", "GRU", "--length", "8", "--steps", "250")
    for kind in ("LSTM", "RNN", "GRU"):
        assert numbers(rf"{kind} after 250 steps: error (\S+)", text)[0] < 0.12


def test_streaming() -> None:
    text = run("streaming", "--hidden", "12", "--steps", "120", "--record", "400")
    assert numbers(r"differ by (\S+) at most", text)[0] < 1e-5
    [last] = numbers(r"after 120 chunks: error (\S+),", text)
    [idle] = numbers(r"after 120 chunks: .* against (\S+) of", text)
    assert last < idle / 2
    assert numbers(r"over 400 samples the first state still moves the last by (\S+)", text)


@pytest.mark.parametrize("name", ["own_cell", "char_lm", "adding_problem", "streaming"])
def test_an_example_has_help(name: str) -> None:
    assert "--seed" in run(name, "--help")


def test_weights_from_pytorch(tmp_path: Path) -> None:
    text = run("weights_from_pytorch", "--folder", str(tmp_path / "new"))
    assert numbers(r"differ from PyTorch's by (\S+) at most", text)[0] < 1e-10
    assert numbers(r"in ONNX Runtime differs by (\S+) at most", text)[0] < 1e-5
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"lstm.safetensors", "lstm.onnx"}

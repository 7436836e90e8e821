"""The peers: equal work or none, rows of every part, batches after Flickr8k, prefixes as the usual recipe has them."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import record
from benchmarks.peers import __main__ as command
from benchmarks.peers import captioner, corpus, decoding, encoder, keras_captioner, layers, ours
from benchmarks.peers.problem import CAPTION_LENGTHS, Problem, caption_lengths
from benchmarks.turns import Competitor
from rnncore.kernels import Fused

ROOT = Path(__file__).parents[2]
SMALL = Problem("GRU", 6, 5, 4, 3)
needs_compiler = pytest.mark.skipif(not record.has_fused(), reason=str(record.fused_kernels()["why"]))
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed: the extra 'peers'")


@pytest.fixture(scope="module")
def few() -> corpus.Corpus:
    return corpus.drawn_corpus(40)


def test_who_computes_something_else_is_not_timed() -> None:
    mine = ours.training(SMALL)
    wrong = Competitor(lambda: [a * 1.01 for a in mine.call()])
    SMALL.check({"ours": mine, "twin": ours.training(SMALL)})
    with pytest.raises(RuntimeError, match="array 0 of peer is not that of ours; nothing is timed"):
        SMALL.check({"ours": mine, "peer": wrong})
    half = Competitor(lambda: [mine.call()[0], mine.call()[1][:3]])
    with pytest.raises(RuntimeError, match="array 1 of peer"):
        SMALL.check({"ours": mine, "peer": half})
    nan = Competitor(lambda: [a * np.nan for a in mine.call()])
    with pytest.raises(RuntimeError, match="array 0"):
        SMALL.check({"ours": mine, "peer": nan})


def test_fused_kernels_take_part_where_there_is_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("ours fused" in layers.competitors(SMALL, "training")) == record.has_fused()
    monkeypatch.setattr(record, "fused_kernels", lambda: {"compiler": None, "why": "no compiler"})
    for call in ("training", "forward", "step", "floor"):
        assert not [name for name in layers.competitors(SMALL, call) if "fused" in name]


@needs_compiler
def test_fused_kernels_that_compute_something_else_are_not_timed() -> None:
    problem = replace(SMALL, cell="LSTM")
    problem.fused_layer.params["layer0.U"][0, 0] += 0.5
    with pytest.raises(RuntimeError, match="array 0 of ours fused is not that of ours; nothing is timed"):
        problem.check(layers.competitors(problem, "training"))


@needs_compiler
def test_a_fused_captioner_has_the_parameters_and_the_gradients_of_the_other(
    few: corpus.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = corpus.trainer(few, "LSTM", model__hidden=8, model__dense=4, embedding__size=4)
    twin, batch = corpus.fused(made), next(corpus.batches(made, 15))
    assert isinstance(twin.model.network.cells[0], Fused)
    assert twin.model.loss_and_gradients(batch) == pytest.approx(made.model.loss_and_gradients(batch), abs=1e-6)
    np.testing.assert_allclose(twin.model.grads.flat, made.model.grads.flat, rtol=1e-4, atol=1e-6)
    before = made.model.params.flat.copy()
    captioner.ours(twin)(batch)
    np.testing.assert_array_equal(made.model.params.flat, before)
    assert not np.array_equal(twin.model.params.flat, before)
    monkeypatch.setattr(made.model, "loss", lambda batch: 0.0)
    with pytest.raises(RuntimeError, match=r"fused kernels change the model: loss 0\.0"):
        corpus.fused(made)


def test_installed_peers_compute_what_we_compute() -> None:
    for cell in layers.CELLS:
        for call in ("training", "forward", "step"):
            problem = replace(SMALL, cell=cell, T=1 if call == "step" else 6)
            found = layers.competitors(problem, call)
            assert "onnxruntime" in found or call == "training"
            problem.check(found)


@needs_torch
def test_torch_with_mixed_lengths_packed_and_padded() -> None:
    problem = Problem("LSTM", 30, 12, 4, 3, mixed=True)
    found = layers.competitors(problem, "training")
    problem.check({name: each for name, each in found.items() if name != "torch padded"})
    packed = [np.asarray(a) for a in found["torch packed"].first()]
    padded = [problem.packing.pack(np.asarray(a)) for a in found["torch padded"].first()]
    for a, b in zip(packed, padded, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_stream_begins_anew_at_every_turn() -> None:
    step = ours.step(replace(SMALL, T=1))
    first = step.first()[0].copy()
    assert not np.array_equal(step.call()[0], first)
    np.testing.assert_array_equal(step.first()[0], first)


def test_lengths_are_distributed_as_flickr8ks() -> None:
    assert sum(CAPTION_LENGTHS) == 30_000
    everything = np.repeat(np.arange(2, 2 + len(CAPTION_LENGTHS)), CAPTION_LENGTHS)
    for count in (15, 64, 256):
        lengths = caption_lengths(count)
        assert len(lengths) == count
        assert (np.diff(lengths) <= 0).all()
        assert lengths.mean() == pytest.approx(everything.mean(), abs=0.15)
    assert caption_lengths(64, longest=8).max() == 8


def test_drawn_captions_have_flickr8ks_words_and_lengths(few: corpus.Corpus) -> None:
    made = corpus.trainer(few, "GRU", model__hidden=4, model__dense=4, embedding__size=4)
    everything = corpus.drawn_corpus(1500)
    words = {word for captions in everything.dataset.captions.values() for c in captions for word in c.split()}
    assert len(words) == corpus.WORDS
    assert made.train_split.lengths.mean() == pytest.approx(10.74, abs=0.3)
    different = list(islice(corpus.batches(made, 15), 20))
    assert {batch.packing.batch for batch in different} == {15}
    assert corpus.drawn_corpus(40).dataset == few.dataset


def test_prefixes_are_those_of_the_usual_recipe(few: corpus.Corpus) -> None:
    made = corpus.trainer(few, "LSTM", model__hidden=4, model__dense=4, embedding__size=4)
    batch = next(corpus.batches(made, 3))
    (pictures, inputs), targets = keras_captioner.prefixes(batch, len(made.vocabulary))
    assert len(pictures) == len(inputs) == len(targets) == batch.packing.lengths.sum()
    longest = batch.packing.lengths[0]
    assert (inputs[0] != 0).sum() == 1
    assert inputs[0, -1] == made.vocabulary.start
    assert inputs[longest - 1, -longest] == made.vocabulary.start
    assert targets[longest - 1].argmax() == made.vocabulary.end
    assert (targets.sum(1) == 1).all()
    np.testing.assert_array_equal(inputs[1, -1], targets[0].argmax())
    np.testing.assert_array_equal(pictures[0], batch.vectors[0])


@needs_torch
def test_torch_finds_the_same_captions(few: corpus.Corpus) -> None:
    made = corpus.trainer(few, "GRU")
    step = captioner.ours(made)
    for batch in islice(corpus.batches(made, 64), 6):
        step(batch)
    for beam in (1, 3):
        captions = {name: each.first() for name, each in decoding.competitors(made, beam, 20).items()}
        assert decoding.agreement(captions) >= 0.95


def test_agreement() -> None:
    assert decoding.agreement({"ours": [(1,), (2, 3)], "torch": [(1,), (2, 4)]}) == 0.5
    assert decoding.agreement({"ours": [(1,)]}) is None


def test_the_share_of_different_beginnings() -> None:
    assert decoding.beginnings([(4, 5), (4, 5), (4, 6)]) == (1 + 1 + 2) / 9
    assert decoding.beginnings([(4,)]) == 1


def test_the_parts_of_a_captioners_step_add_up(few: corpus.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioner, "PROFILED", 3)
    (row, _) = captioner.measure(1, quick=True, corpus=few)
    assert sum(row["parts"].values()) == pytest.approx(1)
    assert {"cell forward", "cell backward", "softmax", "optimiser", "words"} <= set(row["parts"])
    assert min(row["parts"].values()) > -0.01
    assert "ours" in row["seconds"]
    assert ("ours fused" in row["seconds"]) == ("parts fused" in row) == record.has_fused()
    if record.has_fused():
        assert sum(row["parts fused"].values()) == pytest.approx(1)
        assert row["parts fused"]["cell backward"] > 0


#: A step that keeps four megabytes every time. What is resident is told of in a process of its own alone: in one that
#: has worked before, an array may lie in memory that is resident already.
WASTEFUL = """
import json, numpy as np
from benchmarks.peers import memory
from benchmarks.peers.problem import Problem
kept = []
memory.step_of = lambda library, problem: lambda: kept.append(np.ones(500_000))
print(json.dumps(memory.measure_here("ours", Problem("LSTM", 10, 8, 16, 16), 120)))
"""
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")


@needs_proc
def test_a_planted_waste_of_memory_is_seen() -> None:
    done = subprocess.run([sys.executable, "-c", WASTEFUL], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["peak"] > 120 * 3
    assert found["growth"] > 20 * 3


@needs_proc
@pytest.mark.parametrize("library", ["ours", *["ours fused"] * record.has_fused()])
def test_memory_of_a_library_in_a_process_of_its_own(library: str) -> None:
    options = "--cell GRU --steps 120 --shape 20 16 32 32"
    found = json.loads(record.run_module("benchmarks.peers.memory", ["--library", library, *options.split(" ")]))
    assert 0 < found["peak"] < 50
    assert found["growth"] < 2


def test_the_command_keeps_what_it_measures(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command.main)
    options = ["--quick", "--rounds", "1", "--folder", str(tmp_path)]
    unknown = CliRunner().invoke(app, ["nonsense", *options])
    assert unknown.exit_code == 2
    assert CliRunner().invoke(app, ["step", *options]).exit_code == 0
    (kept,) = tmp_path.glob("*-step*.json")
    content = record.load(kept)
    assert [row["cell"] for row in content["rows"]] == ["LSTM", "GRU"]
    assert all(("ours fused" in row["seconds"]) == record.has_fused() for row in content["rows"])
    assert "One step of a stream" in next(tmp_path.glob("*.md")).read_text()


def step_row(cell: str, **more: float) -> dict[str, object]:
    return {"work": "step", "cell": cell, "shape": [1, 1, 256, 256], "seconds": {"ours": [1.0]}, **more}


def test_an_interrupted_part_goes_on_and_a_disturbed_row_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[object]] = []
    shares = {"LSTM": [0.0], "GRU": [0.5, 0.01]}

    def going(interrupt: bool) -> object:
        def rows(there: list[dict[str, object]]) -> object:
            asked.append([row["cell"] for row in there])
            for cell in ("GRU", "LSTM"):
                if cell not in asked[-1]:
                    monkeypatch.setattr(record.Others, "share", lambda self, cell=cell: shares[cell].pop(0))
                    yield step_row(cell)
                    if interrupt and cell == "LSTM":
                        raise KeyboardInterrupt

        return lambda rounds, quick: {"step": (rows, 2)}

    monkeypatch.setattr(record, "has_fused", lambda: False)
    monkeypatch.setattr(command, "parts", going(interrupt=True))
    with pytest.raises(KeyboardInterrupt):
        command.run_part("step", 1, False, tmp_path)
    (partial,) = tmp_path.iterdir()
    assert partial.suffix == ".partial"
    assert len(record.load(partial)["rows"]) == 2
    monkeypatch.setattr(command, "parts", going(interrupt=False))
    whole = record.load(command.run_part("step", 1, False, tmp_path, resume=True))
    assert asked == [[], ["LSTM"]]
    assert [(row["cell"], row["others"]) for row in whole["rows"]] == [("LSTM", 0.0), ("GRU", 0.01)]
    assert not partial.exists()
    monkeypatch.setattr(record, "has_fused", lambda: True)
    shares |= {"LSTM": [0.0], "GRU": [0.0]}
    command.run_part("step", 1, False, tmp_path, resume=True)
    assert asked[-1] == [], "rows from before there were fused kernels are measured again"


def test_the_floor_is_products_and_calls_and_has_no_bar() -> None:
    row = next(layers.measure("floor", 1, 16))
    fused = {"ours fused", "calls fused"} if record.has_fused() else set()
    assert set(row["seconds"]) == {"ours", "products", "calls"} | fused
    assert "bar" not in row


def test_rows_that_are_there_are_not_measured_again() -> None:
    there = [("LSTM", (1, 1, 32, 32))]
    assert [row["cell"] for row in layers.measure("step", 1, 8, there)] == ["GRU"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat tells what others do")
def test_the_share_of_others_counts_them_and_not_us(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(100.0, 10.0, 0.0), (108.0, 16.0, 4.0), (108.0, 16.0, 4.0)])
    monkeypatch.setattr(record.Others, "_now", lambda self: next(readings))
    monkeypatch.setattr(record.os, "cpu_count", lambda: 2)
    others = record.Others()
    assert others.share() == (8 - 6) / (4 * 2)
    assert others.share() == 0.0
    monkeypatch.undo()
    assert 0 <= record.Others().share() <= 1.5


def test_pictures_are_made_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONING_DATA", str(tmp_path / "nowhere"))
    made, pictures = encoder.setting(tmp_path, 2)
    assert len(pictures) == 2
    work = encoder.competitors(made, pictures, tmp_path)
    work["ours"].call()
    work["ours"].call()
    assert len(list(tmp_path.glob("store*"))) == 2

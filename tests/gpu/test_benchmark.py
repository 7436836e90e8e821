"""The benchmark of the GPU runs from end to end, here at sizes of no interest; its figures are for a card alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import captioner, lacking, layers
from benchmarks.gpu.card import round_products
from benchmarks.peers.corpus import drawn_corpus
from benchmarks.record import load, save
from rnncore import to_device

QUICK: dict[str, Any] = {"rounds": 2, "turn": 0.0, "pause": 0.0}


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_row_of_layers(kernels: str, cell: str) -> None:
    row = layers.measure({"tf32": 1e12}, False, cell=cell, T=3, B=2, H=4, products="tf32", **QUICK)
    assert row["training"]["ours_ms"] > 0
    flop = 3 * 2 * 3 * 2 * {"LSTM": 4, "GRU": 3}[cell] * 4 * (4 + 4)
    assert row["training"]["floor_ms"] == pytest.approx(flop / 1e12 * 1e3)


def test_the_persistent_kernel_stands_beside_it_or_says_why_not(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels == "stand-in":
        monkeypatch.setattr("rnncore.kernels.persistent.THREADS", 4)
    named = {"cell": "LSTM", "T": 3, "B": 2, "H": 4, "products": "float32"}
    assert layers.measure({"float32": 1e12}, False, **named, **QUICK)["training"]["ours persistent_ms"] > 0
    monkeypatch.setattr("rnncore.kernels.persistent.Limits.needed", lambda *sizes: 1 << 30)
    row = layers.measure({"float32": 1e12}, False, **named, **QUICK)
    assert "ours persistent_ms" not in row["training"]
    assert "ValueError: a persistent kernel of H=4 needs" in row["persistent"]


def test_a_persistent_kernel_that_does_not_run_costs_its_own_figures_alone(
    kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CompileException(Exception):
        """As CuPy's, it is no other exception than that."""

    def fails(*arguments: Any) -> None:
        raise CompileException("expected a ;")

    monkeypatch.setattr("rnncore.kernels.persistent.run", fails)
    row = layers.measure({"float32": 1e12}, False, cell="LSTM", T=3, B=2, H=4, products="float32", **QUICK)
    assert row["training"]["ours_ms"] > 0
    assert row["persistent"] == "CompileException: expected a ;"


@pytest.mark.parametrize("variant", lacking.VARIANTS)
def test_a_row_of_what_cudnn_lacks(kernels: str, variant: str) -> None:
    row = lacking.measure(False, variant=variant, T=3, B=2, H=4, **QUICK)
    assert row["training"]["ours_ms"] > 0


@pytest.mark.parametrize("variant", lacking.VARIANTS)
def test_the_loop_in_pytorch_is_the_same_cell(variant: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    row = lacking.measure(True, variant=variant, T=5, B=3, H=6, device="cpu", **QUICK)
    assert row["training"]["ratio"] > 0


def test_a_loop_that_differs_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr("benchmarks.gpu.torch_loop.EPSILON", 0.1)
    with pytest.raises(AssertionError, match="the competitors differ by"):
        lacking.measure(True, variant="layer normalisation", T=5, B=3, H=6, device="cpu", **QUICK)


@pytest.mark.parametrize("products", captioner.PRODUCTS)
def test_a_row_of_the_captioner(kernels: str, monkeypatch: pytest.MonkeyPatch, products: str) -> None:
    small(monkeypatch)
    row = captioner.measure(drawn_corpus(8), False, cell="GRU", captions=6, products=products, **QUICK)
    assert row["captions_per_second"]["ours"] > 0
    assert row["peak_bytes"]["ours"] > 0


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_captioner_beside_pytorch(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    small(monkeypatch)
    named = {"cell": cell, "captions": 6, "products": "float32"}
    row = captioner.measure(drawn_corpus(8), True, **named, device="cpu", **QUICK)
    assert set(row["captions_per_second"]) == {"ours", "torch padded", "torch packed"}
    assert row["ratio"] > 0


@pytest.mark.parametrize("products", captioner.PRODUCTS)
def test_losses_are_compared_as_products_are_rounded_in_the_row(monkeypatch: pytest.MonkeyPatch, products: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    small(monkeypatch)
    flags, seen = (torch.backends.cudnn, torch.backends.cuda.matmul), []
    round_products("float32" if products == "tf32" else "tf32")  # as the row before has left them
    check = "benchmarks.peers.torch_captioner.TorchCaptioner._check_equal_loss"
    monkeypatch.setattr(check, lambda *given: seen.append([each.allow_tf32 for each in flags]))
    named = {"cell": "GRU", "captions": 6, "products": products}
    captioner.measure(drawn_corpus(8), True, **named, device="cpu", **QUICK)
    round_products("float32")
    assert seen == [[products == "tf32"] * 2] * 2


def test_all_parts_are_kept_row_by_row_and_resumed(
    kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, calls = tmp_path / "gpu.json", []
    monkeypatch.setattr(layers, "SHAPES", ((3, 2, 4),))
    monkeypatch.setattr(layers, "product_rate", lambda products: 1e12)
    monkeypatch.setattr(layers, "measure", lambda rates, torch, **row: calls.append(row) or {"training": {"ms": 1.0}})
    options: dict[str, Any] = {"json": kept, "part": ["layers"], "without_torch": True}
    assert run(**options, resume=False, minutes=0.0) == 0
    assert "6 rows are left: the same command with --resume goes on" in capsys.readouterr().err
    assert run(**options, resume=True, minutes=9.0) == 0
    assert len(calls) == len(load(kept)["rows"]) == 6
    content = load(kept)
    content["rows"] = [row | ({"failed": "x"} if row["cell"] == "GRU" else {}) for row in content["rows"]]
    save(kept, content)
    assert run(**options, resume=True, minutes=9.0) == 0
    assert [row["cell"] for row in calls[6:]] == ["GRU"] * 3
    assert set(load(kept)["gpu"]) >= {"card", "driver", "runtime", "cupy"}
    assert not missing_names(load(kept))


def missing_names(record: dict[str, Any]) -> set[str]:
    """What a row must have to be told from others."""
    return {name for row in record["rows"] for name in ("table", "cell", "T", "B", "H", "products") if name not in row}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("the competitors differ by 1e-1 of 1"), "AssertionError: the competitors differ by 1e-1 of 1"),
        (Exception("no NVRTC"), "Exception: no NVRTC"),  # CuPy's CompileException is no other exception either
    ],
    ids=["differ", "no kernel"],
)
def test_a_row_that_fails_says_so_and_the_others_go_on(
    kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(rates: Any, torch: bool, **row: Any) -> dict[str, Any]:
        if row["cell"] == "LSTM":
            raise error
        return {"training": {}}

    monkeypatch.setattr(layers, "SHAPES", ((3, 2, 4),))
    monkeypatch.setattr(layers, "product_rate", lambda products: 1e12)
    monkeypatch.setattr(layers, "measure", fails)
    kept = tmp_path / "gpu.json"
    assert run(kept, ["layers"], False, 9.0, True) == 1
    failed = [row["failed"] for row in load(kept)["rows"] if "failed" in row]
    assert failed == [said] * 3
    assert len(load(kept)["rows"]) == 6


def test_a_record_is_not_overwritten_nor_mixed_with_another_cards(kernels: str, tmp_path: Path) -> None:
    kept = tmp_path / "gpu.json"
    run(kept, [], False, 0.0, True)
    save(kept, {"part": "gpu", "machine": {}, "date": "", "rows": [], "gpu": {"card": "another"}})
    with pytest.raises(typer.BadParameter, match="is there already: give --resume"):
        run(kept, [], False, 0.0, True)
    with pytest.raises(typer.BadParameter, match="'another'}, and here is"):
        run(kept, [], True, 0.0, True)
    with pytest.raises(typer.BadParameter, match="no part layer; there are layers, lacking, captioner"):
        run(tmp_path / "new.json", ["layer"], False, 0.0, True)


def test_the_rate_of_a_product(kernels: str) -> None:
    assert layers.product_rate("float32", size=4) > 0


def test_layers_that_differ_are_not_timed(kernels: str) -> None:
    other = SimpleNamespace(detach=lambda: other, float=lambda: other, cpu=lambda: other, numpy=lambda: np.ones(3))
    mine: Any = to_device(np.array([1.0, 1.0, 1.001]))
    layers.check_agreement((mine,), (other,), 1e-2)
    with pytest.raises(AssertionError, match="differ by"):
        layers.check_agreement((mine,), (other,), 1e-4)


def run(json: Path, part: list[str], resume: bool = False, minutes: float = 9.0, without_torch: bool = False) -> int:
    """The exit code of the command."""
    with pytest.raises(typer.Exit) as ended:
        command.main(json, part, resume, minutes, without_torch)
    return ended.value.exit_code


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe `default` with few units."""
    from benchmarks.peers import corpus

    def recipe(name: str) -> Any:
        sizes = {"embedding.size": 5, "model.hidden": 6, "model.dense": 6}
        return real(name).with_overrides(sizes)

    real = corpus.load_recipe
    monkeypatch.setattr(corpus, "load_recipe", recipe)

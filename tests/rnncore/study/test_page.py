"""The page computes what the library computes, follows its input, holds gates, and asks nobody for anything."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import LSTM, save
from rnncore.study import Clamp, Intervened, Run
from rnncore.study.__main__ import main
from rnncore.study.page import live_system, page, shown_system, write_page
from tests.browser import Open
from tests.rnncore.study.runs import small_run

LIVE = ("LSTM", "GRU", "GRU-before", "RNN")
TOKENS = [["a", "b", "</script>", "d", "e", "f"]]


def opened(open_page: Open, path: Path, *systems: dict[str, Any], **words: Any) -> Any:
    write_page(path / "study.html", systems, **words)
    found = open_page((path / "study.html").as_uri())
    assert found.problems == []
    assert [address for address in found.asked if not address.startswith("file:")] == []
    return found


def values(found: Any) -> dict[str, np.ndarray]:
    """All values of the system that is open, (T, H) each."""
    return {name: np.array(rows) for name, rows in found.evaluate("study.values").items()}


@pytest.mark.parametrize("cell", LIVE)
def test_the_page_computes_what_the_library_computes(cell: str, open_page: Open, tmp_path: Path) -> None:
    run = small_run(cell, lengths=[6], D=3, H=5)
    found = values(opened(open_page, tmp_path, live_system(run)))
    for name in (*run.cell.gates, *run.cell.state, *run.cell.saved):
        np.testing.assert_allclose(found[name], run[name][:, 0], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cell", LIVE)
def test_another_input_moves_the_gates_as_the_library_says(cell: str, open_page: Open, tmp_path: Path) -> None:
    run = small_run(cell, lengths=[6])
    found = opened(open_page, tmp_path, live_system(run))
    bar = found.locator('[data-input="1"] [data-step="2"]')
    bar.focus()
    for _ in range(3):
        found.keyboard.press("ArrowUp")
    x, expected = np.array(found.evaluate("study.systems[0].x")), float(run.x[2, 0, 1])
    for _ in range(3):
        expected = min(1, round((expected + 0.1) * 10) / 10)
    assert x[2, 1] == pytest.approx(expected, abs=0.051)
    assert (np.delete(x, 2, axis=0) == np.delete(run.x[:, 0], 2, axis=0)).all()
    trace = Run(run.cell, run.weights, x[:, None], run.initial, run.lengths, {}).again()
    got = values(found)
    np.testing.assert_allclose(got["h"], trace["h"][:, 0], atol=1e-12)
    assert np.abs(got["h"] - run["h"][:, 0]).max() > 1e-3


@pytest.mark.parametrize(("cell", "gate"), [("LSTM", "forget"), ("GRU", "candidate"), ("GRU-before", "reset")])
def test_a_gate_held_in_the_page_is_the_clamp_of_the_library(
    cell: str, gate: str, open_page: Open, tmp_path: Path
) -> None:
    run = small_run(cell, lengths=[6])
    found = opened(open_page, tmp_path, live_system(run))
    found.get_by_label("unit", exact=True).fill("2")
    found.get_by_label(f"hold {gate}", exact=True).check()
    found.get_by_label(f"value of {gate}", exact=True).fill("0.25")
    one = run.again(Intervened(run.cell, [Clamp(gate, 0.25, [2])]))
    np.testing.assert_allclose(values(found)["h"], one["h"][:, 0], atol=1e-12)
    found.get_by_label(f"which units of {gate}", exact=True).select_option("all")
    every = run.again(Intervened(run.cell, [Clamp(gate, 0.25)]))
    np.testing.assert_allclose(values(found)["h"], every["h"][:, 0], atol=1e-12)
    found.get_by_label(f"hold {gate}", exact=True).uncheck()
    np.testing.assert_allclose(values(found)["h"], run["h"][:, 0], atol=1e-12)


def test_the_drawing_the_equations_and_the_chart_show_the_numbers_of_the_step(open_page: Open, tmp_path: Path) -> None:
    run = small_run("LSTM", lengths=[6])
    found = opened(open_page, tmp_path, live_system(run))
    found.keyboard.press("ArrowRight")
    found.get_by_label("next step").click()
    found.get_by_label("unit", exact=True).fill("1")
    forget, c = run["forget"][2, 0, 1], run["c"][2, 0, 1]
    assert found.locator('#diagram [data-id="f"] .number').text_content() == f"{forget:.3f}"
    assert found.locator('#diagram [data-id="c"] .number').text_content() == f"{c:.3f}"
    equation = found.locator('[data-name="c"].equation .numbers').inner_text().replace("−", "-")
    assert equation.endswith(f"= {c:.3f}")
    assert f"{forget:.3f} ×" in equation
    drawn = found.locator('#lines [data-name="forget"]').get_attribute("points")
    heights = np.array([float(point.split(",")[1]) for point in drawn.split()])
    np.testing.assert_allclose(np.corrcoef(heights, run["forget"][:, 0, 1])[0, 1], -1, atol=1e-3)
    assert found.locator("#where").inner_text() == "step 2 of 5"


def test_a_click_into_the_map_chooses_step_and_unit(open_page: Open, tmp_path: Path) -> None:
    found = opened(open_page, tmp_path, live_system(small_run("GRU", lengths=[6])))
    box = found.locator("#map").bounding_box()
    found.locator("#map").click(position={"x": box["width"] * 4.5 / 6, "y": box["height"] * 2.5 / 3})
    assert found.evaluate("[study.step, study.unit]") == [4, 2]


def test_a_bar_is_drawn_with_the_pointer(open_page: Open, tmp_path: Path) -> None:
    found = opened(open_page, tmp_path, live_system(small_run("GRU", lengths=[6])))
    box = found.locator('[data-input="0"]').bounding_box()
    middle = box["y"] + box["height"] / 2
    found.mouse.move(box["x"] + box["width"] * 40 / 960, middle - box["height"] * 0.25)
    found.mouse.down()
    found.mouse.move(box["x"] + box["width"] * 864 / 960, middle - box["height"] * 0.25, steps=30)
    found.mouse.up()
    x = np.array(found.evaluate("study.systems[0].x"))[:, 0]
    np.testing.assert_allclose(x, 0.25 * 84 / 36, atol=0.03)
    found.mouse.move(box["x"] + 40, middle + 30)  # the pointer is up: nothing more is drawn
    assert (np.array(found.evaluate("study.systems[0].x"))[:, 0] == x).all()


def test_a_run_of_any_cell_is_shown_with_its_words_and_cannot_end_the_script(open_page: Open, tmp_path: Path) -> None:
    run = small_run("LSTM-layernorm", lengths=[6], H=30, tokens=TOKENS)
    next_words = [[("x", 0.5), ("<b>", 0.25)]] * 6
    found = opened(open_page, tmp_path, shown_system(run, following=next_words), alone="as it was written")
    got = values(found)
    for name in (*run.cell.gates, *run.cell.state):
        np.testing.assert_allclose(got[name], run[name][:, 0].astype("float32"), rtol=1e-6)
    np.testing.assert_allclose(got["d forget"], run.gradients["forget"][:, 0].astype("float32"), rtol=1e-6)
    chips = found.locator("#words button").all_inner_texts()
    assert [chip.split("\n")[0] for chip in chips] == TOKENS[0]
    assert "<b> 25 %" in chips[0]
    assert found.locator("#task").is_hidden()
    assert found.get_by_label("hold forget").count() == 0


@pytest.mark.parametrize("cell", LIVE)
def test_what_is_shown_of_a_run_is_what_the_page_would_compute(cell: str, open_page: Open, tmp_path: Path) -> None:
    run = small_run(cell, lengths=[6])
    computed = values(opened(open_page, tmp_path, live_system(run)))
    shown = values(opened(open_page, tmp_path, shown_system(run)))
    for name in computed:
        if name != "recalled" or cell == "GRU":  # which the other form's run does not hold
            np.testing.assert_allclose(shown[name], computed[name], atol=2e-5, err_msg=name)


def test_tabs_change_the_network_and_keep_the_step(open_page: Open, tmp_path: Path) -> None:
    systems = [live_system(small_run(cell, lengths=[6]).named(cell)) for cell in LIVE]
    found = opened(open_page, tmp_path, *systems)
    found.keyboard.press("ArrowLeft")
    for cell in LIVE[::-1]:
        found.get_by_role("button", name=cell, exact=True).click()
        assert found.evaluate("study.step") == 5
        assert len(found.evaluate("study.values.h")) == 6
        assert found.locator(".equation").count() == {"LSTM": 6, "RNN": 1}.get(cell, 4)
    assert found.problems == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_the_window(width: int, open_page: Open, tmp_path: Path) -> None:
    write_page(tmp_path / "study.html", [live_system(small_run("LSTM", lengths=[6]))])
    found = open_page((tmp_path / "study.html").as_uri(), width=width)
    assert found.evaluate("document.documentElement.scrollWidth") <= width


def test_what_the_page_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match="the page computes LSTM, GRU"):
        live_system(small_run("CIFG"))
    with pytest.raises(ValueError, match="at least one network"):
        page([])
    run = small_run("GRU", lengths=[6])
    run.weights["U"][0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        page([live_system(run)])


def test_the_command_writes_networks_that_have_learned(
    open_page: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made.html"
    assert main(["--out", str(out), "--cells", "GRU,CIFG", "--steps", "300"]) == 0
    said = capsys.readouterr()
    assert said.out == f"open {out} in a browser\n"
    errors = [float(line.split()[3].rstrip(";")) for line in said.err.splitlines() if "square error" in line]
    assert max(errors) < 0.1 < 0.3333
    found = open_page(out.as_uri())
    gap = found.evaluate("said()[0].values.map((v, t) => Math.abs(v - said()[1].values[t]))")
    assert np.mean(gap) < 0.2
    found.get_by_role("button", name="CIFG").click()
    assert found.locator("#diagram [data-id=forget]").count() == 1
    assert found.problems == []


def test_the_command_shows_weights_from_a_file_and_says_what_is_wrong(
    open_page: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "one.safetensors", LSTM(3, 4))
    save(tmp_path / "two.safetensors", LSTM(3, 4, layers=2))
    out = tmp_path / "made.html"
    assert main(["--out", str(out), "--weights", str(tmp_path / "one.safetensors")]) == 0
    assert open_page(out.as_uri()).evaluate("current().hidden") == 4
    for bad, message in (("two", "one layer in one direction"), ("none", "no such file")):
        assert main(["--out", str(out), "--weights", str(tmp_path / f"{bad}.safetensors")]) == 1
        assert message in capsys.readouterr().err

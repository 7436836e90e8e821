"""Grids: the file, the trainings that come of it, the effects, the page, and the command as a person types it."""

from __future__ import annotations

import json
import math
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.ablations import command, effects, load_grid
from captioning.ablations.charts import charts
from captioning.ablations.effects import MEASURES, interval, t_quantile
from captioning.ablations.page import findings, grid_page
from captioning.errors import CaptioningError
from tests.browser import Open
from tests.captioning.workshop import Workshop, captioning, one_error, read_json, start

SMALL = """
base = "tiny.toml"
seeds = [0, 1]
set.training.epochs = 1

[axes]
"model.cell" = ["LSTM", "GRU"]

[axes.dropout]
on = {}
off = { "model.picture_dropout" = 0.0, model.word_dropout = 0.0 }
"""


def write(workshop: Workshop, name: str, text: str = SMALL) -> Path:
    path = workshop.folder / name
    path.write_text(text)
    return path


def arguments(workshop: Workshop, grid: Path, run: Path, *more: str) -> list[str]:
    return ["grid", str(grid), *workshop.given, "--run", str(run), *more]


@pytest.fixture(scope="module")
def ran(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The grid file, the folder of its run, and what the command printed."""
    grid, run = write(workshop, "small.toml"), tmp_path_factory.mktemp("grid") / "run"
    done = captioning(*arguments(workshop, grid, run, "--jobs", "2", "--json", str(run.parent / "kept.json")))
    assert done.code == 0, done.err
    assert [line.partition(":")[0] for line in done.err.splitlines() if " of " in line] == [
        f"{k} of 8" for k in range(1, 9)
    ]
    return grid, run, done.out


def test_a_full_grid_has_every_combination_with_every_seed(workshop: Workshop) -> None:
    points = load_grid(write(workshop, "full.toml")).points()
    assert [(p.levels["model.cell"], p.levels["dropout"], p.seed) for p in points] == [
        (cell, dropout, seed) for seed in (0, 1) for cell in ("LSTM", "GRU") for dropout in ("on", "off")
    ]
    for point in points:
        assert point.recipe.model.cell == point.levels["model.cell"]
        assert point.recipe.model.word_dropout == (0.1 if point.levels["dropout"] == "on" else 0)
        assert point.recipe.model.output_dropout == 0.1
        assert point.recipe.training.seed == point.seed
        assert point.recipe.training.epochs == 1
    assert len({point.name for point in points}) == 8
    assert points[0].name.startswith("LSTM-on-seed-0-")


def test_one_at_a_time_changes_one_level(workshop: Workshop) -> None:
    text = SMALL.replace("[axes]", '[axes]\nmodel.hidden = [8, 4, 16]\n"embedding.train" = [true, false]')
    grid = load_grid(write(workshop, "one.toml", 'design = "one at a time"\n' + text))
    points = [point for point in grid.points() if point.seed == 0]
    reference, *others = [list(point.levels.values()) for point in points]
    assert sorted(reference) == sorted(["8", "on", "LSTM", "on"])
    assert len(others) == 5
    assert all(sum(a != b for a, b in zip(reference, levels, strict=True)) == 1 for levels in others)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("base =", "bass ="), "unknown key 'bass'"),
        (('base = "tiny.toml"', "base = 3"), "base must be the name or path"),
        (('base = "tiny.toml"', 'base = "none.toml"'), "there is no recipe"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), "seeds must be a list of different whole numbers"),
        (("seeds = [0, 1]", 'design = "some"'), "design must be one of 'full', 'one at a time', not 'some'"),
        (("model.cell", "model.sell"), "sell"),
        (('["LSTM", "GRU"]', '["LSTM", "LSTN"]'), "LSTN"),
        (('["LSTM", "GRU"]', '["LSTM"]'), "'model.cell' has one level"),
        (('["LSTM", "GRU"]', '["LSTM", "LSTM"]'), "or the same twice"),
        (('["LSTM", "GRU"]', '"LSTM"'), "must be a list of values or a table of named levels"),
        (('"model.cell" = ["LSTM", "GRU"]', '"training.seed" = [0, 1]'), "the seed is no axis"),
        (('"model.cell" = ["LSTM", "GRU"]', '"model.word_dropout" = [0, 0.5]'), "both set model.word_dropout"),
        (("on = {}", 'on = { "model.word_dropout" = 0.0, "model.picture_dropout" = 0.0 }'), "are the same as another"),
        (("off = {", 'off = { hidden = 3, "model.dense" = 3, "model.hidden" = 3,'), "'hidden' is no key of a recipe"),
        (("[axes.dropout]", "[axes.dropout"), "cannot be read as a grid"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_by_name(workshop: Workshop, change: tuple[str, str], said: str) -> None:
    assert change[0] in SMALL
    path = write(workshop, "wrong.toml", SMALL.replace(*change, 1))
    with pytest.raises(CaptioningError, match=re.escape(said)) as caught:
        load_grid(path)
    assert "wrong.toml" in str(caught.value) or "none.toml" in str(caught.value)


def test_the_t_distribution_is_the_one_in_the_books() -> None:
    for freedom, expected in {1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 10: 2.228, 30: 2.042, 1000: 1.962}.items():
        assert t_quantile(freedom) == pytest.approx(expected, abs=6e-4)
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert interval([4.0]) == (4.0, None, None)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = sum(low < 0.3 < high for _, low, high in (interval(rng.normal(0.3, 2.0, 5).tolist()) for _ in range(1000)))
    assert 930 <= held <= 970


def made_up(levels: Mapping[str, list[str]], value: Any, seeds: int = 2, missing: Any = None) -> list[dict[str, Any]]:
    """Runs of a full grid of two axes whose measures are all `value(first, second, seed)`."""
    first, second = levels
    runs = []
    for a in levels[first]:
        for b in levels[second]:
            for seed in range(seeds):
                measures = None if (a, b, seed) == missing else dict.fromkeys(MEASURES, value(a, b, seed))
                runs.append({"levels": {first: a, second: b}, "seed": seed, "measures": measures})
    return runs


def test_effects_are_of_pairs_that_differ_in_nothing_else() -> None:
    axes = {"cell": ["LSTM", "GRU"], "units": ["8", "16", "32"]}
    gain = {"LSTM": 0.0, "GRU": 2.0, "8": 0.0, "16": 1.0, "32": 5.0}
    runs = made_up(axes, lambda a, b, seed: 10 * seed + gain[a] + gain[b])
    found = {(e.axis, e.level): e for e in effects(runs, axes, "loss")}
    assert {key: (e.mean, e.pairs) for key, e in found.items()} == {
        ("cell", "GRU"): (2.0, 6),
        ("units", "16"): (1.0, 4),
        ("units", "32"): (5.0, 4),
    }
    assert all(e.low == e.high == e.mean for e in found.values())
    acting = made_up(axes, lambda a, b, seed: gain[b] * (a == "GRU"))
    [cell] = [e for e in effects(acting, axes, "loss") if e.axis == "cell"]
    assert cell.mean == pytest.approx(2.0)
    assert cell.low is not None
    assert cell.low < 0 < cell.mean
    failed = made_up(axes, lambda a, b, seed: gain[a], missing=("LSTM", "8", 1))
    [cell] = [e for e in effects(failed, axes, "loss") if e.axis == "cell"]
    assert (cell.mean, cell.pairs) == (2.0, 5)


def test_the_command_trains_measures_and_shows_all(ran: tuple[Path, Path, str]) -> None:
    _, run, out = ran
    result = read_json(run / "grid.json")
    assert result == read_json(run.parent / "kept.json")
    assert len(result["runs"]) == 8
    assert result["split"] == "validation"
    assert result["axes"] == {"model.cell": ["LSTM", "GRU"], "dropout": ["on", "off"]}
    assert result["command"].startswith("captioning grid small.toml")
    for one in result["runs"]:
        assert set(one["measures"]) == set(MEASURES)
        assert one["measures"]["loss"] == one["loss"] == pytest.approx(one["epochs"][0]["validation_loss"])
        beam = list(one["decoders"].values())[-1][result["protocol"]]
        assert one["measures"]["CIDEr-D"] == beam["CIDEr-D"]
    losses = {(*r["levels"].values(), r["seed"]): r["measures"]["loss"] for r in result["runs"]}
    gru = [losses["GRU", d, s] - losses["LSTM", d, s] for d in ("on", "off") for s in (0, 1)]
    assert result["effects"]["loss"][0]["mean"] == pytest.approx(np.mean(gru))
    assert "cell: GRU instead of" in " ".join(out.split())
    assert "Every training" in out


def test_the_same_command_trains_nothing_again_and_another_split_is_refused(
    ran: tuple[Path, Path, str], workshop: Workshop
) -> None:
    grid, run, out = ran
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/*")}
    again = captioning(*arguments(workshop, grid, run, "--quiet"))
    assert (again.code, again.err) == (0, "")
    assert again.out == out
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("*/*")}
    assert "measured on the split 'validation'" in one_error(
        captioning(*arguments(workshop, grid, run, "--split", "test"))
    )
    kept = next(run.glob("*/result.json"))
    whole = kept.read_text()
    kept.write_text(whole[:40])
    assert "remove the file" in one_error(captioning(*arguments(workshop, grid, run)))
    kept.write_text(whole)


def test_a_grid_that_is_killed_goes_on_with_equal_results(
    ran: tuple[Path, Path, str], workshop: Workshop, tmp_path: Path
) -> None:
    grid, run, _ = ran
    process = start(*arguments(workshop, grid, tmp_path, "--jobs", "1"))
    while not list(tmp_path.glob("*/result.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("*/result.json"))) < 8
    done = captioning(*arguments(workshop, grid, tmp_path, "--jobs", "2", "--quiet"))
    assert done.code == 0, done.err
    first, second = (read_json(folder / "grid.json") for folder in (run, tmp_path))
    assert [r["measures"] for r in first["runs"]] == [r["measures"] for r in second["runs"]]
    assert first["effects"] == second["effects"]


def test_a_training_that_diverges_is_told_and_left_out(workshop: Workshop, tmp_path: Path) -> None:
    text = SMALL.replace('"model.cell" = ["LSTM", "GRU"]', '"training.learning_rate" = [0.01, 1e38]')
    text = text.replace("seeds = [0, 1]", "seeds = [0]").replace(
        "epochs = 1", "epochs = 1\nset.training.clip_norm = 0.0"
    )
    done = captioning(*arguments(workshop, write(workshop, "wild.toml", text), tmp_path, "--quiet"))
    assert done.code == 0, done.err
    result = read_json(tmp_path / "grid.json")
    assert [one["measures"] is None for one in result["runs"]] == [False, False, True, True]
    assert "lower training.learning_rate" in result["runs"][2]["failed"]
    assert [effect["axis"] for effect in result["effects"]["loss"]] == ["dropout"]
    assert "2 trainings diverged" in (tmp_path / "grid.html").read_text()
    assert "diverged" in done.out


def test_what_would_fail_later_is_found_before_anything_is_trained(workshop: Workshop, tmp_path: Path) -> None:
    glove = SMALL.replace("on = {}", 'on = { "embedding.vectors" = "glove" }')
    cases = {
        "--glove FILE": arguments(workshop, write(workshop, "glove.toml", glove), tmp_path / "x"),
        "no split 'tset'": arguments(workshop, write(workshop, "a.toml"), tmp_path / "x", "--split", "tset"),
        "cannot be read as a grid": arguments(workshop, tmp_path / "none.toml", tmp_path / "x"),
    }
    for said, line in cases.items():
        assert said in one_error(captioning(*line))
    assert not (tmp_path / "x").exists()


def test_the_page_holds_every_number_and_loads_nothing(ran: tuple[Path, Path, str]) -> None:
    result = read_json(ran[1] / "grid.json")
    page = (ran[1] / "grid.html").read_text()
    assert page == grid_page(result)
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    for measure in MEASURES:
        drawn = charts(result, measure)
        assert f'data-measure="{measure}"' in page
        assert drawn in page
        assert drawn.count('class="run"') == 8 * 2  # each training stands in a row of every axis
        assert drawn.count('class="reference"') == 2
        assert drawn.count('class="range"') == len(result["effects"][measure])
    assert page.count("<tr>") == 2 + len(result["effects"]["loss"]) + 8
    assert findings(result)[0].startswith("The best of 8 trainings reaches CIDEr-D ")


def test_the_fair_protocol_is_chosen_where_no_training_can_say_a() -> None:
    with_a, without = {"COCO": {"x": 1}}, {"COCO": {"x": 1}, "COCO, without 'a'": {"x": 2}}
    assert command.fair_protocol([{"decoders": {"greedy": without}}]) == "COCO, without 'a'"
    assert command.fair_protocol([{"decoders": {"greedy": without}}, {"decoders": {"greedy": with_a}}]) == "COCO"
    assert command.fair_protocol([]) == "COCO"


def test_results_are_plain_json(ran: tuple[Path, Path, str]) -> None:
    text = (ran[1] / "grid.json").read_text()
    assert json.loads(text)["machine"]["cores"] >= 1
    assert "/tmp" not in text


def test_the_page_sorts_and_changes_its_measure(ran: tuple[Path, Path, str], open_page: Open) -> None:
    page = open_page((ran[1] / "grid.html").as_uri())
    assert page.locator("[data-measure]:visible").get_attribute("data-measure") == "CIDEr-D"
    page.select_option("select[name=measure]", "loss")
    assert page.locator("[data-measure]:visible").get_attribute("data-measure") == "loss"

    def column(k: int) -> list[str]:
        return [row.locator("td").nth(k).inner_text() for row in page.locator("#trainings tbody tr").all()]

    head = page.locator("#trainings thead button")
    losses = column(head.all_inner_texts().index("loss"))
    for order in ("ascending", "descending"):
        head.filter(has_text="loss").click()
        assert page.locator(f"#trainings th[aria-sort={order}]").inner_text() == "loss"
        expected = sorted(losses, key=float, reverse=order == "descending")
        assert column(head.all_inner_texts().index("loss")) == expected
    head.first.click()
    assert column(0) == ["GRU"] * 4 + ["LSTM"] * 4
    shown = "[...document.querySelectorAll('.sorted td')].map((cell) => getComputedStyle(cell).display)"
    assert set(page.evaluate(shown)) == {"table-cell"}
    assert page.problems == []
    assert [address for address in page.asked if not address.startswith("file:")] == []

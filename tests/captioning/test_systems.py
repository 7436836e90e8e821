"""What is compared: equal units, equal parameters of the model or of the cell, seeds and their folders."""

from pathlib import Path

import pytest

from captioning.config import Recipe
from captioning.errors import CaptioningError
from captioning.model import Captioner
from captioning.systems import EQUAL, MEANING, System, runs_of, systems_of
from tests.captioning.tiny import tiny_recipe

WORDS, FEATURES = 30, 7


def count(recipe: Recipe) -> tuple[int, int]:
    counts = Captioner(recipe, WORDS, FEATURES).parameter_counts()
    return counts["total"], counts["rnn"]


def test_equal_units_are_the_recipes() -> None:
    recipe = tiny_recipe(model__hidden=9)
    found = systems_of(recipe, ["LSTM", "GRU", "RNN"], ["units"], count)
    assert [system.name for system in found] == ["LSTM", "GRU", "RNN"]
    assert [system.recipe.model.cell for system in found] == ["LSTM", "GRU", "RNN"]
    assert {system.recipe.model.hidden for system in found} == {9}
    assert {system.equal for system in found} == {("units",)}


@pytest.mark.parametrize(("equal", "which"), [("parameters", 0), ("cell-parameters", 1)])
@pytest.mark.parametrize("cells", [["LSTM", "GRU", "RNN"], ["RNN", "LSTM"]])
def test_equal_parameters_are_as_near_as_units_can_bring_them(equal: str, which: int, cells: list[str]) -> None:
    recipe = tiny_recipe(model__hidden=23)
    first, *others = systems_of(recipe, cells, [equal], count)
    assert first == System(cells[0], recipe.with_overrides({"model.cell": cells[0]}), (equal,))
    wanted = count(first.recipe)[which]
    for system, cell in zip(others, cells[1:], strict=True):
        units = system.recipe.model.hidden
        assert system.name == f"{cell} ({units} units)"
        gaps = {
            other: abs(count(system.recipe.with_overrides({"model.hidden": other}))[which] - wanted)
            for other in (units - 1, units, units + 1)
            if other > 0
        }
        assert gaps[units] == min(gaps.values())
        assert units != 23


def test_a_system_that_is_equal_in_both_ways_stands_there_once() -> None:
    found = systems_of(tiny_recipe(model__hidden=20), ["LSTM", "GRU"], ["units", "parameters"], count)
    assert [(system.name.split()[0], system.equal) for system in found] == [
        ("LSTM", ("units", "parameters")),
        ("GRU", ("units",)),
        ("GRU", ("parameters",)),
    ]
    assert found[2].recipe.model.hidden > 20


@pytest.mark.parametrize("equal", [["parameter"], [], ["units", ""]])
def test_another_way_of_being_equal_is_refused(equal: list[str]) -> None:
    with pytest.raises(CaptioningError, match="--equal must be units, parameters, cell-parameters"):
        systems_of(tiny_recipe(), ["LSTM"], equal, count)
    assert set(MEANING) == set(EQUAL)


def test_runs_go_seed_by_seed_and_the_first_keeps_the_folder_of_a_single_one(tmp_path: Path) -> None:
    recipe = tiny_recipe(training__seed=4)
    systems = [System("GRU (7 units)", recipe, ("parameters",)), System("own.module:Cell", recipe, ("units",))]
    runs = runs_of(systems, 2, tmp_path)
    assert [(run.system, run.seed, run.folder.name) for run in runs] == [
        ("GRU (7 units)", 4, "GRU-7"),
        ("own.module:Cell", 4, "own.module.Cell"),
        ("GRU (7 units)", 5, "GRU-7-seed-5"),
        ("own.module:Cell", 5, "own.module.Cell-seed-5"),
    ]
    assert [run.folder for run in runs_of(systems, 1, tmp_path)] == [run.folder for run in runs[:2]]
    with pytest.raises(CaptioningError, match="--seeds must be at least 1, not 0"):
        runs_of(systems, 0, tmp_path)

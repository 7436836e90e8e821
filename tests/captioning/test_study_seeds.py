"""Several seeds as one: means and deviations of what was measured of each; nothing else is put together."""

from pathlib import Path
from typing import Any

import pytest

from captioning.config import load_recipe
from captioning.study.seeds import over_seeds, seeds_table
from tests.captioning.workshop import Workshop, captioning, read_json


def measured(seed: int, loss: float, cell: str = "GRU", hidden: int = 8, **more: Any) -> dict[str, Any]:
    """What `measures_of` finds of a model, cut down."""
    curve = {"median": [1.0, 0.5, 0.4, 0.3, 0.2, 0.1 * loss]}
    changed = {"model.cell": cell, "model.hidden": hidden, "training.seed": seed}
    return {
        "recipe": load_recipe("init").with_overrides(changed).to_dict(),
        "half_life": [loss, 2 * loss, 3 * loss],
        "gradient_half": 1.0,
        "perturbation_half": 2.0,
        "gradient_by_lag": curve,
        "perturbation": curve,
        "usage": {"update": {"mean": 0.5, "deviation": 0.1, "left": 0.0, "right": 0.2 * loss}},
        "token_share": {"update": 0.3},
        "prices": {
            "as trained": {"loss": loss, "picture": 1.0},
            "update frozen": {"loss": loss + seed, "picture": 0.5},
        },
    } | more


def test_seeds_are_averaged_and_nothing_else_is() -> None:
    small = measured(0, 5.0, hidden=4)
    found = over_seeds({"a": measured(0, 2.0), "b": measured(1, 4.0), "c": small})
    assert {label: group["models"] for label, group in found.items()} == {
        "GRU, 8 units": ["a", "b"],
        "GRU, 4 units": ["c"],
    }
    mean, deviation = (found["GRU, 8 units"][key] for key in ("mean", "deviation"))
    assert mean["loss"] == 3
    assert deviation["loss"] == pytest.approx(2**0.5)
    assert mean["half_life"]["0.5"] == 6
    assert mean["usage"]["update"]["right"] == pytest.approx(0.6)
    assert mean["prices"]["update frozen"] == {"more": 0.5, "picture": 0.5}
    assert deviation["prices"]["update frozen"]["more"] == pytest.approx(0.5**0.5)
    assert mean["gradient_by_lag"] == {"1": 0.5, "5": pytest.approx(0.3), "10": None}
    assert found["GRU, 4 units"]["deviation"] is None
    assert found["GRU, 4 units"]["mean"]["loss"] == 5


def test_a_recipe_written_before_a_key_existed_is_the_one_with_its_default() -> None:
    old, new, other = measured(0, 1.0), measured(1, 1.0), measured(2, 1.0)
    del old["recipe"]["training"]["temperature"]
    other["recipe"]["training"]["temperature"] = 0.5
    assert [group["models"] for group in over_seeds({"a": old, "b": new, "c": other}).values()] == [["a", "b"], ["c"]]


def test_a_cell_that_carries_nothing_has_no_half_life() -> None:
    found = over_seeds({"a": measured(0, 1.0, "RNN", half_life=[]), "b": measured(1, 1.0, "RNN", half_life=[])})
    assert (
        found["RNN"]["mean"]["half_life"]
        == found["RNN"]["deviation"]["half_life"]
        == {"0.1": None, "0.5": None, "0.9": None}
    )


def test_recipes_are_named_by_what_tells_them_apart() -> None:
    both = {"a": measured(0, 1.0, "LSTM"), "b": measured(0, 1.0, "GRU")}
    assert list(over_seeds(both)) == ["LSTM", "GRU"]
    dense = measured(0, 1.0, "LSTM")
    dense["recipe"]["model"]["dense"] = 3
    assert list(over_seeds({**both, "c": dense})) == [
        "LSTM, 8 units, init (1)",
        "GRU, 8 units, init (2)",
        "LSTM, 8 units, init (3)",
    ]


def test_the_table_has_a_line_a_measure() -> None:
    rows = list(
        seeds_table(over_seeds({"a": measured(0, 2.0), "b": measured(1, 4.0), "c": measured(0, 1.0, "RNN")}))
        .columns[1]
        .cells
    )
    names = list(seeds_table(over_seeds({"a": measured(0, 2.0)})).columns[0].cells)
    assert rows[0] == "3.000 ± 1.414"
    assert rows[names.index("prices, update frozen, more")] == "0.500 ± 0.707"
    assert rows[names.index("gradient by lag, 10")] == ""


def test_the_command_puts_seeds_together(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    other, file = tmp_path / "other", tmp_path / "gates.json"
    done = captioning(*workshop.train(other, "--quiet", "--set", "training.seed=1"))
    assert done.code == 0, done.err
    done = captioning("study", str(run), str(other), *workshop.given, "--json", str(file), "--captions", "9", "--quiet")
    assert done.code == 0, done.err
    kept = read_json(file)
    models = list(kept["models"].values())
    group = kept["over_seeds"]["GRU"]
    assert group["models"] == list(kept["models"])
    losses = [model["prices"]["as trained"]["loss"] for model in models]
    assert group["mean"]["loss"] == pytest.approx(sum(losses) / 2)
    assert f"{group['mean']['loss']:.3f} ± {group['deviation']['loss']:.3f}" in done.out

"""Trainings that differ in their seed alone as one: the mean and the deviation of all that was measured of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from captioning.config import Recipe
from captioning.outcome import deviation_of, mean_of

#: Steps back, or later, at which curves by lag are read off.
LAGS = (1, 5, 10)
#: Shares of a layer's units that remember for less than the half-life given.
SHARES = (0.1, 0.5, 0.9)


def over_seeds(models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, for every recipe among the models, its `models`, and the `mean` and `deviation` of `numbers_of` them.

    models : what `measures_of` found, with the `recipe` of each. The deviation, that of a sample, is None of one model.
    """
    groups: dict[str, list[str]] = {}
    for name, found in models.items():
        groups.setdefault(json.dumps(_without_seed(found["recipe"]), sort_keys=True), []).append(name)
    labels = _labels([models[names[0]]["recipe"]["model"] for names in groups.values()])
    return {
        label: {"models": names, **_together([numbers_of(models[name]) for name in names])}
        for label, names in zip(labels, groups.values(), strict=True)
    }


def _together(numbers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"mean": mean_of(numbers), "deviation": deviation_of(numbers) if len(numbers) > 1 else None}


def numbers_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return those measures of a model that are single numbers, or were made so; losses as what is added to its own."""
    trained, lives = found["prices"]["as trained"], found["half_life"]
    prices = {
        what: {"more": each["loss"] - trained["loss"], "picture": each["picture"]}
        for what, each in found["prices"].items()
    }
    reaches = {
        name: {str(lag): _at(found[name]["median"], lag) for lag in LAGS}
        for name in ("gradient_by_lag", "perturbation")
    }
    return {
        "loss": trained["loss"],
        "half_life": {str(share): float(np.quantile(lives, share)) if lives else None for share in SHARES},
        "gradient_half": found["gradient_half"],
        "perturbation_half": found["perturbation_half"],
        **reaches,
        "usage": found["usage"],
        "token_share": found["token_share"],
        "prices": prices,
    }


def seeds_table(groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return all numbers, a line a measure and a column a recipe: mean ± deviation over its seeds."""
    table = Table(title="Over seeds: mean ± deviation", title_justify="left")
    table.add_column("")
    for label, group in groups.items():
        table.add_column(f"{label}, {len(group['models'])}", justify="right")
    flat = [{key: dict(_leaves(group[key])) for key in ("mean", "deviation")} for group in groups.values()]
    for line in dict.fromkeys(name for each in flat for name in each["mean"]):
        table.add_row(line, *(_written(each["mean"].get(line), each["deviation"].get(line)) for each in flat))
    return table


def _without_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe but for its seed; one that was written before a key existed has what the key does by default."""
    tables = {section: keys for section, keys in recipe.items() if section != "name"}
    whole = Recipe.from_dict("measured", tables, older=True).to_dict()
    return {**whole, "training": {key: value for key, value in whole["training"].items() if key != "seed"}}


def _labels(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each recipe, no longer than tells them apart."""
    for parts in (("{cell}",), ("{cell}", "{hidden} units"), ("{cell}", "{hidden} units", "{picture}")):
        labels = [", ".join(parts).format_map(model) for model in models]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label} ({k})" for k, label in enumerate(labels, 1)]


def _at(curve: Sequence[float], lag: int) -> float | None:
    return curve[lag] if lag < len(curve) else None


def _leaves(numbers: Any, before: str = "") -> Iterator[tuple[str, float | None]]:
    """The numbers of nested mappings, each by the names on the way to it."""
    if isinstance(numbers, Mapping):
        for name, value in numbers.items():
            yield from _leaves(value, f"{before}, {name}" if before else str(name).replace("_", " "))
    elif before:
        yield before, numbers


def _written(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"

"""A grid file: a recipe, what is varied about it, and the seeds; and the trainings that come of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from captioning.config import RECIPES, Recipe, load_recipe
from captioning.errors import CaptioningError

FULL, ONE = DESIGNS = ("full", "one at a time")
KEYS = ("base", "design", "seeds", "set", "axes")
Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One thing that is varied: its levels by name, each with the keys of the recipe that it sets."""

    name: str
    levels: Mapping[str, Overrides]

    @property
    def reference(self) -> str:
        """The first level, which the others are held to."""
        return next(iter(self.levels))

    @property
    def keys(self) -> set[str]:
        """All keys of the recipe that some level sets."""
        return {key for level in self.levels.values() for key in level}


@dataclass(frozen=True)
class Point:
    """One training: its level on every axis, its seed, and the recipe that comes of them."""

    levels: Mapping[str, str]
    seed: int
    recipe: Recipe

    @property
    def label(self) -> str:
        """What it is, for people."""
        return ", ".join([*(f"{axis} {level}" for axis, level in self.levels.items()), f"seed {self.seed}"])

    @property
    def name(self) -> str:
        """A name for its folder: what can be read of it, and the recipe's hash."""
        said = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(self.levels.values())).strip("-")
        return f"{said[:80]}-seed-{self.seed}-{self.recipe.hash[:10]}"


@dataclass(frozen=True)
class Grid:
    """What is trained.

    design : "full", every combination of levels; or "one at a time", the reference of all axes, and each other level
        alone. Either is trained with every seed.
    """

    name: str
    recipe: Recipe
    axes: Sequence[Axis]
    seeds: Sequence[int]
    design: str = FULL

    def points(self) -> list[Point]:
        """Return every training, seed by seed, so that each combination has one before any has two.

        Raises
        ------
        CaptioningError
            If a recipe that comes of it is none, naming the levels.
        """
        return [self._point(levels, seed) for seed in self.seeds for levels in self._combinations()]

    def _combinations(self) -> Iterator[dict[str, str]]:
        names = [axis.name for axis in self.axes]
        if self.design == FULL:
            for chosen in product(*(axis.levels for axis in self.axes)):
                yield dict(zip(names, chosen, strict=True))
            return
        reference = {axis.name: axis.reference for axis in self.axes}
        yield reference
        for axis in self.axes:
            yield from (reference | {axis.name: level} for level in axis.levels if level != axis.reference)

    def _point(self, levels: Mapping[str, str], seed: int) -> Point:
        overrides = {key: value for axis in self.axes for key, value in axis.levels[levels[axis.name]].items()}
        try:
            recipe = self.recipe.with_overrides({**overrides, "training.seed": seed})
        except CaptioningError as error:
            raise CaptioningError(f"{self.name}: {', '.join(levels.values())}: {error}") from error
        return Point(levels, seed, recipe)


def load_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises
    ------
    CaptioningError
        If it cannot be read, a key is unknown, an axis has fewer than two levels or two alike, two axes set the same
        key, or a recipe that comes of it is none.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptioningError(f"{path}: cannot be read as a grid: {error}") from error
    try:
        return _grid(path, tables)
    except CaptioningError as error:
        text = str(error)
        raise CaptioningError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _grid(path: Path, tables: Mapping[str, Any]) -> Grid:
    if unknown := sorted(set(tables) - set(KEYS)):
        raise CaptioningError(f"unknown key {unknown[0]!r}; a grid has {', '.join(KEYS)}")
    base = tables.get("base")
    if not isinstance(base, str):
        raise CaptioningError(f'base must be the name or path of a recipe, as in base = "default", not {base!r}')
    recipe = load_recipe(base if base in RECIPES else path.parent / base)
    recipe = recipe.with_overrides(_flat(tables.get("set", {}), "set"))
    seeds = tables.get("seeds", [recipe.training.seed])
    if not (isinstance(seeds, list) and seeds and all(type(s) is int for s in seeds) and len(set(seeds)) == len(seeds)):
        raise CaptioningError(
            f"seeds must be a list of different whole numbers, as in seeds = [0, 1, 2], not {seeds!r}"
        )
    design = tables.get("design", FULL)
    if design not in DESIGNS:
        raise CaptioningError(f"design must be one of {', '.join(map(repr, DESIGNS))}, not {design!r}")
    grid = Grid(path.stem, recipe, list(_axes(tables.get("axes"))), seeds, design)
    _check_axes(grid.axes)
    points = grid.points()
    if alike := len(points) - len({point.recipe.hash for point in points}):
        raise CaptioningError(f"{alike} of the {len(points)} trainings are the same as another; make the levels differ")
    return grid


def _axes(table: Any) -> Iterator[Axis]:
    """Axes are lists of values of one key, or tables of named levels, each a table of keys."""
    if not isinstance(table, dict) or not table:
        raise CaptioningError('[axes] must say what is varied, as in "model.cell" = ["LSTM", "GRU"]')
    for name, value in table.items():
        if isinstance(value, list):
            yield Axis(name, {_written(level): {name: level} for level in value})
        elif isinstance(value, dict) and value and all(isinstance(level, list) for level in value.values()):
            yield from (
                Axis(f"{name}.{key}", {_written(level): {f"{name}.{key}": level} for level in levels})
                for key, levels in value.items()
            )
        elif isinstance(value, dict) and value and all(isinstance(level, dict) for level in value.values()):
            yield Axis(name, {label: _flat(level, f"axes.{name}") for label, level in value.items()})
        else:
            raise CaptioningError(
                f"the axis {name!r} must be a list of values or a table of named levels, not {value!r}"
            )


def _flat(table: Any, where: str) -> dict[str, Any]:
    """`{"model.hidden": 3}` of that, or of the nested tables that TOML makes of a key without quotes."""
    if not isinstance(table, dict):
        raise CaptioningError(f"{where} must be a table of keys of the recipe, not {table!r}")
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value}
    if wrong := [key for key in flat if "." not in key]:
        raise CaptioningError(f'{where}: {wrong[0]!r} is no key of a recipe; write section.key, as in "model.hidden"')
    return flat


def _written(level: Any) -> str:
    return ("on" if level else "off") if isinstance(level, bool) else str(level)


def _check_axes(axes: Sequence[Axis]) -> None:
    seen: dict[str, str] = {}
    for axis in axes:
        if len(axis.levels) < 2:
            raise CaptioningError(f"the axis {axis.name!r} has one level or the same twice; it needs two that differ")
        for key in axis.keys:
            if key == "training.seed":
                raise CaptioningError("the seed is no axis; write seeds = [0, 1, 2]")
            if key in seen:
                raise CaptioningError(f"the axes {seen[key]!r} and {axis.name!r} both set {key}; let one of them")
            seen[key] = axis.name

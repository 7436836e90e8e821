"""What is compared: cells at equal units, or at equal parameters, each with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioning.config import Recipe
from captioning.errors import CaptioningError
from rnncore.cells import find_cell

UNITS, PARAMETERS, CELL_PARAMETERS = EQUAL = ("units", "parameters", "cell-parameters")
#: What a way of being equal means, for people.
MEANING = {
    UNITS: "as many units",
    PARAMETERS: "as many parameters in the whole model, by its units",
    CELL_PARAMETERS: "as many parameters in the cell, by its units",
}
#: Parameters of a recipe's model: of all of it, and of its cell.
Count = Callable[[Recipe], tuple[int, int]]


@dataclass(frozen=True)
class System:
    """One line of a comparison: a cell with its size. `equal` : in what it is equal to the first system."""

    name: str
    recipe: Recipe
    equal: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One training run of a system, in a folder of its own."""

    system: str
    recipe: Recipe
    folder: Path

    @property
    def seed(self) -> int:
        return self.recipe.training.seed


def systems_of(recipe: Recipe, cells: Sequence[str], equal: Sequence[str], count: Count) -> list[System]:
    """Return the systems of a comparison; one that is the same under two ways of being equal stands there once.

    With equal parameters each cell gets the units that bring it closest to the first cell's number (Chung et al., 2014,
    section 4.2).

    Raises
    ------
    CaptioningError, ValueError
        If a cell does not exist or stands there twice, or `equal` is none of `EQUAL`.
    """
    if not equal or set(equal) - set(EQUAL):
        raise CaptioningError(f"--equal must be {', '.join(EQUAL)}, or several by commas, not {','.join(equal)!r}")
    own = {cell: recipe.with_overrides({"model.cell": cell}) for cell in cells}
    for cell in cells:
        find_cell(own[cell].model.cell)
        if list(cells).count(cell) > 1:
            raise CaptioningError(f"the cell {cell} stands there twice; name each once, as in LSTM,GRU")
    found: dict[tuple[str, int], list[str]] = {}
    for how in equal:
        for cell in cells:
            found.setdefault((cell, _units(own[cell], own[cells[0]], how, count)), []).append(how)
    return [_system(own[cell], cell, units, tuple(how)) for (cell, units), how in found.items()]


def _system(recipe: Recipe, cell: str, units: int, equal: tuple[str, ...]) -> System:
    same = units == recipe.model.hidden
    name = cell if same else f"{cell} ({units} units)"
    return System(name, recipe if same else recipe.with_overrides({"model.hidden": units}), equal)


def _units(recipe: Recipe, first: Recipe, how: str, count: Count) -> int:
    """The units with which a cell is equal to the first one."""
    if how == UNITS or recipe == first:
        return recipe.model.hidden
    which = (PARAMETERS, CELL_PARAMETERS).index(how)
    wanted = count(first)[which]

    def parameters(units: int) -> int:
        return count(recipe.with_overrides({"model.hidden": units}))[which]

    low, high = 1, 2
    while parameters(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    return min((low, high), key=lambda units: abs(parameters(units) - wanted))


def runs_of(systems: Sequence[System], seeds: int, folder: Path) -> list[Run]:
    """Return every run, seed by seed, so that each system has one before any has two.

    The seeds are the recipe's own and those that follow it. The first has the folder that a comparison of one seed
    has, so that more seeds can be asked for later.
    """
    if seeds < 1:
        raise CaptioningError(f"--seeds must be at least 1, not {seeds}")
    runs = []
    for k in range(seeds):
        for system in systems:
            seed = system.recipe.training.seed + k
            name = system.name.replace(":", ".").replace(" (", "-").replace(" units)", "")
            place = folder / (name if k == 0 else f"{name}-seed-{seed}")
            runs.append(Run(system.name, system.recipe.with_overrides({"training.seed": seed}), place))
    return runs

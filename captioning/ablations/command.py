"""`captioning grid`: train what a grid file describes, measure it, and write the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from captioning.ablations.effects import MEASURES, all_effects
from captioning.ablations.job import RESULT
from captioning.ablations.page import grid_page
from captioning.ablations.plan import Grid, Point, load_grid
from captioning.ablations.tables import effects_table, runs_table, short
from captioning.commands import save_json
from captioning.corpus import finite_rows
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.evaluate import WITHOUT_A
from captioning.metrics import COCO
from captioning.terminal import err, out
from encoders import open_features
from encoders.files import atomic_write
from rnncore.machine import command_line, describe_machine, usable_cores
from rnncore.processes import Job, Processes, bars

PAGE = "grid.html"


def run_grid(
    grid_file: Path,
    data: Path,
    features: Path,
    folder: Path,
    glove: Path | None,
    split: str,
    jobs: int | None,
    json_file: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Train those points of the grid that have no result yet, and show all."""
    grid = load_grid(grid_file)
    points = grid.points()
    about = _check(points, data, features, glove, split)
    given = {"data": str(data), "features": str(features), "glove": glove and str(glove), "split": split}
    pending = [point for point in points if load_result(folder / point.name, split) is None]
    work = [_job(point, folder, {**given, "device": device}) for point in pending]
    folder.mkdir(parents=True, exist_ok=True)
    with bars("trainings", len(points), len(points) - len(pending), quiet) as watch:
        Processes(jobs or usable_cores()).finish(work, watch)
    result = {**grid_result(grid, folder, split), **about}
    save_json(result, folder / "grid.json")
    with atomic_write(folder / PAGE, "w") as file:
        file.write(grid_page(result))
    if json_file is not None:
        save_json(result, json_file)
    for table in (effects_table(result), runs_table(result)):
        out.print(table, soft_wrap=False)
    out.print(f"open {folder / PAGE} in a browser")


def _check(points: Sequence[Point], data: Path, features: Path, glove: Path | None, split: str) -> dict[str, Any]:
    """Find out now what would otherwise end a training after hours, and return what is known of the data."""
    dataset, rows = load_dataset(data), open_features(features)
    for problem in dataset.problems:
        err.print(f"note: {problem}", markup=False)
    if split not in dataset.splits:
        raise CaptioningError(f"there is no split {split!r}; there are {', '.join(dataset.splits)}")
    if glove is None and any(point.recipe.embedding.vectors == "glove" for point in points):
        raise CaptioningError("some of these trainings start from GloVe vectors: give their text file, --glove FILE")
    finite_rows(rows, dataset.names(split))
    counts = {name: len(dataset.names(name)) for name in dataset.splits}
    return {"dataset": {"name": dataset.name, **counts}, "features": rows.description}


def _job(point: Point, folder: Path, given: Mapping[str, Any]) -> Job:
    own = {"recipe": point.recipe.to_dict(), "folder": str(folder / point.name)}
    return Job(point.label, "captioning.ablations.job", (), json.dumps({**given, **own}))


def load_result(folder: Path, split: str) -> dict[str, Any] | None:
    """Return what a finished training left in its folder, None if it is not finished.

    Raises
    ------
    CaptioningError
        If the file is damaged, or another split was measured.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CaptioningError(f"{path}: expected the result of a training, {error}; remove the file") from error
    if found["split"] != split:
        raise CaptioningError(f"{path}: measured on the split {found['split']!r}, now asked for {split!r}")
    return found


def grid_result(grid: Grid, folder: Path, split: str) -> dict[str, Any]:
    """Return everything about a grid whose trainings are all finished, as plain values."""
    points = grid.points()
    kept = {point.name: load_result(folder / point.name, split) or {} for point in points}
    protocol = fair_protocol([one for one in kept.values() if not one["failed"]])
    runs = [
        {
            "levels": dict(point.levels),
            "seed": point.seed,
            "measures": measures_of(kept[point.name], protocol),
            **{key: value for key, value in kept[point.name].items() if key != "split"},
        }
        for point in points
    ]
    axes = {axis.name: list(axis.levels) for axis in grid.axes}
    return {
        "title": f"{grid.name}: {', '.join(map(short, axes))}",
        "command": command_line(),
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "recipe": grid.recipe.to_dict(),
        "base": Path(grid.recipe.name).name,
        "design": grid.design,
        "split": split,
        "protocol": protocol,
        "axes": axes,
        "sets": {axis.name: {level: dict(keys) for level, keys in axis.levels.items()} for axis in grid.axes},
        "seeds": list(grid.seeds),
        "effects": all_effects(runs, axes),
        "runs": runs,
    }


def fair_protocol(finished: Sequence[Mapping[str, Any]]) -> str:
    """Return COCO's metrics without the word 'a' if no training of the grid can say it, else with it."""
    decoders = [metrics for one in finished for metrics in one["decoders"].values()]
    return COCO + WITHOUT_A if decoders and all(COCO + WITHOUT_A in metrics for metrics in decoders) else COCO


def measures_of(result: Mapping[str, Any], protocol: str) -> dict[str, float] | None:
    """Return the loss, and the metrics of the last decoder, the beam; None of a training that failed."""
    if result["failed"]:
        return None
    metrics = list(result["decoders"].values())[-1][protocol]
    return {name: result["loss"] if name == "loss" else metrics[name] for name in MEASURES}

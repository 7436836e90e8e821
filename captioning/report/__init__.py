"""The report of a comparison: for the terminal, as Markdown, as JSON, and as one page for the browser."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from captioning.errors import CaptioningError
from captioning.report.gallery import References
from captioning.report.grid import markdown, rich_table
from captioning.report.numbers import Result
from captioning.report.page import report_page
from captioning.report.summary import summary
from captioning.report.tables import grids
from captioning.report.thumbnails import PictureFile, beside_page, embedded
from encoders.files import atomic_write

__all__ = ["markdown_table", "summary", "terminal_table", "write_reports"]


def write_reports(
    result: Result,
    folder: Path,
    references: References,
    picture_file: PictureFile,
    max_pictures: int = 60,
    beside: bool = False,
) -> list[Path]:
    """Write ``comparison.json``, ``comparison.md`` and ``report.html`` and return their paths.

    ``references`` holds what people wrote of each picture; ``picture_file`` gives a picture's file, or None
    where it is not there; small copies of at most ``max_pictures`` are embedded in the page, or with ``beside`` lie
    in a folder beside it. Each file appears whole or not at all.
    """
    strange = _not_finite(result)
    if strange:
        raise CaptioningError(
            f"the result holds a number that is not finite, at {strange}: a training that diverged has no table; "
            "lower its learning rate"
        )
    folder.mkdir(parents=True, exist_ok=True)
    small = beside_page(picture_file, folder) if beside else embedded(picture_file)
    contents = {
        "comparison.json": json.dumps(result, indent=1, ensure_ascii=False) + "\n",
        "comparison.md": markdown_table(result),
        "report.html": report_page(result, references, small, max_pictures),
    }
    for name, text in contents.items():
        with atomic_write(folder / name, "w") as file:
            file.write(text)
    return [folder / name for name in contents]


def terminal_table(result: Result) -> list[Table]:
    """The tables of a result for ``rich``: print them one after the other."""
    return [rich_table(grid) for grid in grids(result)]


def markdown_table(result: Result) -> str:
    """The findings and the tables of a result as Markdown."""
    return "\n\n".join([" ".join(summary(result)), *(markdown(grid) for grid in grids(result))]) + "\n"


def _not_finite(value: Any, path: str = "") -> str | None:
    """Where in a result the first NaN or infinity stands."""
    if isinstance(value, float) and not math.isfinite(value):
        return path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, v in items if (found := _not_finite(v, f"{path}/{key}"))), None)

"""The command `captioning compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captioning.options import Data, Device, FeatureFile, Glove, JsonFile, Quiet, RecipeName, Resume, Settings


def compare(
    data: Data,
    features: FeatureFile,
    run: Annotated[Path, typer.Option("--run", help="Folder of the comparison: its runs, and the report.")],
    recipe: RecipeName = "default",
    cells: Annotated[str, typer.Option(help="What to compare, by commas; module:Class is your own.")] = "LSTM,GRU",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each, with seeds that follow the recipe's.")] = 1,
    equal: Annotated[
        str, typer.Option(help="units, parameters (of the whole model), cell-parameters, or several by commas.")
    ] = "units",
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, one thread each.")] = 1,
    settings: Settings = [],  # noqa: B006
    glove: Glove = None,
    resume: Resume = False,
    pictures: Annotated[int, typer.Option(min=0, help="Pictures on the page, from the best to the worst.")] = 60,
    pictures_beside: Annotated[
        bool, typer.Option("--pictures-beside", help="Small copies in a folder beside the page, not within it.")
    ] = False,
    json_file: JsonFile = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train LSTM and GRU under equal conditions and write the table, the curves and report.html.

    With --seeds each is trained several times: the table has mean ± deviation, and says whether the difference is more
    than chance. With --equal parameters the others get the units that give them the first one's parameters.

    Example: captioning compare --data Flickr8k/ --features features/ --cells LSTM,GRU,RNN --seeds 3 --run runs/compared
    """
    from captioning.commands import load_all, print_result, save_result
    from captioning.compare import Comparison

    chosen, dataset, rows = load_all(recipe, settings, data, features)
    names, ways = ([part.strip() for part in text.split(",")] for text in (cells, equal))
    comparison = Comparison(
        chosen, names, dataset, rows, run, glove, resume, device, seeds, ways, jobs, sources=(data, features)
    )
    result = print_result(comparison, quiet, pictures, pictures_beside)
    if json_file is not None:
        save_result(result, json_file)

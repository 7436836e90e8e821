"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option("--data", "-d", help="Folder of Flickr8k, Flickr30k or COCO; a CSV or JSON-lines file of your own."),
]
FeatureFile = Annotated[Path, typer.Option("--features", "-f", help="Feature store, or .npz of names and features.")]
RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="paper, default, or a TOML file.")]
Settings = Annotated[
    list[str], typer.Option("--set", help="Change a key of the recipe: --set training.epochs=5; may be repeated.")
]
DecodingSettings = Annotated[
    list[str], typer.Option("--set", help="Change how captions are found: --set decoding.beam=5; may be repeated.")
]
Glove = Annotated[Path | None, typer.Option(help="GloVe's text file, if the recipe asks for it.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda for an NVIDIA GPU through CuPy.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")]
Beam = Annotated[int | None, typer.Option(min=1, help="Beam width, 1 is greedy; the recipe's if not given.")]

"""The command `captioning study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captioning.options import Data, FeatureFile, JsonFile, Quiet


def study(
    checkpoints: Annotated[list[Path], typer.Argument(help="Trained captioners, or the folders of their runs.")],
    data: Data,
    features: FeatureFile,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    picture: Annotated[str | None, typer.Option(help="Name of a picture in the split; the first if not given.")] = None,
    words: Annotated[str, typer.Option(help="What to read; the caption that the model writes if not given.")] = "",
    page: Annotated[
        Path | None, typer.Option("--page", help="The page's file; study.html if nothing is asked.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page, with the models behind it.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; any that is free if 0.")] = 0,
    unit: Annotated[int | None, typer.Option(help="Print this unit step by step.")] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for every gate at every step: CSV, safetensors.")] = None,
    epochs: Annotated[
        Path | None, typer.Option("--epochs", help="Picture of the gates by epoch of training: .svg, .png, .pdf.")
    ] = None,
    json_file: JsonFile = None,
    captions: Annotated[int, typer.Option(min=2, help="Captions that --json looks at the gates over.")] = 500,
    pictures: Annotated[
        int | None, typer.Option(min=2, help="Pictures that --json takes losses over; else all.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """See what every gate of a trained captioner does: a page to step through, tables, measures.

    Example: captioning study runs/paper/LSTM runs/paper/GRU --data Flickr8k/ --features features/ --serve
    """
    from captioning.study.command import Asked, Study, run_study

    asked = Asked(picture, words, page, port if serve else None, unit, save, epochs, json_file, captions, pictures)
    run_study(Study(checkpoints, data, features, split), asked, quiet)

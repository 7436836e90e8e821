"""The command line: encoders fetch | encode | inspect | build | cut | describe | compare."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from encoders.errors import EncoderError

app = typer.Typer(
    help="Pictures to features, through ONNX Runtime.\n\n"
    "Example: encoders fetch inception-v3, then "
    "encoders encode photos/ --model inception-v3.onnx --store features/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, results only.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="ONNX file of the encoder.")]


def main() -> None:
    """Run the command line; errors are one message and exit code 1, usage errors 2."""
    try:
        app()
    except (EncoderError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        err.print(f"error: {error}", markup=False)
        sys.exit(1)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Options before the command."""


@app.command()
def encode(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, and folders searched for pictures.")],
    model: Model,
    store: Annotated[Path, typer.Option("--store", "-s", help="Feature store to make or to continue.")],
    output: Annotated[list[str], typer.Option(help="What to keep: features, grid, or both.")] = ["features"],  # noqa: B006
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    batch: Annotated[int, typer.Option(min=1, help="Pictures a batch.")] = 8,
    provider: Annotated[list[str], typer.Option(help="ONNX Runtime providers, in order.")] = [  # noqa: B006
        "CPUExecutionProvider"
    ],
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes one a core.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Encode pictures into a feature store; run it again to continue where it stopped.

    Example: encoders encode photos/ --model inception-v3.onnx --store features/
    """
    from encoders.run import run_encode

    ok = run_encode(pictures, model, store, tuple(output), dtype, batch, tuple(provider), threads, err, quiet)
    raise typer.Exit(0 if ok else 1)


@app.command()
def compare(
    ours: Annotated[Path, typer.Argument(help="A feature store or .npz.")],
    theirs: Annotated[Path, typer.Argument(help="A feature store or .npz to compare with.")],
    output: Annotated[str, typer.Option(help="Which output.")] = "features",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome here.")] = None,
    at_least: Annotated[float, typer.Option(help="Fail if any picture's cosine is lower.")] = 0.9995,
) -> None:
    """Compare two sets of features, picture by picture, by cosine.

    Example: encoders compare features/ published.npz --json comparison.json
    """
    from encoders.compare import compare as compare_features
    from encoders.features import open_features
    from encoders.run import machine, read_run, write_json

    first, second = open_features(ours), open_features(theirs)
    result = compare_features(first, second, output)
    out.print(
        f"{result.pictures} pictures: cosine at least {result.min_cosine:.7f} ({result.worst}), "
        f"mean {result.mean_cosine:.7f}; largest difference {result.max_difference:.5f}"
    )
    if json_file is not None:
        record = {
            "what": first.description,
            "ours": first.encoder,
            "theirs": second.encoder,
            "output": output,
            **asdict(result),
            "at_least": at_least,
            "encoding": read_run(ours),
            "machine": machine(),
        }
        write_json(json_file, record)
    if result.min_cosine < at_least:
        raise EncoderError(f"{result.worst}: cosine {result.min_cosine:.6f} is under {at_least}")

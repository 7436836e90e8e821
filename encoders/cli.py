"""The command line: encoders fetch | build | cut | describe | encode | inspect | compare."""

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
Size = Annotated[int, typer.Option(min=1, help="Height and width of the input.")]
Resampling = Annotated[str, typer.Option(help="nearest, bilinear, bicubic or lanczos.")]
Mean = Annotated[tuple[float, float, float], typer.Option(help="Subtracted from 0..255, per channel.")]
Std = Annotated[tuple[float, float, float], typer.Option(help="Divided by, per channel.")]
Channels = Annotated[str, typer.Option(help="RGB or BGR.")]
Layout = Annotated[str, typer.Option(help="NCHW or NHWC.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="ONNX file of the encoder.")]


def main() -> None:
    """Run the command line; errors are one message and exit code 1, usage errors 2, Ctrl-C 130."""
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
def fetch(
    what: Annotated[str, typer.Argument(help="Which encoder: inception-v3.")],
    to: Annotated[Path | None, typer.Option("--to", help="Where the encoder goes.")] = None,
    local: Annotated[Path | None, typer.Option("--from", help="Take this file instead of the network.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download an encoder, verify its sha256, and cut it at its global pool.

    A broken download goes on where it stopped when the command is run again.

    Example: encoders fetch inception-v3 --to inception-v3.onnx
    """
    if what != "inception-v3":
        raise typer.BadParameter(f"{what!r} is not known; there is inception-v3")
    from encoders.fetch import fetch_inception
    from encoders.files import cache_folder
    from encoders.run import download_bar

    target = to if to is not None else cache_folder() / "inception-v3.onnx"
    with download_bar(err, quiet) as report:
        spec = fetch_inception(target, local=local, report=report)
    out.print(f"{target}: {spec.description}, encoder {spec.hash}")


@app.command()
def build(
    to: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
) -> None:
    """Build Inception v3 with random weights: no download, and features good enough for simple scenes.

    Example: encoders build inception-v3-random.onnx --seed 0
    """
    from encoders.inception import build_encoder

    spec = build_encoder(to, seed)
    out.print(f"{to}: {spec.description}, encoder {spec.hash}")


@app.command()
def cut(
    source: Annotated[Path, typer.Argument(help="ONNX file of a full classifier.")],
    to: Annotated[Path, typer.Argument(help="The encoder to write.")],
    size: Size = 299,
    resampling: Resampling = "bilinear",
    mean: Mean = (127.5, 127.5, 127.5),
    std: Std = (127.5, 127.5, 127.5),
    channels: Channels = "RGB",
    layout: Layout = "NCHW",
    description: Annotated[str, typer.Option(help="What figures call its features.")] = "",
) -> None:
    """Cut a classifier at its global pool, giving features (its mean) and grid as outputs.

    The defaults are the preprocessing of Google's Inception v3: RGB, x / 127.5 - 1.

    Example: encoders cut tf_inception_v3.onnx inception-v3.onnx
    """
    from encoders.spec import Preprocessing
    from encoders.surgery import cut_classifier

    how = Preprocessing((size, size), resampling, mean, std, channels, layout)
    spec = cut_classifier(source, to, how, description or source.stem)
    out.print(f"{to}: {spec.description}, encoder {spec.hash}, outputs {spec.shapes}")


@app.command()
def describe(
    model: Annotated[Path, typer.Argument(help="ONNX file whose outputs are features already.")],
    features: Annotated[str, typer.Option(help="Name of the output that holds the features.")] = "features",
    grid: Annotated[str, typer.Option(help="Name of the output that holds the grid, if any.")] = "",
    size: Size = 299,
    resampling: Resampling = "bilinear",
    mean: Mean = (127.5, 127.5, 127.5),
    std: Std = (127.5, 127.5, 127.5),
    channels: Channels = "RGB",
    layout: Layout = "NCHW",
    description: Annotated[str, typer.Option(help="What figures call its features.")] = "",
) -> None:
    """State which preprocessing an ONNX file expects and what its outputs are, in a file beside it.

    Example: encoders describe my-encoder.onnx --features pooled --mean 123.7 116.3 103.5 --std 58.4 57.1 57.4
    """
    from encoders.encode import describe_model
    from encoders.sidecar import save_spec
    from encoders.spec import Preprocessing

    how = Preprocessing((size, size), resampling, mean, std, channels, layout)
    tensors = {"features": features} | ({"grid": grid} if grid else {})
    spec = describe_model(model, tensors, how, description or model.stem)
    out.print(f"{save_spec(model, spec)}: {spec.description}, encoder {spec.hash}, outputs {spec.shapes}")


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="An ONNX encoder, a feature store, or an .npz of features.")],
) -> None:
    """Show what an encoder or a set of features is.

    Example: encoders inspect inception-v3.onnx
    """
    from encoders.run import inspect_features, inspect_model

    for label, value in (inspect_model(path) if path.suffix == ".onnx" else inspect_features(path)).items():
        out.print(f"{label:<14} {value}")


@app.command()
def encode(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, and folders searched for pictures.")],
    model: Model,
    store: Annotated[Path, typer.Option("--store", "-s", help="Feature store to make or to continue.")],
    output: Annotated[list[str], typer.Option(help="What to keep: features, grid, or both.")] = ["features"],  # noqa: B006
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    batch: Annotated[int, typer.Option(min=1, help="Pictures a batch.")] = 8,
    device: Annotated[str, typer.Option(help="cpu, or cuda for an NVIDIA GPU through ONNX Runtime.")] = "cpu",
    provider: Annotated[
        list[str],
        typer.Option(help="ONNX Runtime providers, in order, in place of a device."),
    ] = [],  # noqa: B006
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes one a core.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Encode pictures into a feature store; run it again to continue where it stopped.

    Example: encoders encode photos/ --model inception-v3.onnx --store features/
    """
    from encoders.pictures import find_pictures
    from encoders.run import run_encode

    if provider and device != "cpu":
        raise typer.BadParameter("give a --device, or --provider for what no device stands for, and not both")
    found = find_pictures(pictures)
    ok = run_encode(found, model, store, tuple(output), dtype, batch, tuple(provider), threads, err, quiet, device)
    raise typer.Exit(0 if ok else 1)


@app.command()
def compare(
    ours: Annotated[Path, typer.Argument(help="A feature store or .npz.")],
    theirs: Annotated[Path, typer.Argument(help="A feature store or .npz to compare with.")],
    output: Annotated[str, typer.Option(help="Which output.")] = "features",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome here.")] = None,
    note: Annotated[str, typer.Option(help="A remark kept in the JSON.")] = "",
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
            "note": note,
        }
        write_json(json_file, record)
    if result.min_cosine < at_least:
        raise EncoderError(f"{result.worst}: cosine {result.min_cosine:.6f} is under {at_least}")

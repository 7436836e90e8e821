"""The command line: captioning demo | encode | train | evaluate | caption | compare | grid | study | fetch | doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from captioning.cli_compare import compare
from captioning.cli_study import study
from captioning.options import (
    Beam,
    Data,
    DecodingSettings,
    Device,
    FeatureFile,
    Glove,
    JsonFile,
    Quiet,
    RecipeName,
    Resume,
    Settings,
)

#: What a shell expects of a command that Ctrl-C ended; typer exits so by itself, without a word.
INTERRUPTED = 130

app = typer.Typer(
    help="Caption pictures with an LSTM or a GRU, by hand on NumPy.\n\n"
    "Begin with `captioning demo`: it makes its own pictures and needs nothing else.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; an error is one message and exit code 1, wrong usage 2, Ctrl-C 130."""
    from captioning.errors import CaptioningError
    from captioning.terminal import err
    from encoders import EncoderError

    sys.path.insert(0, "")  # so that --cells mymodule:MyCell finds a module in the folder where one stands
    try:
        app([argument for argument in sys.argv[1:] if argument != "--debug"])
    except (CaptioningError, EncoderError, OSError, ArithmeticError, RuntimeError, ValueError) as error:
        if "--debug" in sys.argv:
            raise
        err.print(f"error: {_said(error)}", markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        err.print("stopped; finished epochs and encoded pictures are kept, and --resume or the same command goes on")
        sys.exit(INTERRUPTED)


def _said(error: Exception) -> str:
    """An error in words; the system's own begin with the file that they are about."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Options before the command."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/demo"),
    pictures: Annotated[int, typer.Option(min=200, help="How many pictures to make.")] = 2400,
    seed: Annotated[int, typer.Option(help="Of pictures, encoder and training.")] = 0,
    quiet: Quiet = False,
) -> None:
    """The whole story on pictures made here: scenes, features, LSTM and GRU, captions, report.

    Example: captioning demo
    """
    from captioning.demo import run_demo

    run_demo(folder, pictures, seed, quiet)


@app.command()
def encode(
    data: Data,
    model: Annotated[Path, typer.Option("--model", "-m", help="ONNX file of the encoder.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="Feature store to make or to continue.")],
    output: Annotated[list[str], typer.Option(help="What to keep: features, grid, or both.")] = ["features"],  # noqa: B006
    device: Annotated[str, typer.Option(help="cpu, or cuda for an NVIDIA GPU through ONNX Runtime.")] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Encode the pictures of a dataset; run it again to continue where it stopped.

    Pictures that are missing or cannot be read are listed at the end, and the exit code is then 1.

    Example: captioning encode --data Flickr8k/ --model inception-v3.onnx --store features/
    """
    from captioning.data import load_dataset
    from captioning.errors import CaptioningError
    from captioning.terminal import err
    from encoders.run import run_encode

    dataset = load_dataset(data)
    if dataset.pictures is None:
        raise CaptioningError(f"{data}: no folder with the pictures was found beside the captions")
    files = {name: dataset.pictures / name for split in dataset.splits for name in dataset.names(split)}
    complete = run_encode(files, model, store, tuple(output), "float16", 8, (), 0, err, quiet, device)
    raise typer.Exit(0 if complete else 1)


@app.command()
def train(
    data: Data,
    features: FeatureFile,
    run: Annotated[Path, typer.Option("--run", help="Folder of this run: checkpoint and log.")],
    recipe: RecipeName = "default",
    settings: Settings = [],  # noqa: B006
    glove: Glove = None,
    resume: Resume = False,
    start: Annotated[
        Path | None, typer.Option("--from", help="Begin with the weights of this checkpoint, or of this run's folder.")
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train one captioner; the folder gets checkpoint.safetensors and log.jsonl.

    Example: captioning train --data Flickr8k/ --features features/ --recipe default --run runs/gru
    """
    from captioning.commands import load_all, print_start
    from captioning.ensemble import open_checkpoint
    from captioning.terminal import out, training_bar
    from captioning.train import Trainer

    chosen, dataset, rows = load_all(recipe, settings, data, features)
    first = None if start is None else open_checkpoint(start)
    trainer = Trainer(chosen, dataset, rows, run, glove, resume, device, first)
    if not quiet:
        print_start(trainer, dataset)
    with training_bar(chosen.model.cell, quiet) as report:
        path = trainer.run(report)
    best = trainer.history[trainer.best_epoch - 1]
    out.print(
        f"{path}: best epoch {trainer.best_epoch} of {len(trainer.history)}, "
        f"validation loss {best['validation_loss']:.4f} nats a word"
    )


@app.command()
def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint that `captioning train` wrote, or the folder of its run.")
    ],
    data: Data,
    features: FeatureFile,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    settings: DecodingSettings = [],  # noqa: B006
    json_file: JsonFile = None,
    figures: Annotated[bool, typer.Option("--figures", help="Keep single pictures out of the JSON.")] = False,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Caption each picture from another's features too.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Measure a captioner, or the ensemble in a folder of runs: loss, BLEU, ROUGE-L, CIDEr-D, greedy and with a beam.

    Example: captioning evaluate runs/gru/checkpoint.safetensors --data Flickr8k/ --features features/
    """
    from captioning.commands import run_evaluate

    run_evaluate(checkpoint, data, features, split, settings, json_file, figures, device, shuffled)


@app.command()
def caption(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, and folders searched for pictures.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", "-c", help="A trained captioner, or the folder of its run.")
    ],
    encoder: Annotated[Path | None, typer.Option("--encoder", "-e", help="The ONNX file it was trained with.")] = None,
    beam: Beam = None,
    settings: DecodingSettings = [],  # noqa: B006
    best: Annotated[int, typer.Option(min=1, help="Captions of each picture, best first, with log-probabilities.")] = 1,
    json_file: JsonFile = None,
    device: Device = "cpu",
) -> None:
    """Write captions for pictures; a folder of runs speaks as one, the mean of their probabilities.

    Found by beam search, or drawn: --set decoding.sample=true --set decoding.nucleus=0.9 --set decoding.beam=5.

    Diverse: --set decoding.groups=5. No three words twice: --set decoding.no_repeat=3.

    Example: captioning caption photo.jpg --checkpoint runs/gru/checkpoint.safetensors --encoder inception-v3.onnx
    """
    from captioning.commands import run_caption

    complete = run_caption(pictures, checkpoint, encoder, settings, beam, best, json_file, device)
    raise typer.Exit(0 if complete else 1)


app.command()(compare)


@app.command()
def grid(
    grid_file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What is varied: a recipe, axes and seeds.")],
    data: Data,
    features: FeatureFile,
    run: Annotated[Path, typer.Option("--run", help="Folder of the grid: one run a training, and the page.")],
    glove: Glove = None,
    split: Annotated[str, typer.Option(help="What is measured: train, validation or test.")] = "validation",
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time; as many as there are cores.")] = None,
    json_file: JsonFile = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train captioners that differ along some axes, and show what each does; run it again to go on.

    Example: captioning grid ablations.toml --data Flickr8k/ --features features/ --run runs/ablations
    """
    from captioning.ablations.command import run_grid

    run_grid(grid_file, data, features, run, glove, split, jobs, json_file, device, quiet)


app.command()(study)


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="inception-v3, flickr8k, flickr30k, coco or glove.")],
    folder: Annotated[Path, typer.Option(help="Where it is, or should go.")] = Path("data"),
    local: Annotated[Path | None, typer.Option("--from", help="The file to take, brought from elsewhere.")] = None,
    quiet: Quiet = False,
) -> None:
    """Get what a real run needs, or check what you have got yourself.

    inception-v3 is downloaded and checked by sha256.

    The others have terms of their own: it says where to ask, and checks what lies in the folder, every picture too.

    Example: captioning fetch flickr8k --folder Flickr8k/
    """
    from captioning.fetch import run_fetch

    run_fetch(what, folder, local, quiet)


@app.command()
def doctor(
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Also look at this dataset.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Say what this machine's array libraries really do, what holds them back, and what is missing.

    Example: captioning doctor
    """
    from captioning.doctor import run_doctor

    run_doctor(data, json_file)


if __name__ == "__main__":
    main()

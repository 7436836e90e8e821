"""The whole story on pictures that are made here: nothing is downloaded, everything is real."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from captioning.commands import print_result, save_json
from captioning.compare import Comparison
from captioning.config import Recipe, load_recipe
from captioning.data import load_flickr8k
from captioning.errors import CaptioningError
from captioning.evaluate import headline
from captioning.scenes import make_scenes, manifest_of, read_manifest, word_accuracy
from captioning.terminal import counting_bar, err, out
from encoders import open_features
from encoders.inception import default_encoder
from encoders.run import run_encode

CELLS = ("LSTM", "GRU")


def demo_recipe(seed: int) -> Recipe:
    """Return the recipe `default` at a size that fits small pictures and five minutes, hardly any dropout needed."""
    recipe = load_recipe("default").with_overrides(
        {
            "model.picture_dropout": 0.1,
            "model.word_dropout": 0.2,
            "model.output_dropout": 0.2,
            "model.hidden": 256,
            "model.dense": 256,
            "embedding.size": 128,
            "training.epochs": 14,
            "training.pictures_per_batch": 16,
            "training.patience": 14,
            "training.seed": seed,
        }
    )
    return replace(recipe, name="demo")


def run_demo(folder: Path, pictures: int, seed: int, quiet: bool) -> None:
    """Make scenes, encode them, train both cells, print the table and write the report.

    What stands already in `folder` is used again, so an interrupted demo goes on where it stopped.
    """
    started = time.perf_counter()
    scenes, store = folder / "scenes", folder / "features"
    _refuse_other(folder, read_manifest(scenes), manifest_of(pictures, seed))
    with counting_bar("drawing scenes", quiet) as report:
        make_scenes(scenes, pictures, seed, report)
    dataset = load_flickr8k(scenes)
    if not quiet:
        err.print("building Inception v3 with random weights, or taking it from the cache")
    encoder = default_encoder(seed)
    files = {name: scenes / "pictures" / name for name in dataset.captions}
    if not run_encode(files, encoder, store, ("features",), "float16", 8, ("CPUExecutionProvider",), 0, err, quiet):
        raise CaptioningError(f"pictures of the demo cannot be read: remove {folder} and run it again")
    comparison = Comparison(demo_recipe(seed), CELLS, dataset, open_features(store), folder, resume=True)
    result = print_result(comparison, quiet)

    accuracy = {}
    for name, system in result["systems"].items():
        decoder, block = list(system["decoders"].items())[-1]
        accuracy[name] = word_accuracy(block["captions"], scenes)
        words = ", ".join(f"{what} {100 * share:.0f} %" for what, share in accuracy[name].items())
        out.print(f"{name}, {decoder}, unseen scenes described rightly: {words}; {headline(block['metrics'])}")
    save_json({"right words": accuracy, "seconds": time.perf_counter() - started}, folder / "demo.json")
    picture = scenes / "pictures" / dataset.names("test")[0]
    out.print(f"all of it took {time.perf_counter() - started:.0f} s; now try")
    out.print(f"  captioning caption {picture} --checkpoint {folder / 'GRU' / 'checkpoint.safetensors'}", markup=False)


def _refuse_other(folder: Path, found: dict[str, int] | None, wanted: dict[str, int]) -> None:
    """Drawing other scenes would spoil the demo that a folder holds: its features and captioners belong to these."""
    if found is not None and found != wanted:
        version = "" if found.get("version") == wanted["version"] else ", drawn by another version of this program"
        raise CaptioningError(
            f"{folder} holds the demo of seed {found.get('seed')} with {found.get('count')} pictures{version}; "
            "give another folder, --folder FOLDER, or remove this one"
        )

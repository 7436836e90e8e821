"""What the commands do once their arguments are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from captioning.caption import Captioned, caption_files, find_encoder, picture_files
from captioning.checkpoint import Checkpoint
from captioning.compare import Comparison, without_captions
from captioning.config import Decoding, Recipe, load_recipe, parse_override
from captioning.data import Dataset, load_dataset
from captioning.ensemble import EnsembleCheckpoint, open_checkpoint
from captioning.errors import CaptioningError
from captioning.evaluate import Evaluator, about_further, further_line, headline
from captioning.metrics import COCO
from captioning.metrics.meteor import meteor_label
from captioning.report import terminal_table, write_reports
from captioning.terminal import err, out, training_bars
from captioning.train import Trainer
from encoders import Features, open_features
from encoders.files import atomic_write, cache_folder
from rnncore.machine import command_line, describe_machine
from rnncore.processes import bars


def load_all(recipe: str, settings: Iterable[str], data: Path, features: Path) -> tuple[Recipe, Dataset, Features]:
    """Return recipe, dataset and features of a command; what is odd in the data is said on stderr."""
    chosen = load_recipe(recipe).with_overrides(dict(parse_override(text) for text in settings))
    dataset = load_dataset(data)
    for problem in dataset.problems:
        err.print(f"note: {problem}", markup=False)
    return chosen, dataset, open_features(features)


def print_start(trainer: Trainer, dataset: Dataset) -> None:
    """Say what is about to be trained."""
    counts, vocabulary = trainer.model.parameter_counts(), trainer.vocabulary
    parts = ", ".join(f"{part} {count:,}" for part, count in counts.items() if part != "total")
    err.print(
        f"{dataset.name}: {len(dataset.names('train')):,} training pictures, {len(vocabulary):,} words\n"
        f"{trainer.recipe.model.cell}: {counts['total']:,} parameters ({parts})"
    )
    if trainer.vectors_found is not None:
        err.print(f"GloVe has {trainer.vectors_found:,} of the {len(vocabulary) - 1:,} words")
    if trainer.history:
        err.print(f"going on after epoch {len(trainer.history)}")


def run_evaluate(
    checkpoint: Path,
    data: Path,
    features: Path,
    split: str,
    settings: Iterable[str],
    json_file: Path | None,
    figures_only: bool,
    device: str,
    shuffled: bool = False,
) -> None:
    """Print and keep what `Evaluator.report` finds, and with `shuffled` what `Evaluator.shuffled` does.

    With `figures_only` nothing of single pictures is kept.
    """
    stored = open_checkpoint(checkpoint)
    stored.recipe = replace(stored.recipe, decoding=decoding_of(stored, settings))
    evaluator = Evaluator.of(stored, load_dataset(data), open_features(features), split, device)
    report = evaluator.report()
    out.print(f"loss {report['loss']:.4f} nats a word")
    for name, block in report["decoders"].items():
        out.print(f"{name}: {headline(block['metrics'])}")
        ranges = block["intervals"]
        coco = "  ".join("{:.1f} to {:.1f}".format(*ranges[metric]) for metric in block["metrics"][COCO])
        out.print(f"  95 % of samples of the pictures: {coco}")
        out.print(f"  {further_line(block['further'], ranges)}")
    out.print(f"METEOR {meteor_label()}")
    if shuffled:
        report["shuffled_pictures"] = evaluator.shuffled()
        out.print(f"{name} of another picture: {headline(report['shuffled_pictures'])}")
    if json_file is not None:
        about: dict[str, Any] = {"command": command_line(), "machine": describe_machine(), "split": split}
        about |= {
            "recipe": stored.recipe.to_dict(),
            "features": stored.features.description,
            "further": about_further(),
        }
        about |= {"date": date.today().isoformat(), "trained": trained(stored)}
        save_json({**about, **(_figures(report) if figures_only else report)}, json_file)


def trained(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Return how each captioner of a checkpoint was trained: its seed, epochs, seconds, and what validation said."""
    members = checkpoint.members if isinstance(checkpoint, EnsembleCheckpoint) else (checkpoint,)
    rows = []
    for member in members:
        best = member.history[member.best_epoch - 1]
        rows.append(
            {
                "recipe": member.recipe.name,
                "seed": member.recipe.training.seed,
                "epochs": len(member.history),
                "best_epoch": member.best_epoch,
                "seconds": sum(record["seconds"] for record in member.history),
                "validation_loss": best["validation_loss"],
                "validation": best["validation"],
            }
        )
    return rows


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without the captions and scores of single pictures: small enough to be kept and read."""
    decoders = {
        name: {key: block[key] for key in ("metrics", "intervals", "further")}
        for name, block in report["decoders"].items()
    }
    return {**{key: value for key, value in report.items() if key != "per_picture"}, "decoders": decoders}


def decoding_of(checkpoint: Checkpoint, settings: Iterable[str], beam: int | None = None) -> Decoding:
    """Return the checkpoint's decoding with some keys changed, as in decoding.nucleus=0.9."""
    changes = dict(parse_override(text) for text in settings) | ({} if beam is None else {"decoding.beam": beam})
    if foreign := [key for key in changes if not key.startswith("decoding.")]:
        raise CaptioningError(f"a trained captioner cannot change its {foreign[0]}; only keys of [decoding] can be set")
    return checkpoint.recipe.with_overrides(changes).decoding


def run_caption(
    pictures: list[Path],
    checkpoint: Path,
    encoder: Path | None,
    settings: Iterable[str],
    beam: int | None,
    best: int,
    json_file: Path | None,
    device: str,
) -> bool:
    """Print the best captions of each picture as soon as they are there; False if a picture could not be read."""
    stored, files, done = open_checkpoint(checkpoint), picture_files(pictures), []
    places = [checkpoint.parent, checkpoint.parent.parent, Path("data"), Path(), cache_folder()]
    decoding = decoding_of(stored, settings, beam)
    for each in caption_files(stored, encoder or find_encoder(stored, places), files, decoding, device):
        done.append(each)
        if each.error is not None:
            err.print(f"error: {each.error}", markup=False)
        for said, log_p in each.captions[:best]:
            line = said if best == 1 else f"{said}  ({log_p:.2f})"
            out.print(f"{each.path}: {line}" if len(files) > 1 else line, markup=False)
    if json_file is not None:
        save_json({"decoding": asdict(decoding), "captions": [_as_json(each) for each in done]}, json_file)
    return all(each.error is None for each in done)


def _as_json(each: Captioned) -> dict[str, Any]:
    """A picture's captions, and every word of the best with its probability and attention's weights."""
    words = [(word, round(p, 6), None if w is None else w.round(5).tolist()) for word, p, w in each.words]
    return {"picture": str(each.path), "captions": each.captions, "words": words, "error": each.error}


def print_result(comparison: Comparison, quiet: bool, max_pictures: int = 60, beside: bool = False) -> dict[str, Any]:
    """Run a comparison, print its tables, write its reports, and return the result."""

    def say(line: str) -> None:
        if not quiet:
            err.print(line, markup=False)

    if comparison.jobs > 1:
        with bars("captioners", len(comparison.systems()) * comparison.seeds, 0, quiet) as watch:
            result = comparison.run(say, watch=watch)
    else:
        with training_bars(quiet) as report:
            result = comparison.run(say, report)
    dataset = comparison.dataset

    def picture_file(name: str) -> Path | None:
        path = None if dataset.pictures is None else dataset.pictures / name
        return path if path is not None and path.is_file() else None

    for table in terminal_table(result):
        out.print(table, soft_wrap=False)
    if result["conclusion"]:
        out.print(result["conclusion"], markup=False, soft_wrap=False)
    said = {name: dataset.captions[name] for name in dataset.names("test")}
    written = write_reports(result, comparison.folder, said, picture_file, max_pictures, beside)
    out.print(f"open {written[-1]} in a browser")
    return result


def save_result(result: Mapping[str, Any], path: Path) -> None:
    """Keep a comparison's figures as JSON, without the captions of single pictures."""
    save_json(without_captions(result), path)


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")

"""What `captioning study` does once its arguments are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.table import Table

from captioning.commands import save_json
from captioning.data import Dataset, load_dataset
from captioning.ensemble import open_checkpoint
from captioning.errors import CaptioningError
from captioning.study.epochs import story, story_figure, story_table
from captioning.study.page import names_of, study_page, study_server
from captioning.study.prices import measures_of
from captioning.study.seeds import over_seeds, seeds_table
from captioning.study.studied import Studied
from captioning.terminal import counting_bar, out
from encoders import open_features
from encoders.files import atomic_write
from rnncore.machine import command_line, describe_machine
from rnncore.study import plots, table, write_csv, write_safetensors


@dataclass(frozen=True)
class Asked:
    """What a person wants of `captioning study`; see its help. `port` is None unless the page is to be served."""

    picture: str | None = None
    words: str = ""
    page: Path | None = None
    port: int | None = None
    unit: int | None = None
    save: Path | None = None
    epochs: Path | None = None
    json_file: Path | None = None
    captions: int = 500
    pictures: int | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing in particular is wanted."""
        wanted = (self.page, self.port, self.unit, self.save, self.epochs, self.json_file)
        return all(each is None for each in wanted)


class Study:
    """Some checkpoints side by side on a split of a dataset."""

    def __init__(self, checkpoints: Sequence[Path], data: Path, features: Path, split: str) -> None:
        self.dataset: Dataset = load_dataset(data)
        rows, stored = open_features(features), [open_checkpoint(path) for path in checkpoints]
        names = names_of(checkpoints, [each.recipe.model.cell for each in stored])
        pairs = zip(names, stored, strict=True)
        self.models = [Studied.of(name, each, self.dataset, rows, split) for name, each in pairs]
        self.features = rows.description

    def picture(self, name: str | None) -> str:
        """Return the picture asked for, or the first of the split."""
        names = self.models[0].split.names
        return names[0] if name is None else names[self.models[0].picture_number(name)]

    def write_page(self, path: Path, picture: str, words: str) -> None:
        """Write the page as one file."""
        html = study_page(self.models, self.dataset, picture, words, server=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            file.write(html)
        out.print(f"open {path} in a browser, or serve it with --serve to change words and hold gates")

    def serve(self, picture: str, words: str, port: int) -> None:
        """Serve the page until Ctrl-C."""
        with study_server(self.models, self.dataset, picture, words, port) as server:
            out.print(f"open {server.address} in a browser; Ctrl-C ends")
            with suppress(KeyboardInterrupt):
                server.serve_forever()

    def show(self, picture: str, words: str, unit: int | None, save: Path | None) -> None:
        """Print one unit step by step, and write every gate of every step into a folder, where they are asked for."""
        for studied in self.models:
            place = studied.picture_number(picture)
            one = studied.reading(place, studied.words_of(words) if words else studied.caption(place))
            run = one.run([0])
            if unit is not None:
                if not 0 <= unit < run.hidden:
                    raise CaptioningError(f"{studied.name} has units 0 to {run.hidden - 1}, not {unit}")
                out.print(table(run, unit))
            if save is not None:
                save.mkdir(parents=True, exist_ok=True)
                write_csv(run, save / f"{studied.name}.csv")
                write_safetensors(run, save / f"{studied.name}.safetensors")
                out.print(f"{save / studied.name}.csv and .safetensors: {', '.join(run.values)}")

    def tell(self, path: Path) -> None:
        """Print how gates were used after every epoch of training, and draw it."""
        stories = {each.name: story(each.name, each.checkpoint.history) for each in self.models}
        for name, told in stories.items():
            out.print(story_table(name, told))
        path.parent.mkdir(parents=True, exist_ok=True)
        plots.save(story_figure(stories), path)
        out.print(f"{path}: gates over the epochs of training")

    def measure(self, captions: int, pictures: int | None, path: Path, quiet: bool) -> None:
        """Print and keep what `measures_of` finds of every model over the first pictures of the split."""
        found: dict[str, Any] = {}
        for studied in (each.first(pictures) for each in self.models):
            with counting_bar(f"{studied.name}: losses with gates held", quiet) as bar:
                found[studied.name] = measures_of(studied, captions, bar)
            history = studied.checkpoint.history
            found[studied.name] |= {"recipe": studied.checkpoint.recipe.to_dict()}
            found[studied.name] |= {"gates_by_epoch": [record.get("gates") for record in history]}
            out.print(prices_table(studied.name, found[studied.name]["prices"]))
        about: dict[str, Any] = {
            "command": command_line(),
            "date": date.today().isoformat(),
            "machine": describe_machine(),
        }
        about |= {"dataset": self.dataset.name, "pictures": len(studied.split.names), "features": self.features}
        groups = over_seeds(found)
        if any(len(group["models"]) > 1 for group in groups.values()):
            out.print(seeds_table(groups))
        save_json({**about, "over_seeds": groups, "models": found}, path)
        out.print(f"{path}: all measures")


def prices_table(name: str, prices: dict[str, dict[str, float]]) -> Table:
    """Return the losses under every intervention, with what they add."""
    made = Table(title=f"{name}: nats a word")
    for column in ("", "loss", "more", "picture's information"):
        made.add_column(column, justify="left" if not column else "right")
    trained = prices["as trained"]["loss"]
    for what, each in prices.items():
        made.add_row(what, f"{each['loss']:.4f}", f"{each['loss'] - trained:+.4f}", f"{each['picture']:.4f}")
    return made


def run_study(study: Study, asked: Asked, quiet: bool) -> None:
    """Do what was asked for; write the page where nothing else was."""
    picture = study.picture(asked.picture)
    if asked.unit is not None or asked.save is not None:
        study.show(picture, asked.words, asked.unit, asked.save)
    if asked.epochs is not None:
        study.tell(asked.epochs)
    if asked.json_file is not None:
        study.measure(asked.captions, asked.pictures, asked.json_file, quiet)
    if asked.page is not None or asked.nothing:
        study.write_page(asked.page or Path("study.html"), picture, asked.words)
    if asked.port is not None:
        study.serve(picture, asked.words, asked.port)

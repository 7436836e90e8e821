"""Recipes: everything that decides how a captioner is built and trained, typed and checked.

A recipe is a TOML file with the five sections below and every key given; or a file that names another
recipe, `base = "default"`, and gives only what differs. Nothing has a silent default.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from captioning.checking import Checked, OneOf, Within
from captioning.errors import CaptioningError
from rnncore.cells import CELLS

RECIPES = ("default", "paper")
"""The recipes that come with the package."""

_Count = Annotated[int, Within(1)]
_Whole = Annotated[int, Within(0)]
_Amount = Annotated[float, Within(0)]
_Rate = Annotated[float, Within(0, 1, below=True)]


@dataclass(frozen=True)
class Text(Checked):
    """Cleaning and vocabulary; `max_length` counts a caption's words and both markers."""

    keep_one_letter: bool
    remove_stop_words: bool
    min_count: _Count
    unknown_token: bool
    max_length: Annotated[int, Within(3)]


@dataclass(frozen=True)
class Embedding(Checked):
    """Word vectors: their size, where they come from, and whether training changes them."""

    size: _Count
    vectors: Annotated[str, OneOf(("glove", "random"))]
    train: bool


@dataclass(frozen=True)
class Model(Checked):
    """The captioner's cell, its sizes and its dropout rates; `cell` may be a person's own `module:Class`."""

    cell: Annotated[str, OneOf(tuple(CELLS), own=True)]
    hidden: _Count
    dense: _Count
    picture_dropout: _Rate
    word_dropout: _Rate
    output_dropout: _Rate
    standardise_features: bool


@dataclass(frozen=True)
class Training(Checked):
    """Optimisation. `clip_norm` 0 means no clipping; each `schedule_` key serves the schedules named.

    schedule_every: epochs between two falls of the learning rate (step).
    schedule_factor: what the learning rate is multiplied by at a fall (step, plateau).
    schedule_patience: validations in a row without a better loss before a fall (plateau).
    schedule_warmup: epochs, fractions allowed, over which the learning rate rises from 0 (cosine).
    schedule_floor: the last learning rate as a fraction of `learning_rate` (cosine).
    patience: epochs without a better score before training stops (early stopping).
    """

    epochs: _Count
    pictures_per_batch: _Count
    learning_rate: Annotated[float, Within(0, above=True)]
    optimiser: Annotated[str, OneOf(("adam", "adamw", "sgd"))]
    weight_decay: _Amount
    clip_norm: _Amount
    schedule: Annotated[str, OneOf(("constant", "step", "cosine", "plateau"))]
    schedule_every: _Count
    schedule_factor: Annotated[float, Within(0, 1, above=True, below=True)]
    schedule_patience: _Count
    schedule_warmup: _Amount
    schedule_floor: Annotated[float, Within(0, 1)]
    early_stopping: Annotated[str, OneOf(("none", "CIDEr-D"))]
    patience: _Count
    seed: _Whole

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "cosine" and self.schedule_warmup >= self.epochs:
            raise CaptioningError(
                f"training.schedule_warmup must be below training.epochs ({self.epochs}), not {self.schedule_warmup:g}"
            )


@dataclass(frozen=True)
class Decoding(Checked):
    """Beam search: `beam` 1 is greedy; a score is divided by length ** `length_normalisation`.

    `max_length` counts the words of a caption, without markers.
    """

    beam: _Count
    max_length: _Count
    length_normalisation: _Amount


_SECTIONS: dict[str, type[Checked]] = {
    "text": Text,
    "embedding": Embedding,
    "model": Model,
    "training": Training,
    "decoding": Decoding,
}


@dataclass(frozen=True)
class Recipe:
    """A complete, checked configuration. `name` says where it came from and is no part of the hash."""

    name: str
    text: Text
    embedding: Embedding
    model: Model
    training: Training
    decoding: Decoding

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The sections as plain values; `from_dict` reads them back."""
        return {section: asdict(getattr(self, section)) for section in _SECTIONS}

    @classmethod
    def from_dict(cls, name: str, tables: Mapping[str, Any]) -> "Recipe":
        """A recipe of plain values. Every error begins with `name`, which says where they came from."""
        try:
            _reject_unknown("section", tables, _SECTIONS)
            sections = {key: _section(key, kind, tables) for key, kind in _SECTIONS.items()}
        except CaptioningError as error:
            raise CaptioningError(f"{name}: {error}") from error
        return cls(name, **sections)  # type: ignore[arg-type]

    def with_overrides(self, overrides: Mapping[str, Any]) -> "Recipe":
        """The recipe with some keys changed, as in `{"training.epochs": 5}`; checked like a file."""
        tables = self.to_dict()
        for key, value in overrides.items():
            section, _, name = key.partition(".")
            tables.setdefault(section, {})[name] = value
        return Recipe.from_dict(self.name, tables)

    @cached_property
    def hash(self) -> str:
        """sha256 (hexadecimal) of the sections as canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe that comes with the package under this name, or the one in a TOML file."""
    name = str(name_or_path)
    return Recipe.from_dict(name, _tables(name, ()))


def parse_override(text: str) -> tuple[str, Any]:
    """`training.epochs=5` as a key and a TOML value; a bare word such as `model.cell=GRU` is a string."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or "." not in key:
        raise CaptioningError(f"{text!r} is no setting; write section.key=value, as in training.epochs=5")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _tables(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """The tables of a recipe file, merged over those of its base."""
    if name in seen:
        raise CaptioningError(f"{name}: the recipe is its own base: {' -> '.join((*seen, name))}")
    tables = _read(name)
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str):
        raise CaptioningError(f"{name}: base must be the name or path of a recipe, not {base!r}")
    near = Path(name).parent / base
    merged = _tables(base if base in RECIPES else str(near), (*seen, name))
    for section, table in tables.items():
        over = isinstance(table, dict) and isinstance(merged.get(section), dict)
        merged[section] = merged[section] | table if over else table
    return merged


def _read(name: str) -> dict[str, Any]:
    place = resources.files("captioning") / "recipes" / f"{name}.toml" if name in RECIPES else Path(name)
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaptioningError(
            f"there is no recipe {name!r}: give one of {', '.join(RECIPES)}, or the path of a TOML file"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptioningError(f"{name}: cannot be read as a recipe: {error}") from error


_S = TypeVar("_S", bound=Checked)


def _section(section: str, kind: type[_S], tables: Mapping[str, Any]) -> _S:
    table = tables.get(section)
    if not isinstance(table, Mapping):
        raise CaptioningError(f"the section [{section}] is missing or not a table")
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    _reject_unknown(f"key in [{section}]", table, names)
    if missing := [name for name in names if name not in table]:
        raise CaptioningError(
            f'[{section}] lacks {", ".join(missing)}; give every key, or begin the file with base = "default"'
        )
    return kind(**table)


def _reject_unknown(what: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise CaptioningError(f"unknown {what}: {name!r}; did you mean {near[0]!r}? ({', '.join(known)})")

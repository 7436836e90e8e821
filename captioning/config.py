"""Recipes: everything that decides how a captioner is built and trained, typed and checked.

A recipe is a TOML file with the five sections of `captioning.sections` and every key given; or a file that names
another recipe, `base = "default"`, and gives only what differs. A file has no silent default.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from captioning.checking import Checked
from captioning.errors import CaptioningError
from captioning.sections import Decoding, Embedding, Model, Text, Training

__all__ = ["RECIPES", "Decoding", "Embedding", "Model", "Recipe", "Text", "Training", "load_recipe", "parse_override"]

RECIPES = ("default", "paper", "init", "attention", "self-critical")
"""The recipes that come with the package."""

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
    def from_dict(cls, name: str, tables: Mapping[str, Any], older: bool = False) -> "Recipe":
        """A recipe of plain values. Every error begins with `name`, which says where they came from.

        older: whether keys may be missing that did not exist when it was written.
        """
        try:
            _reject_unknown("section", tables, _SECTIONS)
            sections = {key: _section(key, kind, tables, older) for key, kind in _SECTIONS.items()}
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


def _section(section: str, kind: type[_S], tables: Mapping[str, Any], older: bool) -> _S:
    table = tables.get(section)
    if not isinstance(table, Mapping):
        raise CaptioningError(f"the section [{section}] is missing or not a table")
    known = fields(kind)  # type: ignore[arg-type]
    _reject_unknown(f"key in [{section}]", table, [item.name for item in known])
    wanted = [item.name for item in known if not older or item.default is MISSING]
    if missing := [name for name in wanted if name not in table]:
        raise CaptioningError(
            f'[{section}] lacks {", ".join(missing)}; give every key, or begin the file with base = "default"'
        )
    return kind(**table)


def _reject_unknown(what: str, given: Any, known: Any) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise CaptioningError(f"unknown {what}: {name!r}; did you mean {near[0]!r}? ({', '.join(known)})")

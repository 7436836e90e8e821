"""Recipes: everything that decides how a captioner is built and trained, typed and checked.

A recipe is a TOML file with the five sections below and every key given; or a file that names another
recipe, `base = "default"`, and gives only what differs. A file has no silent default: those of the fields below are
what a checkpoint means that was written before the key existed.
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
from typing import Annotated, Any, TypeVar

from captioning.checking import Checked, OneOf, Within
from captioning.entry import ENTRIES
from captioning.errors import CaptioningError
from captioning.head import ACTIVATIONS
from rnncore.cells import CELLS

RECIPES = ("default", "paper", "init", "attention", "best", "self-critical")
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
    """The captioner's parts, their sizes and their dropout rates.

    cell: of the recurrent network; may be a person's own `module:Class`. hidden: its units, in each of its layers.
    dense: units between the network and the vocabulary, 0 for none; dense_activation: what they go through.
    standardise_features: by mean and deviation over the training pictures.
    picture: where the picture's vector enters (captioning.entry).
    layers: of the network, one above the other; layer_dropout: between them.
    recurrent_dropout: of what the recurrent product sees, one mask a caption; variational_dropout: whether the words
        and the output, too, have one mask a caption rather than one a word (Gal & Ghahramani 2016).
    tied: whether the vocabulary's matrix is the embedding's (Press & Wolf 2017); the rows must be of equal length.
    attention: whether the network looks at the picture's grid before each word, `gated` with Xu et al.'s selector.
    attention_size: of keys and query. grid_components: to how many principal components the grid's channels are
        reduced. annotation: numbers in the vector of a place that is learnt from them.
    attention_penalty: weight of (1 - sum over time of a place's weight)^2, summed over places (Xu et al. 2015, 4.2.1).
    """

    cell: Annotated[str, OneOf(tuple(CELLS), own=True)]
    hidden: _Count
    dense: _Whole
    picture_dropout: _Rate
    word_dropout: _Rate
    output_dropout: _Rate
    standardise_features: bool
    dense_activation: Annotated[str, OneOf(ACTIVATIONS)] = "relu"
    picture: Annotated[str, OneOf(ENTRIES)] = "merge-add"
    layers: _Count = 1
    layer_dropout: _Rate = 0.0
    recurrent_dropout: _Rate = 0.0
    variational_dropout: bool = False
    tied: bool = False
    attention: Annotated[str, OneOf(("none", "additive", "gated"))] = "none"
    attention_size: _Count = 256
    grid_components: _Count = 512
    annotation: _Count = 512
    attention_penalty: _Amount = 0.0


@dataclass(frozen=True)
class Training(Checked):
    """Optimisation. `clip_norm` 0 means no clipping; each `schedule_` key serves the schedules named.

    schedule_every: epochs between two falls of the learning rate (step).
    schedule_factor: what the learning rate is multiplied by at a fall (step, plateau).
    schedule_patience: validations in a row without a better loss before a fall (plateau).
    schedule_warmup: epochs, fractions allowed, over which the learning rate rises from 0 (cosine).
    schedule_floor: the last learning rate as a fraction of `learning_rate` (cosine).
    patience: epochs without a better score before training stops (early stopping).
    label_smoothing: share of each target that is spread over the whole vocabulary.
    scheduled_sampling: share of the words read that are the model's own in the last epoch; it rises evenly from 0.
    averaging: what is validated and kept: the weights, their exponential moving average by the step (ema), or the mean
        of those at the ends of epochs (swa); averaging_decay: of ema. averaging_from: the first epoch averaged over.
    objective: of the likelihood of the captions, or self-critical: the expected reward CIDEr-D (Rennie et al. 2017).
    samples: captions drawn a picture. baseline: what their reward is compared with, that of the greedy caption or the
        mean of the other samples' (self-critical).
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
    label_smoothing: _Rate = 0.0
    scheduled_sampling: Annotated[float, Within(0, 1)] = 0.0
    averaging: Annotated[str, OneOf(("none", "ema", "swa"))] = "none"
    averaging_decay: _Rate = 0.999
    averaging_from: _Count = 1
    objective: Annotated[str, OneOf(("likelihood", "self-critical"))] = "likelihood"
    samples: _Count = 5
    baseline: Annotated[str, OneOf(("greedy", "others"))] = "others"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.averaging_from > self.epochs:
            raise CaptioningError(
                f"training.averaging_from must be at most training.epochs ({self.epochs}), not {self.averaging_from}"
            )
        if self.schedule == "cosine" and self.schedule_warmup >= self.epochs:
            raise CaptioningError(
                f"training.schedule_warmup must be below training.epochs ({self.epochs}), not {self.schedule_warmup:g}"
            )


@dataclass(frozen=True)
class Decoding(Checked):
    """How captions are found: by beam search, of which a beam of 1 is greedy, or by drawing words at random.

    beam: captions kept for each picture at every step. max_length: words of a caption, without markers.
    length_normalisation: a score is divided by length to this power.
    groups: parts of the beam that are searched one after the other; diversity: what each word costs a group that a
        group before it has taken at this step (diverse beam search, Vijayakumar et al. 2018).
    no_repeat: length of the word sequences that may not occur twice in a caption, 0 for no such rule.
    sample: whether words are drawn; `beam` is then how many captions. temperature: what logits are divided by.
    top_k: draw from the k likeliest words only, 0 for all (Fan et al. 2018).
    nucleus: draw from the likeliest words that have this probability together (Holtzman et al. 2020).
    seed: of the draws.
    """

    beam: _Count
    max_length: _Count
    length_normalisation: _Amount
    groups: _Count = 1
    diversity: _Amount = 0.5
    no_repeat: _Whole = 0
    sample: bool = False
    temperature: Annotated[float, Within(0, above=True)] = 1.0
    top_k: _Whole = 0
    nucleus: Annotated[float, Within(0, 1, above=True)] = 1.0
    seed: _Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beam % self.groups:
            raise CaptioningError(
                f"decoding.beam must be a multiple of decoding.groups, not {self.beam} of {self.groups}"
            )


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

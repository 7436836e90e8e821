"""One file that holds a trained captioner whole: safetensors, with everything else as JSON in its header.

Tensors: `model/…` parameters and constants; `last/…` the parameters where training stands, if they are not the best;
`optimiser/…` its moments. Header: recipe, vocabulary, features, history, generator states, and their hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from captioning.config import Recipe
from captioning.errors import CaptioningError
from captioning.model import Captioner
from captioning.vocabulary import Vocabulary
from encoders import Features
from encoders.files import atomic_write
from rnncore.array import Array, to_host
from rnncore.interop.files import hash_arrays

FORMAT = "rnncore captioner 1"


@dataclass(frozen=True)
class FeatureSource:
    """Where the features of a model came from: what is refused when it does not match.

    hash : of the encoder, or of the file, that made them. made_by : of the encoder whose new rows fit beside them.
    size : numbers in a vector. grid : (C, rows, columns) of the grid, where the model has attention.
    """

    hash: str
    description: str
    size: int
    made_by: str | None = None
    grid: tuple[int, ...] | None = None


def source_of(features: Features, recipe: Recipe) -> FeatureSource:
    """Return what a checkpoint remembers of its features: one vector a picture, and the grid if the recipe looks at it.

    Raises
    ------
    CaptioningError
        If the features have no vectors, or not the grid that attention needs.
    """
    shape = features.outputs.get("features", ())
    if len(shape) != 1:
        raise CaptioningError(
            f"a captioner needs an output 'features' of one vector a picture; these features have {features.outputs}"
        )
    grid = features.outputs.get("grid") if recipe.model.attention != "none" else None
    return FeatureSource(features.encoder, features.description, shape[0], features.made_by, grid)


@dataclass
class Checkpoint:
    """What a checkpoint file says; its tensors are read on demand.

    state : how to resume: optimiser numbers, dropout generators, schedule.
    tensor_hashes : the sha256 of each part's tensors, checked when the part is read; empty in files of before
        November 2026, which have none.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    features: FeatureSource
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    tensor_hashes: dict[str, str] = field(default_factory=dict)

    def model(self, device: str = "cpu") -> Captioner:
        """Return the model with its best parameters."""
        try:
            return Captioner(
                self.recipe,
                len(self.vocabulary),
                self.features.size,
                device=device,
                tensors=self.tensors("model"),
                grid=self.features.grid,
            )
        except (CaptioningError, ValueError) as error:
            raise CaptioningError(f"{self.path}: {error}") from error

    def tensors(self, part: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the tensors of `model`, `last` or `optimiser`, by name; CaptioningError if they were changed."""
        assert self.path is not None
        with _opened(self.path) as file:
            found = {key: file.get_tensor(key) for key in file.keys() if key.startswith(part + "/")}  # noqa: SIM118
        if self.tensor_hashes and self.tensor_hashes.get(part) != _hash_tensors(found).get(part):
            raise CaptioningError(
                f"{self.path}: the tensors of {part!r} do not match their hash; the file is damaged: copy it again, or "
                "train again from the start"
            )
        return {key.split("/", 1)[1]: tensor for key, tensor in found.items()}

    def refuse_other(self, vocabulary: Vocabulary, features: FeatureSource) -> None:
        """Raise CaptioningError, naming both hashes, unless vocabulary and features are those of this checkpoint."""
        if vocabulary.hash != self.vocabulary.hash:
            raise CaptioningError(
                f"{self.path}: the checkpoint's vocabulary is {self.vocabulary.hash}, the data's {vocabulary.hash}; "
                "use the data and the recipe that it was trained with"
            )
        self.refuse_features(features)

    def refuse_features(self, features: FeatureSource) -> None:
        """Raise CaptioningError, naming both hashes, unless the features come from what the model was trained on."""
        if features.hash not in (self.features.hash, self.features.made_by):
            raise CaptioningError(
                f"{self.path}: trained on features of {self.features.hash} ({self.features.description}), "
                f"got features of {features.hash} ({features.description}); encode the pictures with the same encoder"
            )


def save_checkpoint(path: Path, checkpoint: Checkpoint, tensors: Mapping[str, Array]) -> None:
    """Write a checkpoint whole or not at all; `tensors` are named `part/name`."""
    recipe, vocabulary = checkpoint.recipe, checkpoint.vocabulary
    header = {
        "format": FORMAT,
        "recipe": json.dumps({"name": recipe.name, **recipe.to_dict()}),
        "recipe_hash": recipe.hash,
        "vocabulary": vocabulary.to_json(),
        "vocabulary_hash": vocabulary.hash,
        "features": json.dumps(checkpoint.features.__dict__),
        "progress": json.dumps(
            {"best_epoch": checkpoint.best_epoch, "history": checkpoint.history, "state": checkpoint.state}
        ),
    }
    arrays = {name: np.ascontiguousarray(to_host(a)) for name, a in tensors.items()}
    header["tensor_hashes"] = json.dumps(_hash_tensors(arrays))
    header["header_hash"] = _hash(header)
    data = save(arrays, metadata=header)
    with atomic_write(path) as file:
        file.write(data)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint's header.

    Raises
    ------
    CaptioningError
        If the file is missing, truncated, not a checkpoint, or its header was changed.
    """
    path = Path(path)
    with _opened(path) as file:
        header = dict(file.metadata() or {})
    if header.get("format") != FORMAT:
        raise CaptioningError(f"{path}: expected a checkpoint of format {FORMAT!r}, got {header.get('format')!r}")
    if header.pop("header_hash", None) != _hash(header):
        raise CaptioningError(f"{path}: the header does not match its hash; the file was changed or is damaged")
    recipe = json.loads(header["recipe"])
    progress = json.loads(header["progress"])
    return Checkpoint(
        Recipe.from_dict(recipe.pop("name"), recipe, older=True),
        Vocabulary.from_json(header["vocabulary"]),
        _source(json.loads(header["features"])),
        progress["best_epoch"],
        progress["history"],
        progress["state"],
        path,
        json.loads(header.get("tensor_hashes", "{}")),
    )


def _hash_tensors(tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, str]:
    """Return the sha256 of every part's tensors."""
    parts = {name.split("/", 1)[0] for name in tensors}
    return {part: hash_arrays({n: a for n, a in tensors.items() if n.startswith(part + "/")}) for part in parts}


def _source(kept: dict[str, Any]) -> FeatureSource:
    grid = kept.pop("grid", None)
    return FeatureSource(**kept, grid=None if grid is None else tuple(grid))


def _hash(header: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise CaptioningError(f"{path}: no such checkpoint; `captioning train` writes one")
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise CaptioningError(f"{path}: expected a whole safetensors file; {error}") from error

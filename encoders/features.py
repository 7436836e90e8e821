"""Reading features by picture name, from a feature store or from an .npz file."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.errors import EncoderError
from encoders.files import sha256_file
from encoders.known import NPZ
from encoders.store import map_rows, read_header, read_journal


class MissingFeatures(EncoderError):
    """Features were asked for pictures that are not there."""


class Features:
    """Rows of features by picture name.

    ``names`` in row order; ``encoder`` the hash of the encoder that made the rows, or ``npz:<sha256>``;
    ``description`` for people and figures; ``outputs`` the shapes per picture, ``{'features': (2048,)}``;
    ``made_by`` the hash of the encoder whose new rows fit beside these, where that is known.
    """

    def __init__(
        self,
        names: Sequence[str],
        arrays: Mapping[str, npt.NDArray[Any]],
        encoder: str,
        description: str,
        made_by: str | None = None,
    ) -> None:
        self.names = tuple(names)
        self.encoder, self.description, self.made_by = encoder, description, made_by
        self._arrays = dict(arrays)
        self._row = {name: row for row, name in enumerate(self.names)}

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output per picture."""
        return {output: array.shape[1:] for output, array in self._arrays.items()}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._row

    def rows(self, names: Sequence[str], output: str = "features") -> npt.NDArray[np.float32]:
        """The rows of ``names``, in their order, as float32 (n, *shape).

        Raises MissingFeatures naming the pictures that have none, and EncoderError for an unknown output.
        """
        if output not in self._arrays:
            raise EncoderError(f"these features have no output {output!r}; they have {', '.join(self._arrays)}")
        missing = [name for name in names if name not in self._row]
        if missing:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise MissingFeatures(
                f"{len(missing)} of {len(names)} pictures have no features: {shown}. "
                "Encode them with `encoders encode PICTURES --model FILE --store DIR`, or leave them out"
            )
        index = [self._row[name] for name in names]
        return np.asarray(self._arrays[output][index], np.float32)


def open_features(path: Path | str) -> Features:
    """Features from a feature-store folder, or from an .npz with ``names`` (n,) and ``features`` (n, D).

    Raises EncoderError for anything that is missing, damaged, or neither of the two.
    """
    path = Path(path)
    if path.is_dir():
        header = read_header(path)
        names, _ = read_journal(path)
        arrays = map_rows(path, header, len(names))
        return Features(names, arrays, header.encoder, header.description, header.encoder)
    if not path.exists():
        raise EncoderError(f"{path}: no such features; make them with `encoders encode PICTURES --store {path}`")
    return _open_npz(path)


def _open_npz(path: Path) -> Features:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            names, features = file["names"], file["features"]
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{path}: expected a feature store or an .npz with arrays `names` and `features`; {error}"
        ) from error
    if names.ndim != 1 or names.dtype.kind != "U" or features.ndim != 2 or features.dtype.kind != "f":
        raise EncoderError(
            f"{path}: expected names (n,) of text and features (n, D) of floats, "
            f"got {names.shape} {names.dtype} and {features.shape} {features.dtype}"
        )
    _check_rows(path, [str(name) for name in names], features)
    digest = sha256_file(path)
    spec = NPZ.get(digest)
    described, made_by = (spec.description, spec.hash) if spec else (f"features of {path.name}", None)
    return Features(names.tolist(), {"features": features}, f"npz:{digest}", described, made_by)


def _check_rows(path: Path, names: list[str], features: npt.NDArray[Any]) -> None:
    if len(names) != len(features):
        raise EncoderError(f"{path}: {len(names)} names but {len(features)} rows of features")
    if len(set(names)) != len(names):
        raise EncoderError(f"{path}: some names stand there twice")
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise EncoderError(f"{path}: the features of {names[int(bad.argmax())]} are not finite ({bad.sum()} such rows)")

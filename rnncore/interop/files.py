"""Weights in safetensors files: the arrays, and a header that says what they are. No pickle anywhere.

The header is readable by any safetensors tool: `format`, and a JSON object with the cell, the sizes, layers and
directions, every shape, and whatever else was given.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore.array import Array, to_host
from rnncore.cells import CELLS
from rnncore.interop.bundle import Bundle

if TYPE_CHECKING:
    from rnncore.recurrent import Recurrent

FORMAT = "rnncore weights 1"


def save(
    path: str | Path, weights: Recurrent | Bundle | Mapping[str, Array], about: Mapping[str, Any] | None = None
) -> None:
    """Write weights to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : of the file; one that is there is replaced once the new one is on the disk.
    weights : a layer, a `Bundle`, or a `Params` or other mapping of arrays, such as a whole model's.
    about : anything else to keep in the header: JSON values.

    Raises
    ------
    OSError
        If the file cannot be written; what stood there before is untouched.
    TypeError
        If `weights` is none of these, or `about` holds anything but JSON values.

    Examples
    --------
    >>> import tempfile, rnncore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/lstm.safetensors", rnncore.LSTM(3, 4), about={"corpus": "Flickr8k"})
    ...     bundle = load(folder + "/lstm.safetensors")
    >>> bundle.cell, bundle.about, bundle.layer()
    ('LSTM', {'corpus': 'Flickr8k'}, Recurrent(3, 4): 128 parameters)
    """
    from safetensors.numpy import save as to_bytes

    bundle = _bundle_of(weights)
    arrays = {name: np.asarray(array, order="C") for name, array in bundle.params.items()}
    header = {"cell": bundle.cell, **_sizes(weights), "shapes": {name: a.shape for name, a in arrays.items()}}
    header["about"] = {**bundle.about, **(about or {})}
    meta = {"format": FORMAT, "header": json.dumps(header), "sha256": hash_arrays(arrays)}
    data = to_bytes(arrays, metadata=meta)
    write_whole(Path(path), data)


def load(path: str | Path) -> Bundle:
    """Read a file of `save`: `load(path).layer()` is the layer, `params.assign(load(path).params)` fills a model.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, damaged, not a file of `save`, or its arrays are not those of its header.

    Examples
    --------
    Some parts of a model of one's own go into a file, and come back into another of the same names and shapes:

    >>> import tempfile
    >>> from rnncore import Params
    >>> head, other = Params({"W": (4, 3)}), Params({"W": (4, 3)})
    >>> head["W"][...] = 0.5
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/head.safetensors", head)
    ...     other.assign(load(folder + "/head.safetensors").params)
    >>> float(other["W"].sum())
    6.0
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; rnncore.save writes one")
    try:
        with safe_open(path, framework="numpy") as file:
            meta = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a whole safetensors file; {error}") from error
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected the format {FORMAT!r}, got {meta.get('format')!r}; weights of another program are read "
            "with safetensors.numpy.load_file and rnncore.interop.from_pytorch"
        )
    header = json.loads(meta["header"])
    shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
    if shapes != {name: a.shape for name, a in arrays.items()}:
        raise ValueError(f"{path}: the arrays are not those that its header lists; the file was changed")
    if meta.get("sha256", hash_arrays(arrays)) != hash_arrays(arrays):
        raise ValueError(f"{path}: the arrays do not match their sha256; the file is damaged, copy or make it again")
    return Bundle(header["cell"], {name: arrays[name] for name in shapes}, header["about"])


def hash_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Return the sha256 of arrays with their names, precisions and shapes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _bundle_of(weights: Recurrent | Bundle | Mapping[str, Array]) -> Bundle:
    if isinstance(weights, Mapping):
        return Bundle(None, {name: to_host(array) for name, array in weights.items()})
    if not (isinstance(weights, Bundle) or hasattr(weights, "params")):
        raise TypeError(f"weights: expected a layer, a Bundle or arrays by name, got {type(weights).__name__}")
    return Bundle.of(weights)


def _sizes(weights: Recurrent | Bundle | Mapping[str, Array]) -> dict[str, int]:
    """What a reader of the header wants to know of a stack of layers, as far as it is known here."""
    if isinstance(weights, Mapping) or (isinstance(weights, Bundle) and weights.cell not in CELLS):
        return {}
    return {name: getattr(weights, name) for name in ("input_size", "hidden_size", "layers", "directions")}


def write_whole(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, sync, rename: a reader finds the old file or the new one."""
    import tempfile  # slow to import, and of use here alone

    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder stands there, a file was to be written", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent} to write into", str(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes private files
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say what it was full for
        raise
    if os.name == "posix":  # make the rename itself survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

"""A folder of features that survives kill -9 at any moment.

    store.json       what made the rows: encoder hash, description, outputs, dtype (written once, whole)
    features.bin     rows of the output `features`, one after the other, little-endian; likewise grid.bin
    journal.jsonl    one checksummed line a batch: the names whose rows are complete

A batch is appended to every .bin, fsynced, and only then committed by its journal line, fsynced too. Whatever
a kill or a full disk leaves behind the last good line (half rows, half a line) was never committed: readers
do not see it and the next writer cuts it off.
"""

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from encoders.errors import EncoderError
from encoders.files import atomic_write, sync_folder

FORMAT = 1
DTYPES = ("float16", "float32")


class StoreError(EncoderError):
    """A feature store is damaged, busy, full, or belongs to another encoder."""


@dataclass(frozen=True)
class Header:
    """What a store holds: the encoder's hash and label, shapes per picture, and how numbers are kept."""

    encoder: str
    description: str
    outputs: dict[str, tuple[int, ...]]
    dtype: str = "float16"

    def row_bytes(self, output: str) -> int:
        """Bytes of one row of ``output``."""
        return int(np.prod(self.outputs[output])) * np.dtype(self.dtype).itemsize


def read_header(folder: Path) -> Header:
    """The store's header; StoreError where the folder is not a store."""
    path = folder / "store.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise StoreError(f"{folder}: a feature store of format {content['format']}, this program reads {FORMAT}")
        outputs = {str(name): tuple(int(n) for n in shape) for name, shape in content["outputs"].items()}
        return Header(content["encoder"], content["description"], outputs, content["dtype"])
    except FileNotFoundError:
        raise StoreError(f"{folder} is not a feature store: it has no store.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); encode the pictures again into a new folder") from error


def read_journal(folder: Path) -> tuple[list[str], int]:
    """The committed names in row order, and the length in bytes of the journal's good part.

    A torn last line is left out (it was never committed); a bad line before good ones is damage and raises.
    """
    path = folder / "journal.jsonl"
    raw = path.read_bytes() if path.exists() else b""
    names: list[str] = []
    good = 0
    for line in raw.splitlines(keepends=True):
        batch = _parse(line)
        if batch is None:
            if good + len(line) < len(raw):
                raise StoreError(f"{path} is damaged at byte {good}; encode the pictures again into a new folder")
            break
        names.extend(batch)
        good += len(line)
    return names, good


def map_rows(folder: Path, header: Header, count: int) -> dict[str, npt.NDArray[Any]]:
    """The first ``count`` rows of every output, memory-mapped and read-only."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for output, shape in header.outputs.items():
        path = folder / f"{output}.bin"
        have = path.stat().st_size if path.exists() else 0
        if have < count * header.row_bytes(output):
            raise StoreError(
                f"{path} is cut short: {count} rows need {count * header.row_bytes(output)} bytes, "
                f"it has {have}. "
                "Something outside truncated it; encode the pictures again into a new folder"
            )
        if count == 0:  # an empty file cannot be mapped
            arrays[output] = np.empty((0, *shape), header.dtype)
            continue
        arrays[output] = np.memmap(path, _little(header.dtype), mode="r", shape=(count, *shape))
    return arrays


class StoreWriter:
    """The one writer of a store: opens (or makes) it, cuts off what was never committed, appends batches.

    Raises StoreError when another process writes, when the folder holds something else, or when it belongs to
    another encoder, other outputs or another dtype; both sides are named.
    """

    def __init__(self, folder: Path | str, header: Header) -> None:
        self.folder, self.header = Path(folder), header
        if header.dtype not in DTYPES:
            raise StoreError(f"a store keeps {' or '.join(DTYPES)}, not {header.dtype!r}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        try:
            self._agree()
            names, self._journal_bytes = read_journal(self.folder)
            map_rows(self.folder, header, len(names))  # refuses files cut short
            self._names = dict.fromkeys(names)
            self._rollback()
            sync_folder(self.folder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Let others write."""
        os.close(self._lock)

    def append(self, names: Sequence[str], rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Commit a batch, whole or not at all: ``rows[output]`` is (len(names), *shape)."""
        data = self._check(names, rows)
        try:
            for output, array in data.items():
                _append(self.folder / f"{output}.bin", array.tobytes())
            line = _line(names)
            _append(self.folder / "journal.jsonl", line)
        except BaseException as error:
            self._rollback()
            if isinstance(error, OSError):
                raise self._explain(error) from error
            raise
        self._journal_bytes += len(line)
        self._names.update(dict.fromkeys(names))

    def _agree(self) -> None:
        """Write the header of a new store, or compare with the one that stands."""
        path = self.folder / "store.json"
        if path.exists():
            there = read_header(self.folder)
            for field in ("encoder", "outputs", "dtype"):
                old, new = getattr(there, field), getattr(self.header, field)
                if old != new:
                    raise StoreError(
                        f"{self.folder} was made with {field} {old}, now asked for {new}; use a new folder"
                    )
            return
        others = [entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")]
        if others:
            raise StoreError(
                f"{self.folder} is no feature store and not empty ({sorted(others)[0]}…); name a new folder"
            )
        content = {"format": FORMAT, **vars(self.header)}
        with atomic_write(path, "w") as file:
            json.dump(content, file, indent=1)

    def _check(self, names: Sequence[str], rows: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        known = [name for name in names if name in self._names]
        if known or len(set(names)) != len(names):
            raise StoreError(f"{self.folder}: a row for {known[0] if known else names} is already there")
        if not names or set(rows) != set(self.header.outputs):
            raise StoreError(f"a batch needs names and rows for {sorted(self.header.outputs)}, got {sorted(rows)}")
        data: dict[str, npt.NDArray[Any]] = {}
        for output, shape in self.header.outputs.items():
            if rows[output].shape != (len(names), *shape):
                raise StoreError(f"{output}: expected shape {(len(names), *shape)}, got {rows[output].shape}")
            with np.errstate(over="ignore"):  # an overflow becomes infinite and is named below
                data[output] = np.ascontiguousarray(rows[output], _little(self.header.dtype))
            bad = ~np.isfinite(data[output]).reshape(len(names), -1).all(axis=1)
            if bad.any():
                hint = "; a store of --dtype float32 may hold them" if self.header.dtype == "float16" else ""
                raise StoreError(
                    f"{names[int(bad.argmax())]}: its {output} are not finite in {self.header.dtype}{hint}"
                )
        return data

    def _rollback(self) -> None:
        """Cut every file to what is committed."""
        _cut(self.folder / "journal.jsonl", self._journal_bytes)
        for output in self.header.outputs:
            _cut(self.folder / f"{output}.bin", len(self) * self.header.row_bytes(output))

    def _explain(self, error: OSError) -> StoreError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cause = "the disk (or your quota) is full" if full else str(error)
        return StoreError(
            f"{self.folder}: cannot write, {cause}. The {len(self)} finished rows are kept; "
            "make room and run the same command again, it goes on from there"
        )


def _lock(folder: Path) -> int:
    """An exclusive lock that the system drops when the process ends, however it ends."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreError(f"{folder}: another process is writing to this store; wait for it or stop it") from None
    return descriptor


def _little(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _cut(path: Path, size: int) -> None:
    with open(path, "ab") as file:
        if file.tell() != size:
            file.truncate(size)
            os.fsync(file.fileno())


def _line(names: Sequence[str]) -> bytes:
    text = json.dumps(list(names)).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> list[str] | None:
    """The names of a journal line, or None where the line is torn."""
    if not line.endswith(b"\n") or line[8:9] != b" " or b"%08x" % zlib.crc32(line[9:-1]) != line[:8]:
        return None
    return [str(name) for name in json.loads(line[9:-1])]

"""The files of a captioned corpus, line by line: token file, CSV and split lists; a bad line is named."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from captioning.errors import CaptioningError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
TOKEN_FILE = "Flickr8k.token.txt"
SPLIT_FILES = {
    TRAIN: "Flickr_8k.trainImages.txt",
    VALIDATION: "Flickr_8k.devImages.txt",
    TEST: "Flickr_8k.testImages.txt",
}
TEXT_FOLDERS = (".", "Flickr8k_text")  # the second is how the official archive unpacks


def find(folder: Path, name: str) -> Path | None:
    """The file of this name in a corpus folder, or None."""
    return next((folder / sub / name for sub in TEXT_FOLDERS if (folder / sub / name).is_file()), None)


def read_text(path: Path) -> str:
    """A file's text, with or without a byte order mark; a byte that is not UTF-8 is named with its line."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CaptioningError(
            f"{path}, line {line}: not UTF-8 (byte 0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error
    except OSError as error:
        raise CaptioningError(f"{path} cannot be read: {error.strerror or error}") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines that are not blank; only line feeds end a line."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


def token_rows(path: Path) -> list[tuple[str, str]]:
    """(name, caption) of each `NAME#K<TAB>caption` line."""
    rows = []
    for number, line in numbered_lines(path):
        key, tab, caption = line.partition("\t")
        name, _, place = key.rpartition("#")
        if not (tab and name and place.isdecimal()):
            raise CaptioningError(f"{path}, line {number}: expected NAME#K<TAB>caption, got {line[:80]!r}")
        rows.append((plain_name(name, path, f"line {number}"), caption))
    return rows


def csv_rows(path: Path) -> list[tuple[str, str]]:
    """(name, caption) of each row; commas of an unquoted caption belong to it."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if header != ["image", "caption"]:
            raise CaptioningError(f"{path}: the first line must be image,caption, not {','.join(header)!r}")
        return [_csv_row(row, path, reader.line_num) for row in reader if row]
    except csv.Error as error:
        raise CaptioningError(
            f"{path}, line {reader.line_num}: not CSV ({error}); a quoted caption doubles its own quotes"
        ) from error


def _csv_row(row: list[str], path: Path, line: int) -> tuple[str, str]:
    if len(row) < 2:
        raise CaptioningError(f"{path}, line {line}: expected image,caption, got {row[0][:80]!r}")
    return plain_name(row[0].strip(), path, f"line {line}"), " ".join(",".join(row[1:]).split())


def plain_name(name: str, path: Path, where: str) -> str:
    """A picture's name, unless it leads out of the picture folder; `where` says where in the file it stands."""
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise CaptioningError(f"{path}, {where}: {name!r} is no picture name inside the picture folder")
    return name


def official_splits(folder: Path) -> dict[str, list[str]] | None:
    """The names in Flickr8k's three lists; None if there is none of them, an error if some are missing."""
    found = {split: find(folder, name) for split, name in SPLIT_FILES.items()}
    if not any(found.values()):
        return None
    if missing := [SPLIT_FILES[split] for split, path in found.items() if path is None]:
        raise CaptioningError(f"{folder} lacks {', '.join(missing)}; the official split needs all three lists")
    return {split: [line.strip() for _, line in numbered_lines(path)] for split, path in found.items() if path}


def drawn_splits(path: Path, names: list[str], seed: int) -> dict[str, list[str]]:
    """12.5 % of the pictures each for validation and test, at least one; the draw depends on no order."""
    unique = sorted(set(names))
    if len(unique) < len(SPLITS):
        raise CaptioningError(f"{path} has {len(unique)} captioned pictures; three splits need at least 3")
    held = max(1, round(len(unique) / 8))
    drawn = [unique[i] for i in np.random.default_rng(seed).permutation(len(unique))]
    return {VALIDATION: drawn[:held], TEST: drawn[held : 2 * held], TRAIN: drawn[2 * held :]}

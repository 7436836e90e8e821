"""Captioned pictures: Flickr8k as published, Karpathy's JSON of Flickr30k and COCO, CSV and JSON lines of one's own."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioning.errors import CaptioningError
from captioning.formats import (
    SPLIT_FILES,
    SPLITS,
    TOKEN_FILE,
    csv_rows,
    drawn_splits,
    find,
    official_splits,
    token_rows,
)
from captioning.formats_json import read_json_lines, read_karpathy
from captioning.text import SCORING, Cleaning, clean
from encoders.files import sha256_file

#: The published captions, by the sha256 of their file.
FLICKR8K, TOKEN_SHA256 = "Flickr8k", "1e1f3a371ba1a1bf742e6930521c037e046b2bf3fcc2390ba8405e0301ed7689"
CAPTION_FILES = ("captions.csv", "captions.txt", "captions.jsonl")
KARPATHY_FILES = "dataset_*.json"
PICTURE_FOLDERS = (
    "Images",
    "images",
    "pictures",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "images224",
    "flickr30k_images",
    "flickr30k-images",
    ".",
)
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Dataset:
    """Raw captions by picture name in file order, the three splits, and where the pictures are.

    name: Flickr8k for the published captions, otherwise that of the folder or file they were read from.
    pictures: the folder of the pictures, or None where there is none (features may exist already).
    problems: what is odd in the data and what was done about it, one line each, with counts and names.
    """

    name: str
    captions: dict[str, tuple[str, ...]]
    splits: dict[str, tuple[str, ...]]
    pictures: Path | None
    problems: tuple[str, ...] = ()

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        """Every (picture name, raw caption) of a split, in order."""
        return ((name, caption) for name in self.names(split) for caption in self.captions[name])

    def references(self, split: str, cleaning: Cleaning = SCORING) -> dict[str, list[list[str]]]:
        """The captions of each picture of a split, cleaned for scoring; those left empty are dropped."""
        cleaned = {name: [clean(c, cleaning) for c in self.captions[name]] for name in self.names(split)}
        return {name: [words for words in captions if words] for name, captions in cleaned.items()}

    def names(self, split: str) -> tuple[str, ...]:
        """The picture names of `train`, `validation` or `test`."""
        if split not in self.splits:
            raise CaptioningError(f"there is no split {split!r}; the splits are {', '.join(self.splits)}")
        return self.splits[split]

    def picture(self, name: str) -> Path:
        """The file of a picture; raises CaptioningError where the dataset has no such file."""
        if self.pictures is None:
            raise CaptioningError(f"{self.name}: no folder with its pictures was found, so {name} is missing")
        path = self.pictures / name
        if not path.is_file():
            raise CaptioningError(f"{self.name}: the picture {name} is not in {self.pictures}")
        return path


def load_dataset(path: str | Path) -> Dataset:
    """The dataset in a folder or a file, whichever of the known formats is there."""
    path = Path(path)
    if path.is_file():
        return load_flickr8k(path.parent) if path.name == TOKEN_FILE else _load_file(path)
    if not path.is_dir():
        raise CaptioningError(f"there is no dataset at {path}: no such file or folder")
    if find(path, TOKEN_FILE):
        return load_flickr8k(path)
    found = [path / name for name in CAPTION_FILES if (path / name).is_file()]
    found = found[:1] or sorted(path.glob(KARPATHY_FILES)) or sorted({*path.glob("*.csv"), *path.glob("*.jsonl")})
    if len(found) > 1:
        raise CaptioningError(f"{path} holds several datasets: {_some([p.name for p in found])}; give one file")
    if found:
        return _load_file(found[0])
    raise CaptioningError(
        f"{path} holds no dataset known here. Looked for {TOKEN_FILE} (here and in Flickr8k_text/), for Karpathy's "
        f"{KARPATHY_FILES}, and for {', '.join(CAPTION_FILES)} or the only .csv or .jsonl file, with image and caption"
    )


def _load_file(path: Path) -> Dataset:
    if path.suffix == ".json":
        return load_karpathy(path)
    return load_json_lines(path) if path.suffix == ".jsonl" else load_csv(path)


def load_karpathy(path: str | Path, pictures: str | Path | None = None) -> Dataset:
    """Flickr8k, Flickr30k or COCO as Karpathy and Fei-Fei (CVPR 2015) split them: `dataset_flickr30k.json`."""
    path = Path(path)
    found = read_karpathy(path)
    assert found.splits is not None
    place = None if pictures is None else Path(pictures)
    return _assemble(found.name or path.stem, found.rows, found.splits, path.parent, place)


def load_json_lines(path: str | Path, pictures: str | Path | None = None, seed: int = 0) -> Dataset:
    """A JSON object a line: `{"image": "a.jpg", "caption": "A dog."}`, or `"captions": [...]`, with a `"split"` or not.

    Without splits they are drawn with `seed`, as `load_csv` does.
    """
    path = Path(path)
    found = read_json_lines(path)
    splits = found.splits or official_splits(path.parent) or drawn_splits(path, [name for name, _ in found.rows], seed)
    return _assemble(path.stem, found.rows, splits, path.parent, None if pictures is None else Path(pictures))


def load_flickr8k(folder: str | Path) -> Dataset:
    """Flickr8k as published: the token file, the three split lists, and the pictures if they are there.

    Source: Hodosh, Young and Hockenmaier, JAIR 47, 2013.
    """
    folder = Path(folder)
    tokens = find(folder, TOKEN_FILE)
    if tokens is None:
        raise CaptioningError(f"{folder} has no {TOKEN_FILE}, neither itself nor in Flickr8k_text/")
    splits = official_splits(folder)
    if splits is None:
        raise CaptioningError(f"{folder} has {TOKEN_FILE} but none of {', '.join(SPLIT_FILES.values())}")
    name = FLICKR8K if sha256_file(tokens) == TOKEN_SHA256 else folder.resolve().name
    return _assemble(name, token_rows(tokens), splits, folder)


def load_csv(
    path: str | Path,
    pictures: str | Path | None = None,
    splits: Mapping[str, Iterable[str]] | None = None,
    seed: int = 0,
) -> Dataset:
    """A CSV file with the header `image,caption` and one caption a row.

    pictures: the folder of the pictures; searched beside the file if not given.
    splits: the names of `train`, `validation` and `test`. If not given, Flickr8k's own lists where they
        lie beside the file, otherwise 75 / 12.5 / 12.5 % of the pictures drawn with `seed`.
    """
    path = Path(path)
    rows = csv_rows(path)
    chosen = {split: list(names) for split, names in splits.items()} if splits is not None else None
    if chosen is not None and set(chosen) != set(SPLITS):
        raise CaptioningError(f"splits must have the keys {', '.join(SPLITS)}, not {', '.join(chosen)}")
    chosen = chosen or official_splits(path.parent) or drawn_splits(path, [name for name, _ in rows], seed)
    return _assemble(path.stem, rows, chosen, path.parent, None if pictures is None else Path(pictures))


def _assemble(
    name: str,
    rows: Iterable[tuple[str, str]],
    splits: Mapping[str, Iterable[str]],
    folder: Path,
    pictures: Path | None = None,
) -> Dataset:
    """Gathers captions by picture, keeps the names of each split that have some, and notes what is odd."""
    gathered: dict[str, list[str]] = {}
    empty = []
    for picture, caption in rows:
        if caption.strip():
            gathered.setdefault(picture, []).append(caption.strip())
        else:
            empty.append(picture)
    captions = {picture: tuple(lines) for picture, lines in gathered.items()}
    kept = {split: tuple(n for n in dict.fromkeys(splits[split]) if n in captions) for split in SPLITS}
    _check_splits(name, kept)
    place = _existing(pictures) or _find_pictures(folder, captions)
    problems = (
        _problem("empty caption|empty captions", "dropped", empty),
        *_caption_problems(captions, place),
        *_split_problems(splits, captions),
    )
    return Dataset(name, captions, kept, place, tuple(line for line in problems if line))


def _check_splits(name: str, splits: Mapping[str, Sequence[str]]) -> None:
    for split, names in splits.items():
        if not names:
            raise CaptioningError(f"{name}: no picture of the split {split!r} has a caption")
    owners = Counter(picture for names in splits.values() for picture in names)
    if shared := [picture for picture, count in owners.items() if count > 1]:
        raise CaptioningError(
            f"{name}: {len(shared)} pictures are in more than one split, which would make every score too "
            f"good: {_some(shared)}; leave each in one list"
        )


def _existing(pictures: Path | None) -> Path | None:
    if pictures is not None and not pictures.is_dir():
        raise CaptioningError(f"there is no folder of pictures at {pictures}")
    return pictures


def _find_pictures(folder: Path, captions: Mapping[str, Sequence[str]]) -> Path | None:
    """The first of the usual folders that holds a captioned picture."""
    places = [folder / sub for sub in PICTURE_FOLDERS if (folder / sub).is_dir()]
    return next((place for place in places if any((place / name).is_file() for name in captions)), None)


def _caption_problems(captions: Mapping[str, Sequence[str]], place: Path | None) -> Iterator[str]:
    if place is None:
        strays = [name for name in captions if not name.lower().endswith(PICTURE_SUFFIXES)]
        yield _problem("captioned name is|captioned names are", "no picture's name", strays)
    else:
        strays = [name for name in captions if not (place / name).is_file()]
        yield _problem("captioned name has|captioned names have", f"no picture in {place.name}", strays)
        empty = [name for name in captions if (place / name).is_file() and not (place / name).stat().st_size]
        yield _problem("picture is an empty file|pictures are empty files", "(no bytes)", empty)
    repeated = [name for name, lines in captions.items() if len(set(lines)) < len(lines)]
    yield _problem("picture has|pictures have", "the same caption more than once (kept)", repeated)


def _split_problems(splits: Mapping[str, Iterable[str]], captions: Mapping[str, object]) -> Iterator[str]:
    for split in SPLITS:
        counts = Counter(splits[split])
        bare = [name for name in counts if name not in captions]
        yield _problem("name|names", f"of the split {split!r} without captions (left out)", bare)
        twice = [name for name, count in counts.items() if count > 1]
        yield _problem("name|names", f"more than once in the split {split!r} (taken once)", twice)


def _problem(counted: str, what: str, names: Sequence[str]) -> str:
    """`3 names without captions: a, b, c`; an empty string where there is nothing to report."""
    one, _, many = counted.partition("|")
    return f"{len(names)} {one if len(names) == 1 else many} {what}: {_some(names)}" if names else ""


def _some(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more

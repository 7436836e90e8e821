"""Captions in JSON: Karpathy's `dataset_*.json` of Flickr8k, Flickr30k and COCO, and JSON lines of one's own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.errors import CaptioningError
from captioning.formats import SPLITS, TEST, TRAIN, VALIDATION, numbered_lines, plain_name, read_text

#: What Karpathy calls his splits; `restval`, COCO's validation pictures beyond 10,000, is trained on by everybody.
KARPATHY_SPLITS = {"train": TRAIN, "restval": TRAIN, "val": VALIDATION, "test": TEST}
#: What a line may call its split.
LINE_SPLITS = {**KARPATHY_SPLITS, "validation": VALIDATION, "dev": VALIDATION}
KARPATHY_NAMES = {"flickr8k": "Flickr8k (Karpathy's split)", "flickr30k": "Flickr30k", "coco": "COCO"}
_KARPATHY_SHAPE = '{"dataset": ..., "images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}, ...]}, ...]}'
_LINE_SHAPE = '{"image": NAME, "caption": TEXT} or {"image": NAME, "captions": [TEXT, ...]}, with "split" if you like'


@dataclass(frozen=True)
class Captioned:
    """What a file says: (name, caption) of each caption in order, and the splits where it has them."""

    rows: list[tuple[str, str]]
    splits: dict[str, list[str]] | None
    name: str | None = None


def read_karpathy(path: Path) -> Captioned:
    """Karpathy and Fei-Fei's splits (CVPR 2015), a JSON file with all captions of one corpus.

    COCO's pictures are named with their folder, as in `val2014/COCO_val2014_000000391895.jpg`.
    """
    try:
        content = json.loads(read_text(path))
        images, name = content["images"], str(content.get("dataset", path.stem))
        if not isinstance(images, list):
            raise TypeError("images is no list")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptioningError(f"{path}: expected {_KARPATHY_SHAPE}; {_reason(error)}") from error
    rows: list[tuple[str, str]] = []
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for k, image in enumerate(images):
        try:
            own = "/".join(filter(None, (image.get("filepath"), image["filename"])))
            picture, split = plain_name(own, path, f"picture {k + 1}"), KARPATHY_SPLITS[image["split"]]
            rows += [(picture, _one_line(sentence["raw"])) for sentence in image["sentences"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise CaptioningError(
                f"{path}, picture {k + 1} of {len(images)}: expected filename, sentences and a split of "
                f"{', '.join(KARPATHY_SPLITS)}; {_reason(error)}"
            ) from error
        splits[split].append(picture)
    return Captioned(rows, splits, KARPATHY_NAMES.get(name, name))


def read_json_lines(path: Path) -> Captioned:
    """A JSON object a line, each with a picture's name and a caption or several; all with a split, or none."""
    rows: list[tuple[str, str]] = []
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    without = with_split = 0
    for number, line in numbered_lines(path):
        picture, captions, split = _line(path, number, line)
        rows += [(picture, caption) for caption in captions]
        if split is None:
            without = without or number
        else:
            with_split = with_split or number
            if picture not in splits[split][-1:]:
                splits[split].append(picture)
    if with_split and without:
        raise CaptioningError(
            f"{path}: line {with_split} names a split and line {without} does not; give all lines one, or none"
        )
    if with_split:
        return Captioned(rows, {split: list(dict.fromkeys(names)) for split, names in splits.items()})
    return Captioned(rows, None)


def _line(path: Path, number: int, line: str) -> tuple[str, list[str], str | None]:
    try:
        content = json.loads(line)
        picture, split = content["image"], content.get("split")
        captions = content["captions"] if "captions" in content else [content["caption"]]
        if not isinstance(picture, str) or not isinstance(captions, list):
            raise TypeError("a name or the captions are of another type")
        found = LINE_SPLITS[split] if split is not None else None
        return plain_name(picture, path, f"line {number}"), [_one_line(caption) for caption in captions], found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CaptioningError):
            raise
        raise CaptioningError(f"{path}, line {number}: expected {_LINE_SHAPE}; {_reason(error)}") from error


def _one_line(caption: Any) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"a caption is {caption!r}, no text")
    return " ".join(caption.split())


def _reason(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)

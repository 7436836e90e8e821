"""Writes the scenes to a folder, and scores captions against what is in them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from captioning.errors import CaptioningError
from captioning.scenes.draw import draw_scene
from captioning.scenes.words import captions, check_caption, shares
from captioning.scenes.world import Scene, describe, make_scene
from encoders.files import atomic_write

# Raise it whenever equal seeds would give other pictures or captions: old folders are then made anew.
VERSION = 1
SMALLEST = 10
MANIFEST = "manifest.json"
TRUTH = "scenes.json"


def make_scenes(folder: Path, count: int, seed: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Make ``count`` captioned pictures in ``folder``, or return at once where they stand already.

    Writes ``pictures/scene-00000.jpg`` and on, ``Flickr8k.token.txt``, the three lists
    ``Flickr_8k.{train,dev,test}Images.txt`` (80, 10 and 10 %), ``scenes.json`` with what was drawn, and last
    ``manifest.json``: a folder without it was interrupted and is made from the start. Each picture depends on
    the seed and its own number only, so equal seeds give equal bytes.

    ``progress`` is called with (pictures done, count) after every picture.
    """
    if count < SMALLEST:
        raise CaptioningError(f"a set of scenes needs at least {SMALLEST} pictures for its three splits, not {count}")
    manifest = manifest_of(count, seed)
    names = [f"scene-{number:05d}.jpg" for number in range(count)]
    if _is_complete(folder, manifest, names):
        return
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    _remove_others(pictures, set(names))
    truth, lines = {}, []
    for number, name in enumerate(names):
        scene, sentences = _make_picture(pictures / name, seed, number)
        truth[name] = describe(scene)
        lines += [f"{name}#{k}\t{sentence}" for k, sentence in enumerate(sentences)]
        if progress is not None:
            progress(number + 1, count)
    _write_lines(folder / "Flickr8k.token.txt", lines)
    for split, members in _splits(names).items():
        _write_lines(folder / f"Flickr_8k.{split}Images.txt", members)
    _write_lines(folder / TRUTH, [json.dumps(truth)])
    _write_lines(folder / MANIFEST, [json.dumps(manifest)])


def manifest_of(count: int, seed: int) -> dict[str, int]:
    """What ``manifest.json`` says of a finished set of scenes."""
    return {"version": VERSION, "seed": seed, "count": count}


def read_manifest(folder: Path) -> dict[str, int] | None:
    """The manifest of a folder of scenes; None where none is finished."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def word_accuracy(captions: Mapping[str, str], folder: Path) -> dict[str, float]:
    """The share of captions (picture name to caption) whose words are right, for a folder of scenes.

    ``objects``: the things named are exactly those in the picture; ``colours``: so are the colours;
    ``coloured objects``: each thing is named with its own colour (see ``check_caption``).
    """
    try:
        truth = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptioningError(f"{folder} holds no readable {TRUTH}: make the scenes first ({error})") from error
    unknown = [name for name in captions if name not in truth]
    if unknown or not captions:
        what = f"no scene of {folder} is called {unknown[0]!r}" if unknown else "there are no captions to check"
        raise CaptioningError(f"{what}: give captions under the names in {TRUTH}")
    return shares(check_caption(text, truth[name]["things"]) for name, text in captions.items())


def _is_complete(folder: Path, manifest: dict[str, int], names: list[str]) -> bool:
    return read_manifest(folder) == manifest and all((folder / "pictures" / name).is_file() for name in names)


def _remove_others(pictures: Path, names: set[str]) -> None:
    """Pictures of an earlier, larger set would be taken for part of this one."""
    for old in pictures.glob("scene-*.jpg"):
        if old.name not in names:
            old.unlink()


def _make_picture(path: Path, seed: int, number: int) -> tuple[Scene, list[str]]:
    rng = np.random.default_rng([seed, number])
    scene = make_scene(rng)
    sentences = captions(scene, rng)
    with atomic_write(path) as file:
        draw_scene(scene, rng).save(file, "JPEG", quality=90, subsampling=0)
    return scene, sentences


def _splits(names: list[str]) -> dict[str, list[str]]:
    tenth = len(names) // 10
    return {
        "train": names[: -2 * tenth],
        "dev": names[-2 * tenth : -tenth],
        "test": names[-tenth:],
    }


def _write_lines(path: Path, lines: list[str]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(f"{line}\n" for line in lines)

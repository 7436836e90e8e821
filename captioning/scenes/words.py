"""Five differently worded captions for a scene, and a check of captions against what was drawn."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from captioning.scenes.world import COLOURS, KINDS, PLACES, Scene, Thing, pick

CAPTIONS_PER_PICTURE = 5

# In every wording the colour stands right before its thing, so that a reader can tell whose it is.
# {a} and {b} are the things with articles, {bare} the thing without a size, {in} the place.
ALONE = (
    "{a} {in}",
    "there is {a} {in}",
    "{bare} {does} {in}",
    "{in} there is {a}",
    "{a} {does} {in}",
    "a picture of {bare} {in}",
    "{bare} can be seen {in}",
    "{bare}",
)
PAIR = (
    "{a} and {b} {in}",
    "there is {a} and {b} {in}",
    "{in} there are {a} and {b}",
    "{a} {relation} {b}",
    "{a} is {relation} {b} {in}",
    "{b} is {inverse} {a}",
    "{bare} together with {bare_b} {in}",
    "{in} {bare} {does} {relation} {bare_b}",
)
GROUP = (
    "{count} {many} {in}",
    "there are {count} {many} {in}",
    "{in} there are {count} {many}",
    "{count} {many} {do} {in}",
    "{count} {many} side by side",
    "a picture of {count} {many} {in}",
    "{count} {many} in a row {in}",
)
RELATIONS = {
    "left of": (("to the left of", "next to", "beside"), ("to the right of", "next to", "beside")),
    "above": (("above", "over", "high above"), ("below", "under")),
}
SIZES = {"large": ("large", "big"), "small": ("small", "little")}
COUNTS = {2: "two", 3: "three"}


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Five captions of a scene in five different wordings, as Flickr8k writes them."""
    wordings = {"alone": ALONE, "group": GROUP}.get(scene.relation, PAIR)
    chosen = rng.permutation(len(wordings))[:CAPTIONS_PER_PICTURE]
    return [_sentence(wordings[int(k)].format(**_parts(scene, rng))) for k in chosen]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]} ."


def _parts(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    first, last, place = scene.things[0], scene.things[-1], PLACES[scene.place]
    flying = all(thing.flies for thing in scene.things)
    kind = KINDS[first.kind]
    parts = {
        "a": _named(first, rng),
        "b": _named(last, rng),
        "bare": _article(f"{first.colour} {first.kind}"),
        "bare_b": _article(f"{last.colour} {last.kind}"),
        "many": f"{first.colour} {kind.plural}",
        "count": COUNTS.get(len(scene.things), ""),
        "does": kind.does,
        "do": kind.do,
        "in": pick(rng, place.in_air if flying else place.on_ground),
    }
    if scene.relation in RELATIONS:
        forward, backward = RELATIONS[scene.relation]
        parts |= {"relation": pick(rng, forward), "inverse": pick(rng, backward)}
    return parts


def _named(thing: Thing, rng: np.random.Generator) -> str:
    return _article(f"{pick(rng, SIZES[thing.size])} {thing.colour} {thing.kind}")


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


_KIND_OF = {word: name for name, kind in KINDS.items() for word in (name, kind.plural)}


def check_caption(caption: str, things: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Whether a caption names exactly the kinds, the colours, and the coloured things of a scene.

    A colour belongs to the thing whose name follows it: ``a red ball and a blue car`` names the coloured
    things (red, ball) and (blue, car). Naming one too many is as wrong as leaving one out.
    """
    words = re.findall(r"[a-z]+", caption.lower())
    pairs = {(a, _KIND_OF[b]) for a, b in pairwise(words) if a in COLOURS and b in _KIND_OF}
    return {
        "objects": {_KIND_OF[w] for w in words if w in _KIND_OF} == {t["kind"] for t in things},
        "colours": {w for w in words if w in COLOURS} == {t["colour"] for t in things},
        "coloured objects": pairs == {(t["colour"], t["kind"]) for t in things},
    }


def shares(checks: Iterable[Mapping[str, bool]]) -> dict[str, float]:
    """The share of captions that pass each check."""
    rows = list(checks)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

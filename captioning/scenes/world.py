"""The small world of the demo: things, colours, places, and scenes drawn from them at random."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 32, 38),
    "yellow": (255, 216, 0),
    "green": (22, 142, 52),
    "blue": (28, 72, 214),
    "purple": (140, 40, 176),
    "orange": (255, 128, 8),
    "pink": (255, 120, 186),
}


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its words, what one and several of it do in a caption, and the colours it comes in."""

    plural: str
    does: str
    do: str
    colours: tuple[str, ...]


# Things that stand side by side share few colours, so that a captioner can learn whose colour is whose.
KINDS: dict[str, Kind] = {
    "ball": Kind("balls", "lies", "lie", ("red", "yellow", "blue", "orange")),
    "box": Kind("boxes", "stands", "stand", ("red", "green", "purple", "pink")),
    "star": Kind("stars", "shines", "shine", ("red", "yellow", "orange", "pink")),
    "house": Kind("houses", "stands", "stand", ("yellow", "blue", "purple", "pink")),
    "tree": Kind("trees", "grows", "grow", ("yellow", "green", "orange", "pink")),
    "car": Kind("cars", "is parked", "are parked", ("red", "green", "blue", "purple")),
    "fish": Kind("fish", "swims", "swim", ("yellow", "purple", "orange", "pink")),
    "boat": Kind("boats", "floats", "float", ("red", "yellow", "green", "blue")),
    "kite": Kind("kites", "flies", "fly", ("red", "green", "blue", "purple")),
    "flower": Kind("flowers", "blooms", "bloom", ("red", "yellow", "purple", "pink")),
    "balloon": Kind("balloons", "drifts", "drift", ("yellow", "blue", "orange", "pink")),
}


@dataclass(frozen=True)
class Place:
    """A background: what may stand there and what may fly there, with the words for both."""

    ground: tuple[str, ...]
    air: tuple[str, ...]
    on_ground: tuple[str, ...]
    in_air: tuple[str, ...]


PLACES: dict[str, Place] = {
    "meadow": Place(
        ("ball", "box", "house", "tree", "car", "flower"),
        ("kite", "balloon"),
        ("on the grass", "in a meadow", "on a grassy field"),
        ("over the grass", "over a meadow"),
    ),
    "sky": Place((), ("kite", "star", "balloon"), (), ("in the sky", "among the clouds", "in a cloudy sky")),
    "sea": Place(
        ("ball", "fish", "boat"),
        ("kite", "balloon"),
        ("on the water", "in the sea", "on the sea"),
        ("over the water", "over the sea"),
    ),
    "beach": Place(
        ("ball", "box", "car", "tree", "boat"),
        ("kite", "balloon"),
        ("on the sand", "on a beach", "on a sandy beach"),
        ("over the sand", "over a beach"),
    ),
    "night": Place(
        ("house", "tree", "car", "flower"),
        ("star", "balloon"),
        ("at night", "in the dark", "under the night sky"),
        ("at night", "in the dark", "in the night sky"),
    ),
    "table": Place(
        ("ball", "box", "flower", "car", "star", "boat"),
        (),
        ("on a table", "on a wooden table", "in front of a plain wall"),
        (),
    ),
}


@dataclass(frozen=True)
class Thing:
    """One drawn object. Lengths are shares of the picture's side; x runs right and y runs down."""

    kind: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    tilt: float
    flies: bool


@dataclass(frozen=True)
class Scene:
    """A place and one to three things in it.

    ``relation`` says where the first thing is, seen from the second: ``left of`` or ``above``; it is
    ``group`` for several equal things and ``alone`` for a single one.
    """

    place: str
    relation: str
    things: tuple[Thing, ...]


def describe(scene: Scene) -> dict[str, Any]:
    """The ground truth of a scene as plain JSON values."""
    return asdict(scene)


def make_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene: 45 in 100 hold a single thing, 30 a pair, 25 a group."""
    name = pick(rng, list(PLACES))
    shape = pick(rng, ["alone"] * 9 + ["pair"] * 6 + ["group"] * 5)
    if shape == "alone":
        return _alone(rng, name)
    return _pair(rng, name) if shape == "pair" else _group(rng, name)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def _alone(rng: np.random.Generator, name: str) -> Scene:
    place = PLACES[name]
    kind = pick(rng, place.ground + place.air)
    size = pick(rng, ("large", "small"))
    low, high = (0.38, 0.62) if size == "large" else (0.25, 0.75)
    x = float(rng.uniform(low, high))
    return Scene(name, "alone", (_thing(rng, name, kind, pick(rng, KINDS[kind].colours), size, x, "one"),))


def _pair(rng: np.random.Generator, name: str) -> Scene:
    place = PLACES[name]
    mixed = bool(place.ground and place.air) and rng.random() < 0.5
    if mixed:
        kinds = (pick(rng, place.air), pick(rng, place.ground))
        spots, relation = pick(rng, ((0.3, 0.7), (0.7, 0.3))), "above"
    else:
        options = place.ground if len(place.ground) > 1 else place.air
        first, second = rng.permutation(len(options))[:2]
        kinds = (options[int(first)], options[int(second)])
        spots, relation = (0.27, 0.73), "left of"
    colour = pick(rng, KINDS[kinds[0]].colours)
    colours = (colour, pick(rng, [other for other in KINDS[kinds[1]].colours if other != colour]))
    things = tuple(
        _thing(rng, name, kind, colour, pick(rng, ("large", "small")), x + float(rng.uniform(-0.03, 0.03)), "two")
        for kind, colour, x in zip(kinds, colours, spots, strict=True)
    )
    return Scene(name, relation, things)


def _group(rng: np.random.Generator, name: str) -> Scene:
    place = PLACES[name]
    kind = pick(rng, place.ground + place.air)
    colour = pick(rng, KINDS[kind].colours)
    spots = pick(rng, ((0.27, 0.73), (0.19, 0.5, 0.81)))
    crowd = "two" if len(spots) == 2 else "three"
    size = "large" if crowd == "two" else "small"
    return Scene(name, "group", tuple(_thing(rng, name, kind, colour, size, x, crowd) for x in spots))


# The radius of a thing by how many share the picture: (large, small), in shares of the side.
RADII = {"one": (0.32, 0.22), "two": (0.235, 0.18), "three": (0.165, 0.15)}


def _thing(rng: np.random.Generator, place: str, kind: str, colour: str, size: str, x: float, crowd: str) -> Thing:
    large, small = RADII[crowd]
    radius = (large if size == "large" else small) * float(rng.uniform(0.94, 1.06))
    flies = kind in PLACES[place].air
    if not PLACES[place].ground:
        y = float(rng.uniform(0.4, 0.6))
    elif flies:
        y = 0.06 + radius + float(rng.uniform(0.0, 0.05))
    else:
        y = 0.95 - radius - float(rng.uniform(0.0, 0.05))
    tilt = float(rng.uniform(-0.3, 0.3) if flies else rng.uniform(-0.06, 0.06))
    return Thing(kind, colour, size, min(max(x, radius), 1 - radius), y, radius, tilt, flies)

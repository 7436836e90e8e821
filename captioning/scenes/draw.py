"""Draws a scene with Pillow: supersampled, jittered, with a little noise, equal for equal generators."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from captioning.scenes.backgrounds import draw_background
from captioning.scenes.world import COLOURS, Scene, Thing

SIDE = 192
SUPERSAMPLING = 3
NOISE = 2.0  # standard deviation, in grey levels

Colour = tuple[int, int, int]
Point = tuple[float, float]


def draw_scene(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The picture of a scene, RGB, ``SIDE`` pixels square."""
    canvas = draw_background(scene.place, SIDE * SUPERSAMPLING, rng)
    for thing in scene.things:
        draw_thing(canvas, thing)
    picture = np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32)
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32)[..., None] * np.float32(NOISE)
    light = np.float32(rng.uniform(0.97, 1.02))
    return Image.fromarray(np.clip(picture * light + noise, 0, 255).astype(np.uint8))


def draw_thing(canvas: Image.Image, thing: Thing) -> None:
    """Draw one thing, with a soft shadow under what stands."""
    pen = Pen(canvas, thing)
    if not thing.flies and thing.kind not in ("fish", "boat"):
        pen.shadow()
    PAINTERS[thing.kind](pen)


class Pen:
    """Draws in a thing's own coordinates: -1 to 1, x to the right and y down, tilted with the thing."""

    def __init__(self, canvas: Image.Image, thing: Thing) -> None:
        self.draw = ImageDraw.Draw(canvas, "RGBA")
        side = canvas.width
        self.centre = (thing.x * side, thing.y * side)
        self.unit = thing.radius * side
        self.turn = (math.cos(thing.tilt), math.sin(thing.tilt))
        self.main = COLOURS[thing.colour]
        self.light = mix(self.main, (255, 255, 255), 0.35)
        self.dark = mix(self.main, (20, 20, 40), 0.35)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self.draw.polygon(self._place(points), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def disc(self, x: float, y: float, rx: float, fill: Colour, ry: float | None = None) -> None:
        """A filled ellipse with the half-axes ``rx`` and ``ry``."""
        self.polygon(arc(x, y, rx, rx if ry is None else ry, 0, 360), fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line of the given width."""
        self.draw.line(self._place(points), fill=fill, width=max(1, round(width * self.unit)), joint="curve")

    def shadow(self) -> None:
        """A soft ellipse on the ground."""
        self.draw.polygon(self._place(arc(0, 0.97, 0.95, 0.13, 0, 360)), fill=(0, 0, 0, 60))

    def _place(self, points: Sequence[Point]) -> list[Point]:
        (cx, cy), (cos, sin), unit = self.centre, self.turn, self.unit
        return [(cx + unit * (x * cos - y * sin), cy + unit * (x * sin + y * cos)) for x, y in points]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` with the given share of ``b`` in it."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> list[Point]:
    """Points on an ellipse from one angle to another, in degrees, clockwise from the right."""
    steps = max(4, round(abs(stop - start) / 9))
    angles = [math.radians(start + (stop - start) * k / steps) for k in range(steps + 1)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


WOOD, TYRE, GLASS, CREAM = (112, 72, 40), (34, 34, 40), (190, 226, 246), (250, 240, 215)


def ball(pen: Pen) -> None:
    """A beach ball: a disc with three pale segments and a highlight."""
    pen.disc(0, 0, 1.0, pen.dark)
    pen.disc(0, 0, 0.94, pen.main)
    for start in (-70, 50, 170):
        pen.polygon([(0.12, -0.14), *arc(0, 0, 0.94, 0.94, start, start + 36)], CREAM)
    pen.disc(0.12, -0.14, 0.13, pen.dark)
    pen.disc(-0.38, -0.42, 0.17, (255, 255, 255))


def box(pen: Pen) -> None:
    """A present: a square with a lid, a ribbon and a bow."""
    pen.box(-0.88, -0.5, 0.88, 0.98, pen.dark)
    pen.box(-0.82, -0.44, 0.82, 0.92, pen.main)
    pen.box(-0.15, -0.44, 0.15, 0.92, CREAM)
    pen.box(-0.82, 0.12, 0.82, 0.38, CREAM)
    pen.box(-0.98, -0.62, 0.98, -0.3, pen.dark)
    pen.box(-0.15, -0.62, 0.15, -0.3, CREAM)
    for way in (-1, 1):
        pen.polygon([(0, -0.62), (way * 0.5, -0.98), (way * 0.56, -0.66)], CREAM)


def star(pen: Pen) -> None:
    """A five-pointed star with a lighter heart."""

    def points(outer: float, inner: float) -> list[Point]:
        radii = [outer if k % 2 == 0 else inner for k in range(10)]
        angles = [math.radians(36 * k - 90) for k in range(10)]
        return [(r * math.cos(a), r * math.sin(a) + 0.06) for r, a in zip(radii, angles, strict=True)]

    pen.polygon(points(1.06, 0.45), pen.dark)
    pen.polygon(points(0.96, 0.40), pen.main)
    pen.polygon(points(0.52, 0.22), pen.light)


def house(pen: Pen) -> None:
    """Walls in the house's colour, a dark roof, a chimney, a door and two windows."""
    pen.box(0.42, -0.92, 0.66, -0.3, (120, 60, 50))
    pen.box(-0.8, -0.24, 0.8, 0.98, pen.dark)
    pen.box(-0.75, -0.24, 0.75, 0.98, pen.main)
    pen.polygon([(-1.0, -0.16), (0, -0.98), (1.0, -0.16)], (84, 50, 52))
    pen.box(-0.16, 0.34, 0.2, 0.98, WOOD)
    for x in (-0.6, 0.34):
        pen.box(x, 0.04, x + 0.3, 0.36, CREAM)
        pen.box(x + 0.04, 0.08, x + 0.26, 0.32, GLASS)


def tree(pen: Pen) -> None:
    """A trunk under a crown of leaves with lighter tufts."""
    pen.polygon([(-0.13, 0.1), (0.13, 0.1), (0.22, 0.98), (-0.22, 0.98)], WOOD)
    crown = [(-0.5, -0.05, 0.46), (0.5, -0.05, 0.46), (0, -0.48, 0.52), (0, 0.02, 0.5)]
    for shade, grow in ((pen.dark, 0.05), (pen.main, 0.0)):
        for x, y, r in crown:
            pen.disc(x, y, r + grow, shade)
    for x, y in ((-0.5, -0.2), (0.08, -0.68), (0.42, -0.1), (-0.1, -0.12), (-0.3, -0.55), (0.15, 0.25)):
        pen.disc(x, y, 0.12, pen.light)


def car(pen: Pen) -> None:
    """A car from the side, with two windows and two wheels."""
    cabin = [(-0.62, 0.12), (-0.4, -0.42), (0.32, -0.42), (0.62, 0.12)]
    pen.polygon(cabin, pen.dark)
    pen.polygon([(-0.46, 0.08), (-0.32, -0.3), (-0.06, -0.3), (-0.06, 0.08)], GLASS)
    pen.polygon([(0.06, 0.08), (0.06, -0.3), (0.26, -0.3), (0.46, 0.08)], GLASS)
    pen.polygon([(-1.0, 0.18), (-0.9, 0.06), (0.78, 0.06), (1.0, 0.26), (1.0, 0.7), (-1.0, 0.7)], pen.main)
    pen.box(-1.0, 0.58, 1.0, 0.7, pen.dark)
    pen.disc(0.9, 0.34, 0.08, (255, 246, 190))
    for x in (-0.54, 0.54):
        pen.disc(x, 0.7, 0.29, TYRE)
        pen.disc(x, 0.7, 0.13, (205, 205, 212))


def fish(pen: Pen) -> None:
    """A fish swimming to the right, with stripes, fins and an eye."""
    pen.polygon([(-0.5, 0), (-1.02, -0.5), (-0.88, 0), (-1.02, 0.5)], pen.dark)
    pen.polygon([(-0.3, -0.4), (0.1, -0.8), (0.4, -0.4)], pen.dark)
    pen.polygon([(-0.2, 0.4), (0.02, 0.74), (0.26, 0.4)], pen.dark)
    pen.disc(0.2, 0, 0.8, pen.dark, 0.54)
    pen.disc(0.2, 0, 0.75, pen.main, 0.49)
    for x, height in ((-0.2, 0.36), (0.06, 0.46)):
        pen.polygon(arc(x, 0, 0.14, height, -90, 90) + arc(x, 0, 0.04, height, 90, -90), pen.light)
    pen.disc(0.62, -0.12, 0.13, (255, 255, 255))
    pen.disc(0.65, -0.12, 0.07, TYRE)


def boat(pen: Pen) -> None:
    """A sailing boat: two sails over a wooden hull with a coloured stripe."""
    pen.box(-0.05, -0.98, 0.04, 0.5, WOOD)
    pen.polygon([(0.08, -0.94), (0.08, 0.36), (0.86, 0.36)], pen.main)
    pen.polygon([(-0.1, -0.78), (-0.1, 0.36), (-0.76, 0.36)], pen.light)
    pen.polygon([(-1.0, 0.46), (1.0, 0.46), (0.68, 0.96), (-0.68, 0.96)], WOOD)
    pen.polygon([(-1.0, 0.46), (1.0, 0.46), (0.9, 0.62), (-0.9, 0.62)], pen.main)


def kite(pen: Pen) -> None:
    """A diamond of two shades with spars and a tail of bows."""
    pen.line([(0, 0.4), (0.14, 0.6), (-0.08, 0.78), (0.06, 1.04)], 0.05, TYRE)
    for x, y in ((0.12, 0.6), (-0.06, 0.8)):
        pen.polygon([(x - 0.18, y - 0.1), (x + 0.18, y + 0.1), (x + 0.18, y - 0.1), (x - 0.18, y + 0.1)], pen.main)
    pen.polygon([(0, -1.02), (0.72, -0.32), (0, 0.5), (-0.72, -0.32)], pen.main)
    pen.polygon([(0, -1.02), (0.72, -0.32), (0, -0.32)], pen.dark)
    pen.polygon([(0, 0.5), (-0.72, -0.32), (0, -0.32)], pen.dark)


def flower(pen: Pen) -> None:
    """Six petals round a dark heart on a stem with two leaves."""
    stem = (38, 120, 44)
    pen.line([(0, 0), (0, 0.98)], 0.11, stem)
    pen.polygon(arc(0.3, 0.66, 0.3, 0.13, 0, 360), stem)
    pen.polygon(arc(-0.3, 0.76, 0.3, 0.13, 0, 360), stem)
    for shade, size in ((pen.dark, 0.35), (pen.main, 0.31)):
        for k in range(6):
            angle = math.radians(60 * k)
            pen.disc(0.44 * math.cos(angle), 0.44 * math.sin(angle) - 0.3, size, shade)
    pen.disc(0, -0.3, 0.26, (92, 54, 20))


def balloon(pen: Pen) -> None:
    """A hot-air balloon: an envelope of stripes over a basket."""
    pen.line([(-0.4, 0.2), (-0.16, 0.74)], 0.03, TYRE)
    pen.line([(0.4, 0.2), (0.16, 0.74)], 0.03, TYRE)
    envelope = arc(0, -0.26, 0.76, 0.74, 160, 380)
    pen.polygon([*envelope, (0.3, 0.48), (-0.3, 0.48)], pen.main)
    for rx, shade in ((0.5, pen.light), (0.22, pen.main)):
        pen.polygon([*arc(0, -0.26, rx, 0.74, 160, 380), (rx * 0.4, 0.48), (-rx * 0.4, 0.48)], shade)
    pen.box(-0.2, 0.72, 0.2, 1.0, WOOD)


PAINTERS: dict[str, Callable[[Pen], None]] = {
    "ball": ball,
    "box": box,
    "star": star,
    "house": house,
    "tree": tree,
    "car": car,
    "fish": fish,
    "boat": boat,
    "kite": kite,
    "flower": flower,
    "balloon": balloon,
}

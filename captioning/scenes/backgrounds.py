"""The places of the demo's pictures, each with its own light, weather and texture."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


def draw_background(place: str, side: int, rng: np.random.Generator) -> Image.Image:
    """The empty place, RGB, ``side`` pixels square."""
    return _PLACES[place](side, rng)


def _gradient(side: int, stops: list[tuple[float, Colour]]) -> Image.Image:
    """Colours that run from top to bottom through (height, colour) stops."""
    heights = [height for height, _ in stops]
    rows = np.linspace(0, 1, side)
    channels = [np.interp(rows, heights, [colour[c] for _, colour in stops]) for c in range(3)]
    column = np.stack(channels, axis=-1).astype(np.uint8)[:, None]
    return Image.fromarray(column).resize((side, side), Image.Resampling.NEAREST)


def _ellipse(pen: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
    side = pen.im.size[0]
    pen.ellipse([(x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side], fill=fill)


def _clouds(pen: ImageDraw.ImageDraw, rng: np.random.Generator, count: int, low: float, high: float) -> None:
    for _ in range(count):
        x, y, size = rng.uniform(0, 1), rng.uniform(low, high), rng.uniform(0.05, 0.08)
        for shift, rise, r in ((-1.1, 0.15, 0.7), (0, -0.2, 1.0), (1.1, 0.15, 0.75), (0, 0.3, 0.9)):
            _ellipse(pen, x + shift * size, y + rise * size, r * size * 1.2, r * size * 0.75, (240, 246, 252))


def _meadow(side: int, rng: np.random.Generator) -> Image.Image:
    horizon = rng.uniform(0.42, 0.5)
    canvas = _gradient(side, [(0, (124, 190, 240)), (horizon, (206, 232, 248)), (1, (206, 232, 248))])
    pen = ImageDraw.Draw(canvas)
    _clouds(pen, rng, 2, 0.06, 0.3)
    _ellipse(pen, rng.uniform(0.1, 0.4), horizon + 0.3, 0.75, 0.36, (158, 204, 120))
    _ellipse(pen, rng.uniform(0.6, 0.9), horizon + 0.42, 0.9, 0.42, (140, 194, 100))
    pen.rectangle([0, (horizon + 0.16) * side, side, side], fill=(140, 194, 100))
    for x, y in rng.uniform((0, horizon + 0.14), (1, 1), size=(40, 2)) * side:
        h = side * 0.02
        pen.line([(x - h / 2, y - h), (x, y), (x + h / 2, y - h)], fill=(112, 172, 78), width=2)
    return canvas


def _sky(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = _gradient(side, [(0, (96, 168, 232)), (1, (200, 230, 250))])
    _clouds(ImageDraw.Draw(canvas), rng, 5, 0.05, 0.95)
    return canvas


def _sea(side: int, rng: np.random.Generator) -> Image.Image:
    horizon = rng.uniform(0.38, 0.46)
    sky, water = (196, 226, 244), (64, 164, 186)
    canvas = _gradient(side, [(0, (150, 206, 240)), (horizon, sky), (horizon + 0.002, water), (1, (24, 108, 140))])
    pen = ImageDraw.Draw(canvas)
    for y in np.arange(horizon + 0.05, 1.0, 0.085):
        shift = rng.uniform(0, 0.12)
        for x in np.arange(-0.12, 1.0, 0.12):
            left, top = (x + shift) * side, y * side
            pen.arc([left, top, left + 0.12 * side, top + 0.05 * side], 200, 340, fill=(126, 206, 216), width=4)
    return canvas


def _beach(side: int, rng: np.random.Generator) -> Image.Image:
    horizon = rng.uniform(0.26, 0.32)
    shore = horizon + rng.uniform(0.14, 0.18)
    canvas = _gradient(side, [(0, (150, 208, 242)), (horizon, (222, 238, 246)), (1, (222, 238, 246))])
    pen = ImageDraw.Draw(canvas)
    pen.rectangle([0, horizon * side, side, side], fill=(84, 176, 200))
    _ellipse(pen, rng.uniform(0.3, 0.7), shore + 0.9, 1.6, 0.92, (240, 248, 250))
    _ellipse(pen, rng.uniform(0.3, 0.7), shore + 0.92, 1.6, 0.92, (236, 212, 160))
    pen.rectangle([0, (shore + 0.12) * side, side, side], fill=(236, 212, 160))
    for x, y in rng.uniform((0, shore + 0.1), (1, 1), size=(90, 2)) * side:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(206, 176, 120))
    return canvas


def _night(side: int, rng: np.random.Generator) -> Image.Image:
    canvas = _gradient(side, [(0, (14, 18, 48)), (0.7, (44, 48, 96)), (1, (52, 56, 100))])
    pen = ImageDraw.Draw(canvas)
    for x, y in rng.uniform((0, 0), (1, 0.7), size=(40, 2)):
        _ellipse(pen, x, y, 0.005, 0.005, (236, 236, 210))
    x = rng.uniform(0.1, 0.9)
    _ellipse(pen, x, 0.12, 0.065, 0.065, (240, 236, 206))
    _ellipse(pen, x + 0.03, 0.1, 0.055, 0.055, (20, 24, 56))
    _ellipse(pen, rng.uniform(0.2, 0.8), 1.25, 1.3, 0.52, (30, 44, 50))
    return canvas


def _table(side: int, rng: np.random.Generator) -> Image.Image:
    edge = rng.uniform(0.62, 0.7)
    wall, wood = (216, 208, 200), (178, 132, 88)
    canvas = _gradient(side, [(0, (228, 222, 214)), (edge, wall), (edge + 0.002, wood), (1, (150, 106, 66))])
    pen = ImageDraw.Draw(canvas)
    for y in np.arange(edge + 0.06, 1.0, 0.07):
        height = (y + rng.uniform(-0.01, 0.01)) * side
        pen.line([(0, height), (side, height + rng.uniform(-6, 6))], fill=(138, 96, 58), width=3)
    return canvas


_PLACES: dict[str, Callable[[int, np.random.Generator], Image.Image]] = {
    "meadow": _meadow,
    "sky": _sky,
    "sea": _sea,
    "beach": _beach,
    "night": _night,
    "table": _table,
}

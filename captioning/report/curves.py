"""Line charts over epochs as inline SVG; the page's script adds the values under the pointer."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from captioning.report.numbers import Result, systems
from captioning.report.summary import RANKED_BY

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40
TICKS = 5


@dataclass(frozen=True)
class Line:
    """One curve: (epoch, value) points, the number of the system's colour, and a mark on its best epoch."""

    name: str
    colour: int
    points: tuple[tuple[int, float], ...]
    dashed: bool = False
    best_epoch: int | None = None


def charts(result: Result) -> list[str]:
    """The figures of a result: the losses, and the validation metric where it was measured."""
    losses = _lines(result, "training", lambda epoch: epoch.get("train_loss"), dashed=True, mark=False)
    losses += _lines(result, "validation", lambda epoch: epoch.get("validation_loss"))
    metric = _lines(result, "", lambda epoch: (epoch.get("validation") or {}).get(RANKED_BY))
    figures = [("Loss", "nats a word", losses, 3), (f"{RANKED_BY} on the validation split", "", metric, 1)]
    return [_figure(title, unit, lines, digits) for title, unit, lines, digits in figures if lines]


def _lines(
    result: Result,
    what: str,
    read: Callable[[dict[str, Any]], float | None],
    dashed: bool = False,
    mark: bool = True,
) -> list[Line]:
    lines = []
    for colour, (name, system) in enumerate(systems(result).items()):
        values = [(epoch["epoch"], read(epoch)) for epoch in system["epochs"]]
        points = tuple((epoch, float(value)) for epoch, value in values if value is not None)
        best = system["best_epoch"] if mark else None
        if points:
            lines.append(Line(f"{name} {what}".strip(), colour, points, dashed, best))
    return lines


def _figure(title: str, unit: str, lines: Sequence[Line], digits: int) -> str:
    heading = escape(title) + (f" <small>{escape(unit)}</small>" if unit else "")
    legend = "".join(
        f'<li class="s{line.colour % 6}"><svg width="22" height="8" aria-hidden="true">'
        f'<path class="line{" dashed" if line.dashed else ""}" d="M1 4H21"/></svg>{escape(line.name)}</li>'
        for line in lines
    )
    return (
        f'<figure class="chart"><figcaption>{heading}</figcaption><ul class="legend">{legend}</ul>'
        f'<div class="plot">{_svg(title, lines, digits)}</div></figure>'
    )


def _svg(title: str, lines: Sequence[Line], digits: int) -> str:
    epochs = [epoch for line in lines for epoch, _ in line.points]
    ticks = nice_ticks([value for line in lines for _, value in line.points])
    first, last = min(epochs), max(epochs)

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = [_y_tick(tick, y(tick), ticks) for tick in ticks]
    parts += [_x_tick(epoch, x(epoch)) for epoch in epoch_ticks(first, last)]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">epoch</text>')
    parts += [_curve(line, x, y, digits) for line in lines]
    hover = {
        "x": [[epoch, round(x(epoch), 1)] for epoch in sorted(set(epochs))],
        "lines": [
            {"name": line.name, "colour": line.colour % 6, "values": {e: f"{v:.{digits}f}" for e, v in line.points}}
            for line in lines
        ],
    }
    ends = "; ".join(f"{line.name} ends at {line.points[-1][1]:.{digits}f}" for line in lines)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title} by epoch. {ends}.")}" '
        f'data-hover="{escape(json.dumps(hover))}">{"".join(parts)}'
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" hidden=""/></svg>'
    )


def _y_tick(tick: float, y: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.{digits}f}</text>'
    )


def _x_tick(epoch: int, x: float) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{epoch}</text>'


def _curve(line: Line, x: Callable[[float], float], y: Callable[[float], float], digits: int) -> str:
    path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in line.points)
    kind = "line dashed" if line.dashed else "line"
    marks = [(e, v) for e, v in line.points if e == line.best_epoch or len(line.points) == 1]
    dots = "".join(
        f'<circle cx="{x(e):.1f}" cy="{y(v):.1f}" r="4.5"><title>{escape(line.name)}, epoch {e}: {v:.{digits}f}'
        "</title></circle>"
        for e, v in marks
    )
    return f'<g class="s{line.colour % 6}"><polyline class="{kind}" points="{path}"/>{dots}</g>'


def nice_ticks(values: Sequence[float]) -> list[float]:
    """About five round values, 1, 2 or 5 times a power of ten apart, that enclose all the given ones."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    step = next(power * m for m in (1, 2, 5, 10) if power * m * TICKS >= span * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(start, max(stop, start + 1) + 1)]


def epoch_ticks(first: int, last: int) -> list[int]:
    """At most eight whole epochs, round ones where there are many."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**6) if (last - first) / s < 8)
    return [epoch for epoch in range(first, last + 1) if epoch == first or epoch % step == 0]

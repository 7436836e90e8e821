"""The pictures of a grid as inline SVG: the effect of every level, and what every training reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from captioning.ablations.effects import MEASURES
from captioning.ablations.tables import Result, short, written
from captioning.report.curves import nice_ticks

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 560, 190, 24, 10, 34
ROW, GAP = 24, 12  # of a level, and before a new axis


def charts(result: Result, measure: str) -> str:
    """Return the two figures of a measure."""
    better = "more is better" if MEASURES[measure] else "less is better"
    effects, trainings = _effects(result, measure), _trainings(result, measure)
    first = _figure(f"What each level does to {_named(measure)}", "difference from the first level", effects)
    return first + _figure(f"{_named(measure)} of every training", better, trainings)


def _named(measure: str) -> str:
    return "the loss" if measure == "loss" else measure


def _figure(title: str, note: str, svg: str) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title[0].upper() + title[1:])} <small>{escape(note)}</small>'
        f'</figcaption><div class="plot">{svg}</div></figure>'
    )


def _places(result: Result) -> tuple[dict[tuple[str, str], float], float]:
    """The height of every level's row by axis and level, and that of the whole."""
    places, y = {}, float(TOP)
    for axis, levels in result["axes"].items():
        for level in levels:
            y += ROW
            places[axis, level] = y - ROW / 2
        y += GAP
    return places, y - GAP + BOTTOM


def _effects(result: Result, measure: str) -> str:
    places, height = _places(result)
    found = result["effects"][measure]
    ends = [value for e in found for value in (e["mean"], e["low"], e["high"]) if value is not None]
    x, parts = _scale([0.0, *ends], height, measure, signed=True)
    parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    parts += _labels(result, places)
    for axis, levels in result["axes"].items():
        parts.append(f'<circle class="reference" cx="{x(0):.1f}" cy="{places[axis, levels[0]]:.1f}" r="4"/>')
    parts += [_effect(effect, x, places[effect["axis"], effect["level"]], measure) for effect in found]
    return _svg(parts, height, f"Effects on {_named(measure)}")


def _effect(effect: Mapping[str, Any], x: Callable[[float], float], y: float, measure: str) -> str:
    low, high = effect["low"], effect["high"]
    clear = low is not None and (low > 0 or high < 0)
    bar = "" if low is None else f'<line class="range" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    said = f"{effect['axis']} {effect['level']}: {written(measure, effect['mean'], True)}"
    said += "" if low is None else f" ({written(measure, low, True)} to {written(measure, high, True)})"
    said += f", {effect['pairs']} pairs"
    kind = "s0" if clear else "scale"
    dot = f'<circle cx="{x(effect["mean"]):.1f}" cy="{y:.1f}" r="5"><title>{escape(said)}</title></circle>'
    return f'<g class="{kind}">{bar}{dot}</g>'


def _trainings(result: Result, measure: str) -> str:
    places, height = _places(result)
    runs = [run for run in result["runs"] if run["measures"] is not None]
    x, parts = _scale([run["measures"][measure] for run in runs] or [0.0], height, measure)
    parts += _labels(result, places)
    for (axis, level), y in places.items():
        values = [(run, run["measures"][measure]) for run in runs if run["levels"][axis] == level]
        parts += [_dot(run, x(value), y, written(measure, value)) for run, value in values]
        if values:
            mean = x(sum(value for _, value in values) / len(values))
            parts.append(f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>')
    return _svg(parts, height, f"{_named(measure)} of every training")


def _dot(run: Mapping[str, Any], x: float, y: float, value: str) -> str:
    said = ", ".join([*run["levels"].values(), f"seed {run['seed']}: {value}"])
    return f'<circle class="run" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(said)}</title></circle>'


def _scale(
    values: list[float], height: float, measure: str, signed: bool = False
) -> tuple[Callable[[float], float], list[str]]:
    """The horizontal place of a value, and the rules and numbers of the axis."""
    ticks = nice_ticks(values)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    for tick in ticks:
        parts.append(f'<line class="rule" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        number = (
            written(measure, tick + 0.0, signed) if measure == "loss" or ticks[1] - ticks[0] < 1 else f"{tick + 0.0:g}"
        )
        parts.append(f'<text x="{x(tick):.1f}" y="{height - BOTTOM + 18:.1f}" text-anchor="middle">{number}</text>')
    return x, parts


def _labels(result: Result, places: Mapping[tuple[str, str], float]) -> list[str]:
    """The axis beside its first level, each level beside its row."""
    parts = []
    for axis, levels in result["axes"].items():
        parts.append(f'<text class="axis" x="0" y="{places[axis, levels[0]] + 4:.1f}">{escape(short(axis))}</text>')
        parts += [
            f'<text x="{LEFT - 10}" y="{places[axis, level] + 4:.1f}" text-anchor="end">{escape(level)}</text>'
            for level in levels
        ]
    return parts


def _svg(parts: list[str], height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'

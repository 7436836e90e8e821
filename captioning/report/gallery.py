"""The pictures of the page: which are shown, their small copies, and what each system said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from captioning.report.details import details
from captioning.report.numbers import Result, main_decoder, systems
from captioning.report.summary import RANKED_BY, picture_scores
from captioning.report.thumbnails import Thumbnails

References = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Gallery:
    """The cards as HTML, what is known of how their captions were said, and of how many pictures they were chosen."""

    cards: str
    said: dict[str, Any]
    shown: int
    total: int


def gallery(result: Result, references: References, thumbnails: Thumbnails, limit: int) -> Gallery:
    """The pictures of the page, from the best to the worst."""
    names = captioned(result)
    scores = picture_scores(result)
    chosen = choose(names, scores, limit)
    said = details(result, chosen)
    cards = [_card(result, name, references.get(name, ()), thumbnails(name), scores, name in said) for name in chosen]
    return Gallery("".join(cards), said, len(chosen), len(names))


def captioned(result: Result) -> list[str]:
    """The pictures that every system captioned, by name."""
    decoder = main_decoder(result)
    if decoder is None:
        return []
    said = [set(system["decoders"][decoder]["captions"]) for system in systems(result).values()]
    return sorted(set.intersection(*said))


def choose(names: Sequence[str], scores: Mapping[str, Mapping[str, float]], limit: int) -> list[str]:
    """At most ``limit`` pictures, spread evenly from the best to the worst (or over the names): no choosing."""

    def merit(name: str) -> float:
        return sum(of.get(name, 0.0) for of in scores.values())

    ranked = sorted(names, key=lambda name: (-merit(name), name))
    if len(ranked) <= limit:
        return ranked
    if limit < 2:
        return ranked[:limit]
    return [ranked[round(k * (len(ranked) - 1) / (limit - 1))] for k in range(limit)]


def _card(
    result: Result,
    name: str,
    references: Sequence[str],
    small: tuple[str, int, int] | None,
    scores: Mapping[str, Mapping[str, float]],
    explained: bool,
) -> str:
    decoder = main_decoder(result)
    said = {s: block["decoders"][decoder]["captions"][name] for s, block in systems(result).items()}
    found = {system: of[name] for system, of in scores.items() if name in of}
    data = f' data-name="{escape(name)}" data-alike="{int(len(set(said.values())) == 1)}"{_scored(found)}'
    search = escape(" ".join([name, *said.values(), *references]).lower())
    captions = "".join(
        _caption(colour, system, text, scores.get(system, {}).get(name))
        for colour, (system, text) in enumerate(said.items())
    )
    people = "".join(f"<li>{escape(text)}</li>" for text in references)
    more = f"<details><summary>What people wrote</summary><ul>{people}</ul></details>" if people else ""
    more += '<button type="button" class="how">How it was said</button>' if explained else ""
    return (
        f'<article class="card" data-search="{search}"{data}>{_image(name, small, said)}'
        f'<div class="said"><dl>{captions}</dl>{more}<p class="name">{escape(name)}</p></div></article>'
    )


def _scored(found: Mapping[str, float]) -> str:
    """The scores of a card as data to order and to choose by: mean, gap, and who is ahead."""
    if not found:
        return ""
    values = sorted(found.values(), reverse=True)
    ahead = max(found, key=lambda system: found[system]) if len(values) > 1 and values[0] > values[1] else ""
    mean, gap = sum(values) / len(values), values[0] - values[-1]
    return f' data-score="{mean:.4f}" data-gap="{gap:.4f}" data-ahead="{escape(ahead)}"'


def _image(name: str, small: tuple[str, int, int] | None, said: Mapping[str, str]) -> str:
    if small is None:
        return f'<div class="nopicture">{escape(name)}<br>is not here or cannot be read</div>'
    source, width, height = small
    alt = escape(f"{name}: {next(iter(said.values()))}")
    return f'<img src="{source}" width="{width}" height="{height}" alt="{alt}" loading="lazy">'


def _caption(colour: int, system: str, text: str, score: float | None) -> str:
    badge = "" if score is None else f'<span class="score">{RANKED_BY} {score:.0f}</span>'
    return f'<dt class="s{colour % 6}">{escape(system)}{badge}</dt><dd>{escape(text) or "(no words)"}</dd>'

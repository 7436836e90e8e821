"""How each caption was said, as data for the page: its words, attention's maps, and the other captions of the beam.

In a result a decoder's block may hold, beside `captions`, by picture:

    "words"  the caption's words and its end: [word, probability, weights], weights (rows, columns) adding up to 1, or
             null where the model has no attention
    "beams"  the captions that the search ended with, best first: [caption, log-probability in nats, score]

Both are optional. In the page a map is one byte a place, as base64, full at the largest weight.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from captioning.report.numbers import Result, main_decoder, systems
from captioning.report.summary import picture_scores


def details(result: Result, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """For each picture what every system said of it, and how; only pictures of which more than a caption is known."""
    decoder, scores = main_decoder(result), picture_scores(result)
    found = {}
    for name in names:
        said = []
        for system, block in systems(result).items():
            main = block["decoders"][decoder]
            own = {"system": system, "caption": main["captions"][name], "score": scores.get(system, {}).get(name)}
            said.append(own | _words(main.get("words", {}).get(name)) | _beams(main.get("beams", {}).get(name)))
        if any("words" in own or "beams" in own for own in said):
            found[name] = said
    return found


def _words(words: Any) -> dict[str, Any]:
    if not words:
        return {}
    maps = [weights for _, _, weights in words if weights is not None]
    shape = np.shape(maps[0]) if maps else (0, 0)
    return {
        "words": [[word, round(float(p), 4), _packed(weights)] for word, p, weights in words],
        "grid": list(shape),
    }


def _packed(weights: Any) -> str | None:
    if weights is None:
        return None
    places = np.asarray(weights, np.float64)
    shares = np.rint(255 * places / max(float(places.max()), 1e-12)).astype(np.uint8)
    return base64.b64encode(shares.tobytes()).decode("ascii")


def _beams(beams: Any) -> dict[str, Any]:
    if not beams:
        return {}
    return {"beams": [[caption, round(float(log_p), 3), round(float(score), 3)] for caption, log_p, score in beams]}


def script_data(content: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: no text in it can close the element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

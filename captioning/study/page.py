"""The page of `captioning study`: a caption of one picture through every model, and the server that reads others."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioning.data import Dataset
from captioning.errors import CaptioningError
from captioning.study.studied import Studied, clamps_of, held, picture_file
from rnncore.study.intervene import Intervention
from rnncore.study.page import page, shown_system
from rnncore.study.server import Server

LEAD = (
    "A trained captioner, word by word: what every gate of every unit does while it reads a caption, what of the loss "
    "reached it (d), and which words it holds likeliest to come next."
)
ALONE = "This file shows one caption. With --serve the same page reads any words of any picture, and holds its gates."

# Wide enough to see what is on it; the page stays one file.
_PIXELS = 360


def system_of(
    studied: Studied, picture: int, words: Sequence[int] | None, done: Sequence[Intervention]
) -> dict[str, Any]:
    """Return what the page shows of a model that reads `words`, or the caption that it writes itself if None."""
    with held(studied.model, done):
        chosen = studied.caption(picture) if words is None else list(words)
        one = studied.reading(picture, chosen)
        run, following = one.run([0]), one.following()
    if len(run.labels()) == len(following) + 1:  # the step at which the picture was read
        following = [[], *following]
    return shown_system(run, following=following)


def answer_of(models: Sequence[Studied], dataset: Dataset, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page needs to show `words` of a `picture`, with the gates that are `held`, by model."""
    name, text = str(question["picture"]), str(question.get("words", "")).strip()
    holds: Mapping[str, Any] = question.get("held", {})
    systems = []
    for studied in models:
        words = studied.words_of(text) if text else None
        done = clamps_of(holds.get(studied.name, ()))
        systems.append(system_of(studied, studied.picture_number(name), words, done))
    return {"systems": systems, "words": text, "image": image_of(dataset, name)}


def image_of(dataset: Dataset, name: str) -> str | None:
    """Return a picture as a data address, made small; None where it is not there."""
    path = picture_file(dataset, name)
    if path is None:
        return None
    with Image.open(path) as opened:
        small = opened.convert("RGB")
    small.thumbnail((_PIXELS, _PIXELS))
    kept = io.BytesIO()
    small.save(kept, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(kept.getvalue()).decode()}"


def study_page(models: Sequence[Studied], dataset: Dataset, picture: str, words: str, server: bool) -> str:
    """Return the page that begins with these words of this picture."""
    found = answer_of(models, dataset, {"picture": picture, "words": words})
    names = [picture, *(name for name in models[0].split.names if name != picture)] if server else [picture]
    about = "; ".join(f"{m.name}: {m.checkpoint.recipe.name}, epoch {m.checkpoint.best_epoch}" for m in models)
    return page(
        found["systems"],
        title="What every gate does while it captions",
        lead=LEAD,
        alone=ALONE,
        about=f"{about}. Values in single precision, as the model computed them.",
        words=words,
        image=found["image"],
        pictures=names,
        server=server,
    )


def study_server(models: Sequence[Studied], dataset: Dataset, picture: str, words: str, port: int = 0) -> Server:
    """Return a server of the page, which answers on this machine alone."""
    html = study_page(models, dataset, picture, words, server=True)
    return Server(html, lambda question: answer_of(models, dataset, question), port, (CaptioningError,))


def names_of(paths: Sequence[Path], cells: Sequence[str]) -> list[str]:
    """Return a name for each model: its cell, with its folder's name where two have one cell."""
    if len(set(cells)) == len(cells):
        return list(cells)
    folders = [(path.parent if path.is_file() else path).name for path in paths]
    named = [f"{cell} {folder}" for cell, folder in zip(cells, folders, strict=True)]
    if len(set(named)) == len(named):
        return named
    return [f"{cell} {k}" for k, cell in zip(np.arange(1, len(cells) + 1), cells, strict=True)]

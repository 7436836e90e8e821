"""Captions for any picture files: encoder, captioner and decoder in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from captioning.checkpoint import Checkpoint
from captioning.decode import beam_search
from captioning.errors import CaptioningError
from encoders import Encoder, EncoderError, PictureError, find_pictures, load_spec


@dataclass(frozen=True)
class Captioned:
    """One picture's captions, best first, with their log-probabilities; or the error that it gave."""

    path: Path
    captions: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def find_encoder(checkpoint: Checkpoint, places: Sequence[Path]) -> Path:
    """Return the ONNX file whose features the checkpoint was trained on, from the given folders.

    Raises
    ------
    CaptioningError
        If none of them fits; the message says what was looked for, and where.
    """
    wanted = {checkpoint.features.hash, checkpoint.features.made_by}
    for place in places:
        for file in sorted(place.glob("*.onnx")):
            try:
                if load_spec(file).hash in wanted:
                    return file
            except EncoderError:
                continue  # an ONNX file of something else
    raise CaptioningError(
        f"no encoder {checkpoint.features.hash} ({checkpoint.features.description}) in "
        f"{', '.join(str(p) for p in places)}: give its ONNX file, --encoder FILE"
    )


def caption_files(
    checkpoint: Checkpoint, encoder_file: Path, paths: Sequence[Path], beam: int | None = None, device: str = "cpu"
) -> list[Captioned]:
    """Caption picture files and the pictures in folders; one that cannot be read gets its error, the rest go on."""
    spec = load_spec(encoder_file)
    if spec.hash not in (checkpoint.features.hash, checkpoint.features.made_by):
        raise CaptioningError(
            f"{checkpoint.path} was trained on features of encoder {checkpoint.features.hash} "
            f"({checkpoint.features.description}), but {encoder_file} is {spec.hash} ({spec.description}); "
            "give the encoder that it was trained with"
        )
    files = list(find_pictures(list(paths)).values())
    encoder, done, rows = Encoder(encoder_file, spec), [], []
    for path in files:
        try:
            rows.append(encoder.encode_files([path])["features"][0])
            done.append(Captioned(path))
        except PictureError as error:
            done.append(Captioned(path, error=str(error)))
    return _with_captions(checkpoint, done, rows, beam, device)


def _with_captions(
    checkpoint: Checkpoint, done: list[Captioned], rows: list[np.ndarray], beam: int | None, device: str
) -> list[Captioned]:
    if not rows:
        return done
    model, vocabulary = checkpoint.model(device), checkpoint.vocabulary
    decoding = checkpoint.recipe.decoding
    decoding = decoding if beam is None else replace(decoding, beam=beam)
    found = iter(beam_search(model, model.prepare(np.stack(rows)), vocabulary, decoding))
    return [
        each
        if each.error
        else replace(each, captions=tuple((vocabulary.decode(h.words), h.log_probability) for h in next(found)))
        for each in done
    ]

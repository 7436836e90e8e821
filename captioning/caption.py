"""Captions for any picture files: encoder, captioner and decoder in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioning.checkpoint import Checkpoint
from captioning.config import Decoding
from captioning.decode import decode
from captioning.errors import CaptioningError
from captioning.explain import Word, explain
from encoders import Encoder, EncoderError, PictureError, find_pictures, load_spec


@dataclass(frozen=True)
class Captioned:
    """One picture's captions, best first, with their log-probabilities; or the error that it gave.

    words : of the best one, each with its probability and attention's weights.
    """

    path: Path
    captions: tuple[tuple[str, float], ...] = ()
    words: tuple[Word, ...] = ()
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


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths`, and all pictures in the folders among them, each once."""
    return list(dict.fromkeys(file for path in paths for file in find_pictures([path]).values()))


def caption_files(
    checkpoint: Checkpoint,
    encoder_file: Path,
    files: Sequence[Path],
    decoding: Decoding | None = None,
    device: str = "cpu",
) -> Iterator[Captioned]:
    """Yield the captions of picture files as they are found; one that cannot be read gets its error, the rest go on.

    decoding : the checkpoint's own if not given.

    Raises
    ------
    CaptioningError
        If the checkpoint was trained on the features of another encoder; both hashes are named.
    """
    spec = load_spec(encoder_file)
    if spec.hash not in (checkpoint.features.hash, checkpoint.features.made_by):
        raise CaptioningError(
            f"{checkpoint.path} was trained on features of encoder {checkpoint.features.hash} "
            f"({checkpoint.features.description}), but {encoder_file} is {spec.hash} ({spec.description}); "
            "give the encoder that it was trained with"
        )
    model, vocabulary = checkpoint.model(device), checkpoint.vocabulary
    encoder = Encoder(encoder_file, spec, outputs=("features", "grid") if model.looks else ("features",))
    decoding = decoding or checkpoint.recipe.decoding
    for path in files:
        try:
            made = encoder.encode_files([path])
        except PictureError as error:
            yield Captioned(path, error=str(error))
            continue
        pictures = model.prepare(made["features"], made.get("grid"))
        (found,) = decode(model, pictures, vocabulary, decoding)
        (words,) = explain(model, pictures, [found[0]], vocabulary)
        said = tuple((vocabulary.decode(h.words), h.log_probability) for h in found)
        yield Captioned(path, said, tuple(words))

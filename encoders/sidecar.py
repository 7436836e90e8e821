"""The description of an encoder that lies beside its ONNX file."""

import json
from pathlib import Path

from encoders.errors import EncoderError
from encoders.files import atomic_write, sha256_file
from encoders.known import MODELS
from encoders.spec import EncoderSpec


def sidecar(model: Path | str) -> Path:
    """Where the description of ``model.onnx`` lies: ``model.encoder.json`` beside it."""
    return Path(model).with_suffix(".encoder.json")


def load_spec(model: Path | str) -> EncoderSpec:
    """The spec of an ONNX file: from its sidecar, or because the file is a known one.

    Raises EncoderError when the file is missing, is neither known nor described, or when the sidecar belongs
    to other bytes.
    """
    model, beside = Path(model), sidecar(model)
    if not model.is_file():
        raise EncoderError(f"{model}: no such model file. `encoders fetch inception-v3` gets one")
    digest = sha256_file(model)
    if beside.is_file():
        spec = _read_sidecar(beside)
        if spec.sha256 != digest:
            raise EncoderError(
                f"{beside} describes a file with sha256 {spec.sha256[:16]}…, but {model} has {digest[:16]}…; "
                f"describe it anew with `encoders describe {model}`"
            )
        return spec
    if digest in MODELS:
        return MODELS[digest]
    raise EncoderError(
        f"{model}: which preprocessing it expects is not known. Describe it once with "
        f"`encoders describe {model}` (it writes {beside.name}), "
        f"or cut a full classifier with `encoders cut {model} NEW.onnx`"
    )


def save_spec(model: Path | str, spec: EncoderSpec) -> Path:
    """Write the sidecar of ``model``; returns its path."""
    beside = sidecar(model)
    with atomic_write(beside, "w") as file:
        file.write(spec.to_json())
    return beside


def _read_sidecar(path: Path) -> EncoderSpec:
    try:
        return EncoderSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise EncoderError(f"{path} is not an encoder's description: {error}") from error

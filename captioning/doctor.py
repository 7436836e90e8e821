"""`captioning doctor`: what `python -m rnncore` finds, and what the captioner needs besides: encoder, data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from captioning.commands import save_json
from captioning.data import load_dataset
from captioning.errors import CaptioningError
from captioning.terminal import out
from encoders import EncoderError, load_spec
from encoders.files import cache_folder
from rnncore import doctor


def run_doctor(data: Path | None, json_file: Path | None) -> None:
    """Print what is found, and keep it as JSON if a file is given."""
    facts = doctor.examine()
    facts |= {"onnxruntime": runtime_facts(), "encoders": encoder_facts(), "data": data_facts(data)}
    out.print(doctor.report(facts, lines(facts)), markup=False)
    if json_file is not None:
        save_json(facts, json_file)


def runtime_facts() -> dict[str, Any]:
    """Return ONNX Runtime's version and the providers that it could compute with, best first."""
    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def encoder_facts() -> list[str]:
    """Return what is known of each encoder that lies where commands look for one."""
    found = []
    for place in (Path("data"), Path(), cache_folder()):
        for file in sorted(place.glob("*.onnx")) if place.is_dir() else ():
            try:
                found.append(f"{file.name}: {load_spec(file).description}")
            except EncoderError:
                continue  # an ONNX file of something else
    return found


def data_facts(data: Path | None) -> dict[str, Any] | None:
    """Return a dataset's size and problems; what it is not, if it cannot be read; None if none is given."""
    if data is None:
        return None
    try:
        dataset = load_dataset(data)
    except (CaptioningError, OSError) as error:
        return {"error": str(error)}
    sizes = {split: len(names) for split, names in dataset.splits.items()}
    return {
        "name": dataset.name,
        "sizes": sizes,
        "pictures": dataset.pictures is not None,
        "problems": dataset.problems,
    }


def lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return what the report says besides what `rnncore.doctor` says."""
    runtime, data = facts["onnxruntime"], facts["data"]
    told = {
        "runtime": f"ONNX Runtime {runtime['version']}: {', '.join(runtime['providers'])}",
        "encoders": "\n".join(facts["encoders"]) or "none here or in the cache: captioning fetch inception-v3",
    }
    if data is None:
        return told
    if "error" in data:
        return told | {"data": data["error"]}
    sizes = ", ".join(f"{size:,} {split}" for split, size in data["sizes"].items())
    pictures = "with its pictures" if data["pictures"] else "without its pictures"
    notes = [f"note: {problem}" for problem in data["problems"]]
    return told | {"data": "\n".join([f"{data['name']}: {sizes}, {pictures}", *notes])}

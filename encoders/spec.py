"""What an encoder is: a file, the names of its outputs, and the preprocessing its weights expect.

The three belong together: the same file fed with other channel order or scaling gives other features. Their
common hash therefore names an encoder everywhere: in feature stores, in checkpoints, in error messages.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from encoders.errors import EncoderError

RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded picture to the array a network takes: y = (x − mean) / std with x in 0..255.

    The whole picture is squashed to ``size`` (height, width), never cropped: captions speak of what stands
    at the border too. ``mean`` and ``std`` are per channel, in the order of ``channels``.
    """

    size: tuple[int, int] = (299, 299)
    resampling: str = "bilinear"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    channels: str = "RGB"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        _one_of("resampling", self.resampling, RESAMPLING)
        _one_of("channels", self.channels, ("RGB", "BGR"))
        _one_of("layout", self.layout, ("NCHW", "NHWC"))
        if len(self.size) != 2 or min(self.size) < 1:
            raise EncoderError(f"preprocessing: size must be (height, width) of at least 1, not {self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise EncoderError(
                f"preprocessing: mean and std need three numbers each, std above 0; got {self.mean}, {self.std}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one prepared picture, without the batch axis."""
        return (3, *self.size) if self.layout == "NCHW" else (*self.size, 3)


@dataclass(frozen=True)
class Output:
    """One result of an encoder: our ``name`` for it, the graph's ``tensor``, its ``shape`` per picture."""

    name: str
    tensor: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder, whole: sha256 of the ONNX file, its input, its outputs, its preprocessing, and a label."""

    sha256: str
    input: str
    outputs: tuple[Output, ...]
    preprocessing: Preprocessing
    description: str

    @property
    def hash(self) -> str:
        """sha256 over everything that decides a number; the description, a label, is left out."""
        content = dataclasses.asdict(self)
        del content["description"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes per picture: ``{'features': (2048,), 'grid': (2048, 8, 8)}``."""
        return {output.name: output.shape for output in self.outputs}

    def output(self, name: str) -> Output:
        """The output called ``name``; unknown names raise, listing those there are."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise EncoderError(f"the encoder has no output {name!r}; it has {', '.join(self.shapes)}")

    def to_json(self) -> str:
        """The text of a sidecar file."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_dict(cls, content: Any) -> "EncoderSpec":
        """Back from the sidecar's JSON; missing and unknown keys raise, by name."""
        top = _fields(cls, content, "encoder")
        outputs = tuple(Output(**_fields(Output, entry, "output")) for entry in top["outputs"])
        preprocessing = Preprocessing(**_fields(Preprocessing, top["preprocessing"], "preprocessing"))
        return cls(**{**top, "outputs": outputs, "preprocessing": preprocessing})


def _fields(cls: type, content: Any, what: str) -> dict[str, Any]:
    """The content for a dataclass: exactly its fields, lists turned into tuples."""
    wanted = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(content, dict) or set(content) != wanted:
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise EncoderError(f"{what}: expected the keys {sorted(wanted)}, got {got}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EncoderError(f"preprocessing: {field} must be one of {', '.join(allowed)}, not {value!r}")

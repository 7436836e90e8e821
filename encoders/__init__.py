"""Pictures to features, through ONNX Runtime and Pillow.

    from encoders import Encoder, open_features
    Encoder("inception-v3.onnx").encode_files(["photo.jpg"])["features"]   # (1, 2048)
    open_features("store").rows(["photo.jpg"])                             # the same, kept

Names load their module on first use, so importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.errors import EncoderError as EncoderError
    from encoders.features import Features as Features
    from encoders.features import MissingFeatures as MissingFeatures
    from encoders.features import open_features as open_features

_HOME = {
    "EncoderError": "errors",
    "Features": "features",
    "MissingFeatures": "features",
    "open_features": "features",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'encoders' has no attribute {name!r}")
    return getattr(import_module(f"encoders.{_HOME[name]}"), name)

"""Pictures to features, through ONNX Runtime and Pillow.

    from encoders import Encoder, open_features
    Encoder("inception-v3.onnx").encode_files(["photo.jpg"])["features"]   # (1, 2048)
    open_features("store").rows(["photo.jpg"])                             # the same, kept

Names load their module on first use, so importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoders.encode import Encoder as Encoder
    from encoders.encode import encode_into as encode_into
    from encoders.errors import EncoderError as EncoderError
    from encoders.features import Features as Features
    from encoders.features import MissingFeatures as MissingFeatures
    from encoders.features import open_features as open_features
    from encoders.fetch import fetch_inception as fetch_inception
    from encoders.inception import build_encoder as build_encoder
    from encoders.inception import default_encoder as default_encoder
    from encoders.pictures import PictureError as PictureError
    from encoders.pictures import find_pictures as find_pictures
    from encoders.sidecar import load_spec as load_spec
    from encoders.spec import EncoderSpec as EncoderSpec
    from encoders.spec import Output as Output
    from encoders.spec import Preprocessing as Preprocessing
    from encoders.store import Header as Header
    from encoders.store import StoreError as StoreError
    from encoders.store import StoreWriter as StoreWriter
    from encoders.surgery import cut_classifier as cut_classifier

_HOME = {
    "Encoder": "encode",
    "EncoderError": "errors",
    "EncoderSpec": "spec",
    "Features": "features",
    "Header": "store",
    "MissingFeatures": "features",
    "Output": "spec",
    "PictureError": "pictures",
    "Preprocessing": "spec",
    "StoreError": "store",
    "StoreWriter": "store",
    "build_encoder": "inception",
    "cut_classifier": "surgery",
    "default_encoder": "inception",
    "encode_into": "encode",
    "fetch_inception": "fetch",
    "find_pictures": "pictures",
    "load_spec": "sidecar",
    "open_features": "features",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'encoders' has no attribute {name!r}")
    return getattr(import_module(f"encoders.{_HOME[name]}"), name)

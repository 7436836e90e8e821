"""Weights from and to PyTorch, Keras, ONNX and safetensors files, none of those frameworks installed.

Everything is read into a `Bundle`, whose `layer()` is a `Recurrent`, and written from a layer or a bundle.
"""

from rnncore.interop.bundle import Bundle
from rnncore.interop.files import load, save
from rnncore.interop.keras import from_keras, to_keras
from rnncore.interop.onnx import from_onnx
from rnncore.interop.onnx_export import to_onnx
from rnncore.interop.pytorch import from_pytorch, to_pytorch

__all__ = ["Bundle", "from_keras", "from_onnx", "from_pytorch", "load", "save", "to_keras", "to_onnx", "to_pytorch"]

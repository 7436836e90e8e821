"""Pictures to features, through ONNX Runtime and Pillow."""

"""An ONNX file as data: read once, taken in, its card, its graph and what that costs."""

"""An ONNX file as data: opened with its external data, and brought into the one form that all work is done on."""

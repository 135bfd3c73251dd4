"""`python -m fcn_onnx` is `fcn-onnx`."""

from fcn_onnx.cli import main

main(prog_name="fcn-onnx")

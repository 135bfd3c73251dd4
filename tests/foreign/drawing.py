"""Draw a network as an ONNX graph, while every tensor is computed on some pictures.

So BatchNorm gets the statistics of what really flows in, and the last layer is fitted to the truth: a network of
random features whose labels mean something, and whose activations are those of a trained one in kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.data.preprocess import Preprocessing, Resize
from foreign.pictures import CLASSES, picture

Array = NDArray[Any]
PICTURES = 16
IR_VERSION = 8
RIDGE = 1e-3
GAIN = 8.0
"""Logits of a pixel that is surely of a class are about this far above the others."""


class Drawing:
    """A graph under construction.

    Args:
        seed: of the weights.
        opset: of the default domain.
        batch: pictures that flow through it.
        size: (height, width) of them.
        channels_last: the input is (N, H, W, 3).

    Attributes:
        values: every tensor drawn so far, on the pictures.
        truth: their labels, (N, H, W).
    """

    def __init__(
        self,
        seed: int,
        opset: int,
        *,
        batch: int = PICTURES,
        size: tuple[int, int] = (64, 64),
        channels_last: bool = False,
    ) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        pictures = [picture(1000 + index, size) for index in range(batch)]
        images = np.concatenate([Preprocessing(Resize())(image) for image, _ in pictures])
        self.truth = np.stack([labels for _, labels in pictures])
        self.input = "image"
        self.values: dict[str, Array] = {
            self.input: np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if channels_last else images
        }
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        name = f"given_{len(self.constants)}"
        self.constants[name] = self.values[name] = np.asarray(value, dtype)
        return name

    def integers(self, *values: int) -> str:
        """An initializer of int64, (n,)."""
        return self.constant(values, np.int64)

    def constant_node(self, value: Any, dtype: Any = np.float32) -> str:
        """A Constant node, as older exporters write it."""
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output, and compute it."""
        (name,) = self.several(kind, *inputs, outputs=1, **attributes)
        return name

    def several(self, kind: str, *inputs: str, outputs: int = 2, **attributes: Any) -> tuple[str, ...]:
        """The same of a node of several outputs."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}.{index}" for index in range(1, outputs))]
        node = helper.make_node(kind, inputs, names, name=f"/{kind}_{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        self.values.update(zip(names, self._computed(node), strict=True))
        return tuple(names)

    def _computed(self, node: onnx.NodeProto) -> list[Array]:
        given = {name: self.values[name] for name in node.input if name}
        graph = helper.make_graph([node], "one", [_info(n, v) for n, v in given.items()], [*map(_untyped, node.output)])
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(
            self._model(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(value) for value in session.run(None, given)]

    def channels(self, tensor: str) -> int:
        """C of an (N, C, …) tensor."""
        return int(self.values[tensor].shape[1])

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> str:
        """A convolution that keeps the size (divided by `stride`), He-initialised."""
        weight = self.he(outputs, self.channels(x) // groups, kernel, kernel)
        biases = [self.constant(0.1 * self.rng.standard_normal(outputs))] if bias else []
        pad = dilation * (kernel - 1) // 2
        return self.op(
            "Conv",
            x,
            self.constant(weight),
            *biases,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            pads=[pad] * 4,
            group=groups,
        )

    def he(self, outputs: int, *fan_in: int) -> Array:
        """A random weight (outputs, *fan_in)."""
        weight: Array = self.rng.standard_normal((outputs, *fan_in)) * np.sqrt(2 / np.prod(fan_in))
        return weight

    def norm(self, x: str) -> str:
        """A BatchNormalization whose statistics are those of the pictures, with a gain and a shift of its own."""
        values, channels = self.values[x], self.channels(x)
        per_channel = [self.rng.uniform(0.6, 1.6, channels), 0.3 * self.rng.standard_normal(channels)]
        statistics = [values.mean((0, 2, 3)), values.var((0, 2, 3)) + 1e-3]
        return self.op("BatchNormalization", x, *map(self.constant, [*per_channel, *statistics]), epsilon=1e-5)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def block(self, x: str, outputs: int, kernel: int = 3, **options: Any) -> str:
        """Convolution without bias, BatchNormalization, Relu."""
        return self.relu(self.norm(self.conv(x, outputs, kernel, bias=False, **options)))

    def pool(self, x: str) -> str:
        """MaxPool 2×2."""
        return self.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def resize(self, x: str, factor: int) -> str:
        """Bilinear, `factor` times as large."""
        scales = self.constant([1, 1, factor, factor])
        return self.op(
            "Resize", x, self.constant([]), scales, mode="linear", coordinate_transformation_mode="half_pixel"
        )

    def axes(self, kind: str, x: str, *axes: int, **attributes: Any) -> str:
        """Squeeze, Unsqueeze or ReduceSum, whose axes are an input from opset 13."""
        if self.opset >= 13:
            return self.op(kind, x, self.integers(*axes), **attributes)
        return self.op(kind, x, axes=list(axes), **attributes)

    def classify(self, x: str, classes: int = len(CLASSES)) -> str:
        """The 1×1 convolution of `x` that gives the logits."""
        weight, bias = self.fitted(np.moveaxis(self.values[x], 1, -1), classes)
        return self.op("Conv", x, self.constant(weight[:, :, None, None]), self.constant(bias), kernel_shape=[1, 1])

    def fitted(self, features: Array, classes: int = len(CLASSES)) -> tuple[Array, Array]:
        """The weight (classes, C) and the bias (classes,) of logits: ridge regression of `features` (N, h, w, C) on the
        truth, rare classes weighing more. One class is a binary network: every figure against the ground."""
        _, height, width, channels = features.shape
        rows, columns = (
            (np.arange(n) * side + side // 2) // n
            for n, side in ((height, self.truth.shape[1]), (width, self.truth.shape[2]))
        )
        labels = self.truth[:, rows][:, :, columns].ravel()
        sure = (labels > 0)[:, None] if classes == 1 else np.eye(classes)[labels]
        flat = features.reshape(-1, channels).astype(np.float64)
        design = np.hstack([flat, np.ones((len(flat), 1))])
        weighed = design * np.bincount(labels)[labels][:, None] ** -0.5
        gram = weighed.T @ design
        gram += RIDGE * np.diag([*np.diag(gram)[:-1] + 1e-6, 0])
        solution = np.linalg.solve(gram, weighed.T @ (GAIN * (sure - 0.5)))
        return solution[:-1].T, solution[-1]

    def model(
        self,
        outputs: Sequence[str],
        *,
        dynamic: Sequence[int] = (0,),
        renamed: Sequence[str] = (),
        ir_version: int = IR_VERSION,
    ) -> onnx.ModelProto:
        """The whole of it.

        Args:
            outputs: tensors that the graph returns.
            dynamic: axes of the input, and of what has as many, that may have any length.
            renamed: names of the outputs; their own by default.
        """
        for tensor, name in zip(outputs, renamed, strict=False):
            self._rename(tensor, name)
        returned = renamed or outputs
        shape = [f"axis_{axis}" if axis in dynamic else n for axis, n in enumerate(self.values[self.input].shape)]
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, shape)],
            [_info(name, self.values[name], shape=[None] * self.values[name].ndim) for name in returned],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = self._model(graph, ir_version)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _rename(self, tensor: str, name: str) -> None:
        self.values[name] = self.values[tensor]
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, found in enumerate(names):
                    if found == tensor:
                        names[index] = name

    def _model(self, graph: onnx.GraphProto, ir_version: int = IR_VERSION) -> onnx.ModelProto:
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version)


def _info(name: str, value: Array, shape: Sequence[Any] | None = None) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, list(value.shape) if shape is None else shape)


def _untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)

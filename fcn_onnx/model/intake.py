"""The door that every graph comes through before it is calibrated or quantized.

Other people's graphs name no nodes, keep weights in Constant nodes, hide a bias behind an Identity, list weights as
inputs, share one weight between layers. What stands behind this door need not know: `take_in` says what it may rely on.
Plain protobuf: onnx-ir has four of these passes, but rebuilds the model, and has neither the unsharing nor the fold.
"""

from __future__ import annotations

import onnx

from fcn_onnx.errors import ModelError
from fcn_onnx.model.logits import logits_nodes
from fcn_onnx.model.passes.affine import fold_affine
from fcn_onnx.model.passes.constants import lift_constants
from fcn_onnx.model.passes.gates import unify_gates
from fcn_onnx.model.passes.identity import drop_identities
from fcn_onnx.model.passes.names import name_nodes
from fcn_onnx.model.passes.sharing import unshare
from fcn_onnx.model.passes.subpixel import spread_transposed
from fcn_onnx.model.passes.unused import drop_unused
from fcn_onnx.model.uses import reads

INITIALIZERS_ALONE_IR = 4
"""From this IR version on, initializers need not be listed as inputs."""


def take_in(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A copy of `model`, with its external data loaded, in the form that calibrating and quantizing rely on.

    Ensures: every node has a name of its own; there is no Constant node and no Identity or idle Dropout, except where
    one links an input or an initializer with an output; what is affine in each channel behind a convolution is folded
    into it (BatchNormalization, a bias added as a constant); a hard swish is a product with a HardSigmoid; a
    ConvTranspose that makes no logits is a convolution and a DepthToSpace, where it can be; every Conv, ConvTranspose
    and Gemm reads weights and biases that nothing else reads; no dead node, no unused initializer, none
    listed as input; no local functions.
    Inputs and outputs keep their names and order, inner tensors theirs as long as they exist, and what is not folded
    its bytes. A model in this form comes out equal.

    Args:
        name: what errors call it.

    Raises:
        ModelError: the graph is not sound: a tensor is written twice, or read and never written.
    """
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    taken = onnx.ModelProto()
    taken.CopyFrom(model)
    graph = taken.graph
    _require_sound(graph, name)
    _unlist_initializers(taken)
    lift_constants(graph, name)
    drop_identities(graph)
    drop_unused(graph)
    name_nodes(graph)
    unshare(graph)
    fold_affine(graph)
    unify_gates(graph)
    spread_transposed(graph, logits_nodes(taken))
    drop_unused(graph)
    return taken


def _unlist_initializers(model: onnx.ModelProto) -> None:
    """Take weights off the list of inputs, where IR 3 wants them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, INITIALIZERS_ALONE_IR)


def _require_sound(graph: onnx.GraphProto, name: str) -> None:
    """Every tensor is written once, before it is read."""
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        missing = [read for read in reads(node) if read not in known]
        twice = [written for written in node.output if written in known]
        if missing or twice:
            what = f"reads {missing[0]!r}, which nothing before it makes" if missing else f"makes {twice[0]!r} again"
            raise ModelError(f"{name}: node {node.name or node.op_type!r} {what}", fix="check it with onnx.checker")
        known.update(filter(None, node.output))
    lost = [value.name for value in graph.output if value.name not in known]
    if lost or not graph.output:
        what = f"makes its output {lost[0]!r} nowhere" if lost else "has no output"
        raise ModelError(f"{name} {what}", fix="check it with onnx.checker")

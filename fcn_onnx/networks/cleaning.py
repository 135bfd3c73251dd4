"""The exporter's graph made plain: nothing left over from training or from the exporter itself."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from fcn_onnx.errors import ExportError
from fcn_onnx.model.files import check_model
from fcn_onnx.model.passes.affine import fold_affine
from fcn_onnx.model.passes.sharing import unshare
from fcn_onnx.model.passes.unused import drop_unused
from fcn_onnx.model.uses import producers, readers

LEFTOVERS = frozenset({"Identity", "Dropout"})
CONVS = ("Conv", "ConvTranspose")


def clean(
    model: onnx.ModelProto, *, outputs: tuple[str, ...], classes: int, size: tuple[int, int] | None
) -> onnx.ModelProto:
    """Remove Identity nodes, the exporter's notes, unused initializers, and batch norms that the exporter could have
    folded and did not; declare the output shapes.

    Requires: a graph of one input, `input`. Ensures: onnx's full check passes, no node of `LEFTOVERS` remains, nor a
    batch norm that a convolution before it could hold, and every output is declared (batch, classes, height, width).

    Raises:
        ExportError: such a batch norm, or something else, was left over.
    """
    import onnx_ir
    from onnx_ir.passes import Sequential
    from onnx_ir.passes.common import (
        ClearMetadataAndDocStringPass,
        IdentityEliminationPass,
        LiftConstantsToInitializersPass,
        RemoveUnusedNodesPass,
    )

    passes = Sequential(
        IdentityEliminationPass(),
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        RemoveUnusedNodesPass(),
        ClearMetadataAndDocStringPass(),
    )
    cleaned = onnx_ir.to_proto(passes(onnx_ir.from_proto(model)).model)
    spatial = size or ("height", "width")
    for value in cleaned.graph.output:
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["batch", classes, *spatial]))
    del cleaned.graph.value_info[:], cleaned.metadata_props[:]
    cleaned.graph.name, cleaned.doc_string = "fcn", ""
    cleaned.producer_name, cleaned.producer_version = "fcn-onnx", ""
    if any(_is_left_over(node, cleaned.graph) for node in cleaned.graph.node):
        unshare(cleaned.graph)
        fold_affine(cleaned.graph)
        drop_unused(cleaned.graph)
    left = sorted({node.op_type for node in cleaned.graph.node if _is_left_over(node, cleaned.graph)})
    names = tuple(value.name for value in cleaned.graph.output)
    if left or names != outputs or [value.name for value in cleaned.graph.input] != ["input"]:
        raise ExportError(
            f"the exported graph has the outputs {', '.join(names)} and still holds {', '.join(left) or 'nothing odd'}",
            fix="report this with the versions that `fcn-onnx doctor` prints",
        )
    check_model(cleaned)
    return cleaned


def _is_left_over(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    if node.op_type != "BatchNormalization":
        return node.op_type in LEFTOVERS
    maker = producers(graph).get(node.input[0])
    return maker is not None and maker.op_type in CONVS and len(readers(graph)[node.input[0]]) == 1

"""The layers that `--keep-float` names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx

from fcn_onnx.errors import UsageError
from fcn_onnx.model.products import stored_products

EXAMPLES = 4


def named_layers(model: onnx.ModelProto, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the convolutions and of the products with a stored matrix in which any of the patterns is found.

    They are in graph order.

    Raises:
        UsageError: one is no regular expression, or is found in no name.
    """
    products = stored_products(model.graph)
    names = [n.name for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose") or n.name in products]
    found = set()
    for pattern in patterns:
        try:
            matched = [name for name in names if re.search(pattern, name)]
        except re.error as error:
            raise UsageError(
                f"--keep-float {pattern!r} is not a regular expression: {error}", fix="write ., ( and the like as \\."
            ) from error
        if not matched:
            some = ", ".join(names[:: max(1, len(names) // EXAMPLES)][:EXAMPLES])
            raise UsageError(
                f"--keep-float {pattern!r} is found in the name of none of {len(names)} layers",
                fix=f"they have names like {some}",
            )
        found.update(matched)
    return tuple(name for name in names if name in found)

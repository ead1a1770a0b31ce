"""What torch's exporter leaves behind, cleared away without touching a BatchNormalization.

1. Constants computed at run time, ``CastLike(Expand(…))`` for the bias of a Conv that has none; and Constant nodes.
2. A bias of zeros that the module does not have.
3. The batch size measured at run time, only to write it into the shape of a Reshape.
4. Identity nodes where a Dropout stood, and all that nothing reads any more.
5. Node names that say nothing: ``node__native_batch_norm_legit_no_training_3__0`` is the module's ``bn4``.
6. Metadata: stack traces with the paths of this machine, which are nobody's business and not reproducible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from bnfold.exporting.naming import name_after_modules

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["tidy"]


def tidy(model: ir.Model, parameters: Collection[str]) -> None:
    """Clear away the six kinds of clutter above, in place.

    Args:
        model: As ``conversion.convert`` returns it.
        parameters: The names of the module's own parameters and buffers, which stay whatever they hold.
    """
    from onnxscript import optimizer

    optimizer.fold_constants(model)  # 1
    for node in model.graph:
        if node.op_type == "Conv":
            _drop_made_up_bias(node, parameters)  # 2
        elif node.op_type == "Reshape":
            _settle_shape(node, model.graph)  # 3
    for tidying in (
        common.IdentityEliminationPass(),  # 4
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),  # 1
    ):
        tidying(model)
    name_after_modules(list(model.graph))  # 5
    _clear_metadata(model)  # 6


def _drop_made_up_bias(node: ir.Node, parameters: Collection[str]) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None or bias.const_value is None or bias.name in parameters:
        return
    if not bias.const_value.numpy().any():
        node.resize_inputs(2)


def _settle_shape(node: ir.Node, graph: ir.Graph) -> None:
    """Give a Reshape a constant shape where one entry of it, the batch, is unknown: that one becomes −1."""
    shape, target = node.inputs[1], node.outputs[0].shape
    if shape is None or shape.const_value is not None or target is None:
        return
    sizes = [size if isinstance(size, int) else -1 for size in target]
    if sizes.count(-1) > 1 or 0 in sizes:
        return
    tensor = ir.tensor(np.array(sizes, np.int64), name=f"{node.name}_shape")
    constant = ir.Value(name=tensor.name, shape=ir.Shape([len(sizes)]), type=ir.TensorType(tensor.dtype))
    constant.const_value = tensor
    graph.register_initializer(constant)
    node.replace_input_with(1, constant)
    node.attributes.pop("allowzero", None)


def _clear_metadata(model: ir.Model) -> None:
    common.ClearMetadataAndDocStringPass()(model)
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values.extend(output for node in model.graph for output in node.outputs)
    for value in values:  # which the pass leaves out
        value.metadata_props.clear()

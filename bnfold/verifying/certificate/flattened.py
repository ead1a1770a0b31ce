"""A MatMul in front of a Reshape to rows, which the candidate has behind it, as a Gemm with a place for a bias.

    x [N, T, K] → MatMul(W) → Reshape [-1, C]   ⇒   x → Reshape [-1, K] → Gemm(W, b)

Both compute the same. The copy of the reference is put in the candidate's order, and then compared with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.verifying.certificate.reading import attribute, is_standard, label_of

if TYPE_CHECKING:
    from bnfold.verifying.certificate.reading import Constants

__all__ = ["put_in_order"]


def put_in_order(reference: ir.Model, candidate: ir.Model, constants: Constants) -> None:
    """Move, in place, each Reshape in front of a MatMul where the candidate has it there.

    Args:
        reference: A copy that is nobody else's, without calls of functions.
        candidate: The other model.
        constants: Those of the reference.
    """
    theirs = {node.outputs[0].name for node in candidate.graph if node.op_type == "Reshape" and _is_before_gemm(node)}
    for node in list(reference.graph):
        if node.op_type != "MatMul" or not is_standard(node) or node.outputs[0].name not in theirs:
            continue
        readers = list(node.outputs[0].uses())
        if len(readers) != 1 or node.outputs[0].is_graph_output() or readers[0].idx != 0:
            continue
        if _makes_rows(node, readers[0].node, constants):
            _swap(node, readers[0].node, constants)


def _is_before_gemm(reshape: ir.Node) -> bool:
    return [use.node.op_type for use in reshape.outputs[0].uses()] == ["Gemm"]


def _makes_rows(node: ir.Node, reshape: ir.Node, constants: Constants) -> bool:
    """Whether the Reshape leaves the last axis of a product with a constant matrix alone, and flattens the others."""
    weight = constants.array(node.inputs[1])
    shape = constants.array(reshape.inputs[1]) if reshape.op_type == "Reshape" and len(reshape.inputs) > 1 else None
    if weight is None or weight.ndim != 2 or shape is None or attribute(reshape, "allowzero", 0):
        return False
    if constants.is_constant(node.inputs[0]) or node.graph is not reshape.graph:
        return False
    return bool(shape.tolist() == [-1, weight.shape[1]])


def _swap(node: ir.Node, reshape: ir.Node, constants: Constants) -> None:
    data, weight, graph = node.inputs[0], node.inputs[1], node.graph
    matrix = constants.array(weight)
    assert graph is not None and matrix is not None and data is not None  # noqa: S101, PT018 - it was looked at
    shape = ir.Value(name=f"{node.outputs[0].name}: rows", const_value=ir.tensor(np.array([-1, matrix.shape[0]])))
    shape.shape, shape.dtype = ir.Shape([2]), ir.DataType.INT64
    graph.register_initializer(shape)
    output = reshape.outputs[0]
    rows = ir.Value(name=node.outputs[0].name, type=data.type, shape=ir.Shape([None, matrix.shape[0]]))
    product = ir.Value(name=output.name, type=output.type, shape=output.shape or ir.Shape([None, matrix.shape[1]]))
    first = ir.Node("", "Reshape", [data, shape], name=label_of(reshape), outputs=[rows])
    second = ir.Node("", "MatMul", [rows, weight], name=label_of(node), outputs=[product])
    graph.insert_before(node, [first, second])
    ir.convenience.replace_all_uses_with(output, product, replace_graph_outputs=True)
    graph.remove([node, reshape], safe=True)

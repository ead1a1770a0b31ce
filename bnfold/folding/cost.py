"""What a run of a model costs, in floating-point operations, before it is begun.

Only products are counted: Conv, ConvTranspose, Gemm and MatMul. The rest is small beside them, or the model is.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.folding.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bnfold.folding.shapes import Shapes

__all__ = ["facts_at", "operations", "products"]


def operations(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> float:
    """The multiplications and additions of one run, as far as shapes can be inferred; bodies of loops count once.

    Args:
        model: Its functions are inlined. The shapes of its inputs change to those given.
        shapes: Of its inputs, by name.
    """
    return products(facts_at(model, shapes))


def facts_at(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> Facts:
    """What is known of a model that gets inputs of these shapes.

    Args:
        model: The shapes of its inputs change to those given.
        shapes: Of its inputs, by name.
    """
    for value in model.graph.inputs:
        if value.name is not None and value.name in shapes:
            value.shape = ir.Shape(shapes[value.name])
    for graph in modelfile.all_graphs(model):
        for node in graph:  # what the file says holds for every size, and so says less than what is inferred
            for value in node.outputs:
                value.shape = None
    return Facts(model)


def products(facts: Facts) -> float:
    """The multiplications and additions of a model whose functions are inlined, at the sizes that are known."""
    known = facts.shapes
    return float(sum(_of(node, known) for graph in modelfile.all_graphs(facts.model) for node in graph))


def _of(node: ir.Node, shapes: Shapes) -> float:
    """2·(how many products); 0 where a shape is not known."""
    if node.domain not in {"", "ai.onnx"} or node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    left, right = (None if value is None else shapes[value] for value in node.inputs[:2])
    output = shapes[node.outputs[0]]
    if not left or not right or output is None:
        return 0
    if node.op_type == "Conv":  # a weight is [M, C/group, *kernel]: each output reads all but its first axis
        factors = (*output, *right[1:])
    elif node.op_type == "ConvTranspose":  # [C, M/group, *kernel]: each input reaches all but its first axis
        factors = (*left, *right[1:])
    elif node.op_type == "Gemm":
        factors = (*output, left[0] if node.attributes.get_int("transA", 0) else left[-1])
    else:
        factors = (*output, left[-1])
    numbers = [factor for factor in factors if isinstance(factor, int)]
    return 2 * prod(numbers) if len(numbers) == len(factors) else 0

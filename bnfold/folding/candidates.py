"""Whether there is anything in a model that might fold, told in one walk over its nodes.

Most models that a pipeline hands to ``fold`` have been folded before. What it takes to be certain (shapes, constants,
the copies of functions) is looked up only where this says yes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.evaluation import is_evaluable, reads_value
from bnfold.folding.merging import may_merge
from bnfold.folding.sites import CONSTANT_OPS
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["has_candidates"]


def has_candidates(model: ir.Model) -> bool:
    """Whether a model has a BatchNormalization, an affine by what may be a constant, or a sum that may be merged."""
    constants: set[ir.Value] = set()
    functions = {function.graph for function in model.functions.values()}
    for graph in all_graphs(model):
        constants.update(graph.initializers.values())
        if graph in functions:  # every call may hand over the same constant
            constants.update(graph.inputs)
        for node in graph:
            if node.domain == "" and _is_candidate(node, constants):
                return True
            if _may_be_constant(node, constants):
                constants.update(node.outputs)
    return False


def _is_candidate(node: ir.Node, constants: set[ir.Value]) -> bool:
    if node.op_type == "BatchNormalization":
        return True
    if node.op_type in CONSTANT_OPS and not constants.isdisjoint(node.inputs):
        return True
    return may_merge(node)


def _may_be_constant(node: ir.Node, constants: set[ir.Value]) -> bool:
    """Whether a node is a constant expression if its operands are."""
    operands = [value for slot, value in enumerate(node.inputs) if value is not None and reads_value(node, slot)]
    return is_evaluable(node) and constants.issuperset(operands)

"""What a model computes for inputs of one size: its products, and the affines that a fold takes out.

An affine is small work beside a convolution, and yet a pass over all of a tensor: it is the bytes that cost time.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from bnfold import modelfile
from bnfold.benchmarking.grid import shapes_of
from bnfold.benchmarking.result import Work
from bnfold.folding.cost import facts_at, products
from bnfold.folding.sites import CONSTANT_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.folding.facts import Facts
    from bnfold.runtime.sessions import Feeds

__all__ = ["work"]


def work(model: ir.Model, feed: Feeds) -> Work:
    """What a model computes for inputs of these shapes; it is left as it is."""
    copy = model.clone()
    InlinePass()(copy)
    facts = facts_at(copy, {name: array.shape for name, array in feed.items()})
    costs = [_cost(node, constants, facts) for node, constants in _affines(facts)]
    known = [cost for cost in costs if cost is not None]
    return Work(
        inputs=shapes_of(feed),
        operations=products(facts),
        affines=len(known),
        affine_operations=float(sum(operations for operations, _ in known)),
        affine_bytes=float(sum(moved for _, moved in known)),
        unknown=len(costs) - len(known),
    )


def _affines(facts: Facts) -> Iterator[tuple[ir.Node, int]]:
    """Each, and how many numbers it has as constants."""
    for graph in modelfile.all_graphs(facts.model):
        for node in graph:
            if node.domain:
                continue
            if node.op_type == "BatchNormalization":
                yield node, sum(_size(facts, value) or 0 for value in node.inputs[1:5])
            elif node.op_type in CONSTANT_OPS and len(node.inputs) == 2:
                constants = [facts.constants.weight_shape(value) for value in node.inputs]
                if sum(shape is None for shape in constants) == 1:
                    yield node, sum(prod(shape) for shape in constants if shape is not None)


def _cost(node: ir.Node, constants: int, facts: Facts) -> tuple[int, float] | None:
    """Operations, and bytes; None where a shape is not known."""
    data = next((value for value in node.inputs if facts.constants.weight_shape(value) is None), None)
    sizes = [_size(facts, value) for value in (data, node.outputs[0])]
    if None in sizes:
        return None
    read, written = (size for size in sizes if size is not None)
    dtype = facts.shapes.dtype(node.outputs[0]) or ir.DataType.FLOAT
    each = 2 if node.op_type == "BatchNormalization" else 1
    return each * written, (read + written + constants) * dtype.itemsize


def _size(facts: Facts, value: ir.Value | None) -> int | None:
    shape = None if value is None else facts.shapes[value]
    numbers = [dim for dim in shape or () if isinstance(dim, int)]
    return prod(numbers) if shape is not None and len(numbers) == len(shape) else None

"""Evaluates constant sub-expressions that feed weights.

Exporters write parameters as ``Expand(CastLike(0, x), Shape(weight))`` and the like. A node whose inputs are all
constants is one too; and three inputs count as known although they are not, since only their shape or their type is
read. The arithmetic is the operator's own, in its own dtype, as a runtime would do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnfold.folding.inference import Found

__all__ = ["evaluate", "is_evaluable", "is_move", "moved", "operands_of", "reads_shape_only", "reads_value", "stated"]

# Ops that exporters put between a parameter and its reader, those of normalised and binary weights among them. Random
# and control-flow ops are left out on purpose.
_EVALUABLE = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "CastLike",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Mul",
        "Neg",
        "Pow",
        "QuantizeLinear",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ]
)
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_TYPE_ONLY = frozenset({("CastLike", 1)})
_LIMIT = 1 << 28  # elements; a crafted ConstantOfShape must not ask for all the memory


def evaluate(
    value: ir.Value,
    constant: Callable[[ir.Value | None], np.ndarray | None],
    known: Callable[[ir.Value], Found],
    opset: int,
) -> np.ndarray | None:
    """The value of an expression over constants, or None when it is none (or is none that we evaluate).

    Args:
        value: An output of a node.
        constant: Gives the value of a constant, or None.
        known: Gives what is known of a tensor without its value.
        opset: The version of the ONNX operators that the node's graph imports.
    """
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in _EVALUABLE or len(node.outputs) != 1:
        return None
    inputs: list[np.ndarray | None] = []
    for slot, source in enumerate(node.inputs):
        array = _stand_in(node, slot, source, known) if source is not None else None
        if array is None and source is not None:
            array = constant(source)
            if array is None:
                return None
        inputs.append(array)
    return _run(node, inputs, opset)


def moved(
    node: ir.Node, array: np.ndarray, constant: Callable[[ir.Value | None], np.ndarray | None], opset: int
) -> np.ndarray | None:
    """What a move writes if its first input is ``array``, or None if it is to be told only at run time."""
    others = [constant(value) for value in node.inputs[1:]]
    if any(found is None and value is not None for found, value in zip(others, node.inputs[1:], strict=True)):
        return None
    return _run(node, [array, *others], opset)


def operands_of(node: ir.Node, known: Callable[[ir.Value], Found]) -> list[ir.Value]:
    """What must be known before a node can be evaluated; nothing if it cannot be."""
    if node.domain != "" or node.op_type not in _EVALUABLE:
        return []
    operands = [(slot, value) for slot, value in enumerate(node.inputs) if value is not None]
    return [value for slot, value in operands if _stand_in(node, slot, value, known) is None]


def is_evaluable(node: ir.Node) -> bool:
    """Whether a node may be part of a constant expression: it has no effect beyond its outputs."""
    return node.domain == "" and (node.op_type in _EVALUABLE or node.op_type == "Constant")


def is_move(node: ir.Node) -> bool:
    """Whether a node moves the numbers of its first input about, and leaves them as they are."""
    return node.domain == "" and node.op_type in _MOVES


def reads_shape_only(node: ir.Node) -> bool:
    """Whether the numbers of a node's input make no difference to it."""
    return node.domain == "" and node.op_type in _SHAPE_ONLY


def stated(value: ir.Value) -> Found:
    """What the file says of a tensor."""
    return value.dtype, tuple(
        dim if isinstance(dim, int) else None for dim in value.shape
    ) if value.shape is not None else None


def _stand_in(node: ir.Node, slot: int, source: ir.Value, known: Callable[[ir.Value], Found]) -> np.ndarray | None:
    """Zeros of the right shape or type, where nothing else of the input is read."""
    is_typed, is_shaped = (node.op_type, slot) in _TYPE_ONLY, node.op_type in _SHAPE_ONLY
    if not is_typed and not is_shaped:
        return None
    dtype, shape = known(source)
    if is_typed:
        return np.zeros((), dtype.numpy()) if dtype is not None else None
    if shape is not None:
        read = _axes_read(node, len(shape))
        sizes = [dim if axis in read else 1 for axis, dim in enumerate(shape)]
        numbers = [size for size in sizes if isinstance(size, int)]
        return np.broadcast_to(np.zeros((), np.float32), numbers) if len(numbers) == len(sizes) else None
    return None


def reads_value(node: ir.Node, slot: int) -> bool:
    """Whether a node reads more of an input than its shape or its type."""
    return not reads_shape_only(node) and (node.op_type, slot) not in _TYPE_ONLY


def _axes_read(node: ir.Node, rank: int) -> range:
    """Of which axes a Shape (which may read a part of them) or a Size reads the sizes."""
    attributes = [node.attributes.get(name) for name in ("start", "end")]
    return range(rank)[slice(*(None if found is None or found.is_ref() else found.as_int() for found in attributes))]


def _run(node: ir.Node, inputs: list[np.ndarray | None], opset: int) -> np.ndarray | None:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    if any(attribute.is_ref() for attribute in node.attributes.values()) or _too_large(node, inputs):
        return None
    names = ["" if array is None else f"i{slot}" for slot, array in enumerate(inputs)]
    proto = ir.to_proto(node)
    proto.input[:], proto.output[:] = names, ["o"]
    graph = helper.make_graph(
        [proto],
        "constant",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, inputs, strict=True)
            if array is not None
        ],
        [helper.make_tensor_value_info("o", TensorProto.UNDEFINED, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    try:
        (result,) = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # of many kinds; what cannot be evaluated is no constant, and whoever needs one blocks
        return None
    return np.asarray(result)


def _too_large(node: ir.Node, inputs: list[np.ndarray | None]) -> bool:
    if node.op_type in ("ConstantOfShape", "Expand"):
        target = inputs[-1]
        return target is not None and float(np.prod(target, dtype=np.float64)) > _LIMIT
    return False

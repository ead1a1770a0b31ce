"""The judge: the reference's function, computed in float64.

The reference is rewritten so that every number in it that can have a fraction is a float64: weights, constants, the
types of values, the attributes that name a type, in the main graph, in subgraphs and in functions. onnx's reference
evaluator then runs it: onnxruntime's CPU provider has no Conv, ConvTranspose, AveragePool or Resize in float64.

The evaluator is slow, raises on some legal graphs and is not meant for hostile models: it runs in a child process.
Where it spent its time, and on a grouped ConvTranspose, ``window_ops.py`` takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from bnfold import modelfile
from bnfold.agreement import EXACT_KINDS
from bnfold.runtime.sessions import Refusal
from bnfold.verifying.expense import TooExpensive, affordable

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    from bnfold.runtime.sessions import Feeds, Outputs

__all__ = ["evaluate", "to_float64"]

_LESS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype"})


def evaluate(
    path: str | os.PathLike[str], feeds: Sequence[Feeds], *, widen: bool = True, budget: float | None = None
) -> list[Outputs | Refusal | TooExpensive]:
    """The model's outputs, by name, for each of several inputs; for a child process.

    A ``Refusal`` says why the evaluator did not get there.

    Args:
        path: The model.
        feeds: Inputs by name, in the model's own types.
        widen: Compute in float64 rather than in the model's own types.
        budget: Floating-point operations for all inputs together; None for as many as it takes.
    """
    from onnx import reference

    model = modelfile.load(path)
    InlinePass()(model)  # the evaluator forgets its new operators inside functions
    taken, total = _taken(path, feeds, budget)
    if widen:
        to_float64(model)
        feeds = [{name: _widened(array) for name, array in feed.items()} for feed in feeds]
    try:
        evaluator = reference.ReferenceEvaluator(ir.to_proto(model), new_ops=own_operators())
        return [
            _evaluate_once(evaluator, model, feed) if index in taken else TooExpensive(total)
            for index, feed in enumerate(feeds)
        ]
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return [Refusal(reason[0])] * len(feeds)


def own_operators() -> list[type[OpRun]]:
    """The operators that are computed here, and not by the evaluator."""
    from bnfold.verifying import inference_ops, window_ops

    return [getattr(module, name) for module in (inference_ops, window_ops) for name in module.__all__]


def _taken(path: str | os.PathLike[str], feeds: Sequence[Feeds], budget: float | None) -> tuple[Collection[int], float]:
    """Which inputs there is budget for, and the operations of all."""
    if budget is None:
        return range(len(feeds)), 0.0
    from bnfold.folding.cost import operations

    model = modelfile.load(path)
    InlinePass()(model)
    shapes = [{name: array.shape for name, array in feed.items()} for feed in feeds]
    by_shapes = {repr(one): operations(model, one) for one in shapes}
    costs = [by_shapes[repr(one)] for one in shapes]
    return affordable(costs, budget), sum(costs)


def _evaluate_once(evaluator: ReferenceEvaluator, model: ir.Model, feed: Feeds) -> Outputs | Refusal:
    outputs = evaluator.run(None, dict(feed))
    named: Outputs = {}
    for value, array in zip(model.graph.outputs, outputs, strict=True):
        if value.dtype is ir.DataType.DOUBLE and array.dtype != np.float64:
            return Refusal(f"'{value.name}' came out as {array.dtype}")  # some operator has a dtype of its own
        named[value.name or ""] = np.asarray(array)
    return named


def _widened(array: NDArray[np.generic]) -> NDArray[np.generic]:
    # bfloat16 is not a kind of float for numpy, but a void.
    return array if array.dtype.kind in EXACT_KINDS else array.astype(np.float64)


def to_float64(model: ir.Model) -> None:
    """Rewrite a model, in place, so that it computes in float64 whatever it computed in a smaller float."""
    for graph in modelfile.all_graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _wide_tensor(value.const_value)
        _retype([*graph.inputs, *graph.outputs, *graph.initializers.values()])
        for node in graph:
            _retype(node.outputs)
            _rewrite_attributes(node)


def _retype(values: Iterable[ir.Value]) -> None:
    for value in values:
        if isinstance(value.type, ir.TensorType) and value.dtype in _LESS:
            value.type = ir.TensorType(ir.DataType.DOUBLE)


def _rewrite_attributes(node: ir.Node) -> None:
    if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
        node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(np.zeros(1)))  # the default is a float32
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if node.op_type == "Constant" and name in {"value_float", "value_floats"}:
            del node.attributes[name]
            node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(np.asarray(attribute.value, np.float64)))
        elif attribute.type is ir.AttributeType.TENSOR:
            node.attributes[name] = ir.AttrTensor(name, _wide_tensor(attribute.as_tensor()))
        elif name in _TYPE_ATTRIBUTES and attribute.value in _LESS:
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.DOUBLE)


def _wide_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if tensor.dtype not in _LESS:
        return tensor
    return ir.Tensor(tensor.numpy().astype(np.float64), name=tensor.name)

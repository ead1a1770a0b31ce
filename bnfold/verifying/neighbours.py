"""Neighbours of a model: the same model, with some of its weights moved to the next number, up or down, at random.

A correct fold rounds each weight once, and each integer of a quantised bias; so how far the outputs of a few
neighbours lie from the exact ones says how far those of a correct fold may lie. They are the second opinion when the
reference came out luckily close: on a network with a handful of weights, chance alone makes one rounding twice another.

One float in three moves. One in twelve would have the variance of one rounding, but on a network of thirty weights
eight neighbours were then no eight draws, and a correct fold came out worse than twice all of them.

Only weights move: what an operator with weights reads beside its data. A constant that becomes a size, an index or a
threshold makes another shape or another function when it moves, as far from the exact result as any wrong fold.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from bnfold import modelfile
from bnfold.runtime import sessions
from bnfold.runtime.providers import CPU, Provider

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from bnfold.runtime.sessions import Feeds, Level, Outputs, Refusal

__all__ = ["move", "run"]

_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})
_HOLDERS = frozenset({
    "BatchNormalization", "Conv", "ConvTranspose", "GRU", "Gemm", "GroupNormalization", "InstanceNormalization",
    "LSTM", "LayerNormalization", "MatMul", "PRelu", "RNN",
})  # fmt: skip
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})  # what has one number beside data may be any constant
# Between a stored tensor and the operator that it is a weight of.
_CARRIERS = _ELEMENTWISE | {
    "Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
_NO_DATA = frozenset({"Shape", "Size"})


def run(
    path: str | os.PathLike[str], level: Level, feeds: Sequence[Feeds], count: int, provider: Provider = CPU
) -> list[list[Outputs | Refusal]]:
    """The outputs of ``count`` neighbours for each of several inputs; for a child process.

    Raises:
        ExecutionError: onnxruntime refuses the model.
    """
    model = modelfile.load(path)
    InlinePass()(model)  # a call of a function does not tell what it reads its arguments for
    weights = _weights_of(model)
    outputs = []
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        neighbour = Path(folder, "neighbour.onnx")
        for seed in range(count):
            _move(weights, seed)
            modelfile.save(model, neighbour)
            outputs.append(sessions.run(neighbour, level, feeds, provider))
    return outputs


def move(model: ir.Model, seed: int) -> None:
    """Move one weight in three of a model, in place, to the next float above or below."""
    _move(_weights_of(model), seed)


@dataclass(frozen=True)
class _Weight:
    """A constant that moves.

    Attributes:
        holder: The initializer, or the Constant node.
        tensor: What it is in the model itself.
        is_quantised: Whether it is read as quantised numbers.
    """

    holder: ir.Value | ir.Node
    tensor: ir.TensorProtocol
    is_quantised: bool

    def put(self, tensor: ir.TensorProtocol) -> None:
        """Give the model another one."""
        if isinstance(self.holder, ir.Value):
            self.holder.const_value = tensor
        else:
            self.holder.attributes["value"] = ir.AttrTensor("value", tensor)


def _move(weights: Sequence[_Weight], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for weight in weights:
        weight.put(_moved(weight.tensor, rng, is_quantised=weight.is_quantised))


def _weights_of(model: ir.Model) -> list[_Weight]:
    data = _data_of(model)
    found = []
    for graph in modelfile.all_graphs(model):
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and _is_weight(value, tensor.size, data):
                found.append(_Weight(value, tensor, _is_quantised(value)))
        for node in graph:
            attribute = node.attributes.get("value")
            if node.op_type != "Constant" or attribute is None or attribute.is_ref():
                continue
            if _is_weight(node.outputs[0], attribute.as_tensor().size, data):
                found.append(_Weight(node, attribute.as_tensor(), _is_quantised(node.outputs[0])))
    return found


def _data_of(model: ir.Model) -> set[ir.Value]:
    """The values computed from what is fed, rather than from constants and shapes alone."""
    data: set[ir.Value] = set()
    for graph in modelfile.all_graphs(model):
        data.update(value for value in graph.inputs if value.name not in graph.initializers)
        for node in graph:
            has_subgraph = any(isinstance(attribute.value, ir.Graph) for attribute in node.attributes.values())
            if has_subgraph or (node.op_type not in _NO_DATA and any(value in data for value in node.inputs)):
                data.update(node.outputs)
    return data


def _is_weight(value: ir.Value, size: int, data: set[ir.Value]) -> bool:
    """Whether all that is done with a constant is to combine it, as a weight, with data."""
    return bool(value.uses()) and all(_is_weight_of(use.node, size, data) for use in value.uses())


def _is_weight_of(node: ir.Node, size: int, data: set[ir.Value]) -> bool:
    if node.domain not in {"", "ai.onnx"}:
        return False
    if any(value in data for value in node.inputs):
        return node.op_type in _HOLDERS or (node.op_type in _ELEMENTWISE and size > 1)
    if node.op_type not in _CARRIERS:
        return False
    return all(_is_weight(output, size, data) for output in node.outputs)


def _is_quantised(value: ir.Value) -> bool:
    """Whether a constant is read as quantised numbers, and as nothing else."""
    return all(use.node.op_type == "DequantizeLinear" and use.idx == 0 for use in value.uses())


def _moved(tensor: ir.TensorProtocol, rng: np.random.Generator, *, is_quantised: bool) -> ir.TensorProtocol:
    if tensor.dtype is ir.DataType.INT32 and is_quantised:  # a bias; those of 8 bits and fewer no fold rounds
        # All of them: a step of a bias is a thousand roundings of a float, so that a neighbour in which the few biases
        # that show did not move would make outliers of those in which they did.
        codes = tensor.numpy()
        return ir.Tensor(codes + rng.choice([-1, 1], codes.shape).astype(np.int32), name=tensor.name)
    if tensor.dtype not in _FLOATS:
        return tensor
    array = tensor.numpy()
    up, down = (np.nextafter(array, np.asarray(limit, array.dtype)) for limit in (np.inf, -np.inf))
    step = rng.integers(0, 6, array.shape)
    # Zeros and infinities stay: the float next to them is no rounding of anything.
    step[(array == 0) | ~np.isfinite(array)] = 2
    moved = np.where(step == 0, up, np.where(step == 1, down, array))
    return ir.Tensor(moved, name=tensor.name)

"""Neighbours of a model: the same model, with some of its weights moved to the next float, up or down, at random.

A correct fold rounds each weight once; so how far the outputs of a few neighbours lie from the exact ones says how far
those of a correct fold may lie. They are the second opinion when the reference came out luckily close: on a network
with a handful of weights, chance alone makes one rounding twice another.

One weight in three moves. One in twelve would have the variance of one rounding, but on a network of thirty weights
eight neighbours were then no eight draws, and a correct fold came out worse than twice all of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold import modelfile
from bnfold.runtime import sessions

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from bnfold.runtime.sessions import Feeds, Level, Outputs, Refusal

__all__ = ["move", "run"]

_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})
# Their constants are sizes, exponents and steps: the next float makes another shape or another function.
_NOT_WEIGHTS = frozenset({"DequantizeLinear", "OneHot", "Pow", "QuantizeLinear", "Range", "Resize", "Upsample"})


def run(
    path: str | os.PathLike[str], level: Level, feeds: Sequence[Feeds], count: int
) -> list[list[Outputs | Refusal]]:
    """The outputs of ``count`` neighbours for each of several inputs; for a child process.

    Raises:
        ExecutionError: onnxruntime refuses the model.
    """
    outputs = []
    for seed in range(count):
        model = modelfile.load(path)
        move(model, seed)
        with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
            neighbour = Path(folder, "neighbour.onnx")
            modelfile.save(model, neighbour)
            outputs.append(sessions.run(neighbour, level, feeds))
    return outputs


def move(model: ir.Model, seed: int) -> None:
    """Move one weight in three of a model, in place, to the next float above or below."""
    rng = np.random.default_rng(seed)
    for graph in modelfile.all_graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None and _is_weight(value):
                value.const_value = _moved(value.const_value, rng)
        for node in graph:
            tensor = node.attributes.get("value")
            if node.op_type != "Constant" or tensor is None or tensor.is_ref():
                continue
            if _is_weight(node.outputs[0]):
                node.attributes["value"] = ir.AttrTensor("value", _moved(tensor.as_tensor(), rng))


def _is_weight(value: ir.Value) -> bool:
    return not any(use.node.op_type in _NOT_WEIGHTS for use in value.uses())


def _moved(tensor: ir.TensorProtocol, rng: np.random.Generator) -> ir.TensorProtocol:
    if tensor.dtype not in _FLOATS:
        return tensor
    array = tensor.numpy()
    up, down = (np.nextafter(array, np.asarray(limit, array.dtype)) for limit in (np.inf, -np.inf))
    step = rng.integers(0, 6, array.shape)
    # Zeros and infinities stay: the float next to them is no rounding of anything.
    step[(array == 0) | ~np.isfinite(array)] = 2
    moved = np.where(step == 0, up, np.where(step == 1, down, array))
    return ir.Tensor(moved, name=tensor.name)

"""The constants of a model: which tensors they are, their values in float64, and their replacement.

A rewritten weight is kept in float64 until the last plan is committed, and is rounded to its stored dtype from there:
however many affines go into one weight, it is rounded once.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.evaluation import evaluate, is_move, moved, operands_of
from bnfold.folding.nodes import find_input, integer
from bnfold.folding.rounding import FLOATS
from bnfold.folding.scaling import Scaled
from bnfold.modelfile import is_trained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from bnfold.folding.inference import Found

__all__ = ["Constants", "constant_tensor", "spread"]


class Constants:
    """Reads constants, and remembers the float64 values of those that were rewritten."""

    def __init__(
        self,
        ir_version: int,
        opset: Callable[[ir.Node], int],
        known: Callable[[ir.Value], Found],
        arguments: Mapping[ir.Value, ir.TensorProtocol] = MappingProxyType({}),
    ) -> None:
        """Nothing is read yet.

        Args:
            ir_version: That of the model.
            opset: The version of the ONNX operators where a node stands.
            known: The type and shape of a tensor that is no constant itself, as far as they are known.
            arguments: The inputs of specialised functions that are the same constant in every call.
        """
        # Since IR version 4 an initializer that is also a graph input is a default that the caller may replace; before,
        # every initializer had to be listed as an input, and is a constant.
        self._are_inputs_constant = ir_version < 4
        self._opset = opset
        self._arguments = arguments
        self._exact: dict[ir.Value, NDArray[np.float64] | Scaled] = {}
        self._evaluated: dict[ir.Value, np.ndarray | None] = {}
        self._known = known

    def forget_failures(self) -> None:
        """More is known of the tensors than before: what was no constant may be one."""
        self._evaluated = {value: array for value, array in self._evaluated.items() if array is not None}

    def tensor(self, value: ir.Value | None) -> ir.TensorProtocol | None:
        """What is stored for an initializer that nobody may replace, or for a Constant node; else None."""
        if value is not None and value in self._arguments:
            return self._arguments[value]
        if value is None or (value.is_graph_input() and not self._are_inputs_constant):
            return None
        return constant_tensor(value)

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The value of a constant in its own dtype, or None when it is known only at run time."""
        tensor = self.tensor(value)
        if tensor is not None:
            return tensor.numpy()
        if value is None or value.producer() is None:
            return None
        if value not in self._evaluated:
            self._evaluate(value)
        return self._evaluated[value]

    def _evaluate(self, value: ir.Value) -> None:
        """Evaluate an expression, operands first (with a stack of our own: graphs are deeper than Python's)."""
        waiting = [value]
        while waiting:
            node = waiting[-1].producer()
            operands = operands_of(node, self._known) if node is not None else ()
            unknown = [v for v in operands if self.tensor(v) is None and v.producer() and v not in self._evaluated]
            if unknown:
                waiting += unknown
                continue
            done = waiting.pop()
            if node is not None and done not in self._evaluated:
                self._evaluated[done] = evaluate(done, self.array, self._known, self._opset(node))

    def weight(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """The value of a constant in float64, exact if it was rewritten before; None at run time or if no float."""
        if value is not None and value in self._exact:
            return self._exactly(value) if self._is_float(value) else None
        array = self.array(value)
        if array is None or ir.DataType.from_numpy(array.dtype) not in FLOATS:
            return None
        return array.astype(np.float64)

    def scaled(self, value: ir.Value) -> Scaled | None:
        """The same, to be multiplied by factors, without a look at its numbers if it is stored as a tensor."""
        exact = self._exact.get(value)
        if exact is not None:
            return (exact if isinstance(exact, Scaled) else Scaled.of(exact)) if self._is_float(value) else None
        if (tensor := self.tensor(value)) is not None:
            return Scaled.of(tensor) if tensor.dtype in FLOATS else None
        weight = self.weight(value)
        return Scaled.of(weight) if weight is not None else None

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a constant, or None when it is known only at run time."""
        if (tensor := self.tensor(value)) is not None:
            return tensor.dtype
        array = self.array(value)
        return ir.DataType.from_numpy(array.dtype) if array is not None else None

    def _is_float(self, value: ir.Value) -> bool:
        return self.dtype(value) in FLOATS

    def _exactly(self, value: ir.Value) -> NDArray[np.float64]:
        exact = self._exact[value]
        return exact.numbers() if isinstance(exact, Scaled) else exact

    def stored(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """The value of a floating-point constant as it is stored, in float64, or None."""
        array = self.array(value)
        if array is None or ir.DataType.from_numpy(array.dtype) not in FLOATS:
            return None
        return array.astype(np.float64)

    def weight_shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The shape of what ``weight`` gives, without the numbers: to widen them takes long for a large weight."""
        tensor = self.tensor(value)
        if tensor is not None:
            return tuple(tensor.shape.numpy()) if tensor.dtype in FLOATS else None
        weight = self.weight(value)
        return weight.shape if weight is not None else None

    def numbers(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """What a weight amounts to in float64, be it a constant or quantised; to be read, and never to be stored.

        A quantised weight is what a DequantizeLinear of constants writes, possibly moved (transposed, reshaped) since.
        """
        moves: list[ir.Node] = []
        found = self._stored_numbers(value)
        while found is None:
            node = value.producer() if value is not None else None
            if node is None or not is_move(node):
                return None
            moves.append(node)
            value = find_input(node, 0)
            found = self._stored_numbers(value)
        for move in reversed(moves):
            found = moved(move, found, self.array, self._opset(move)) if found is not None else None
        return found

    def _stored_numbers(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        if value is not None and value in self._exact:
            return self._exactly(value)
        array = self.array(value)
        if array is not None:
            return array.astype(np.float64)
        return self._dequantised(value.producer()) if value is not None else None

    def _dequantised(self, node: ir.Node | None) -> NDArray[np.float64] | None:
        """(codes − zero point)·scale, if these are constants."""
        if node is None or node.op_type != "DequantizeLinear" or node.domain != "":
            return None
        arrays = [self.array(find_input(node, slot)) for slot in range(3)]
        if arrays[0] is None or arrays[1] is None or (arrays[2] is None and find_input(node, 2) is not None):
            return None
        codes, scale, *zero_point = (
            self._in_float64(find_input(node, slot), array) for slot, array in enumerate(arrays) if array is not None
        )
        axis, block = integer(node, "axis", 1), integer(node, "block_size", 0)
        offset = spread(zero_point[0], codes.shape, axis, block) if zero_point else 0.0
        return (codes - offset) * spread(scale, codes.shape, axis, block)

    def _in_float64(self, value: ir.Value | None, array: np.ndarray) -> NDArray[np.float64]:
        return self._exactly(value) if value is not None and value in self._exact else array.astype(np.float64)

    def set_exact(self, value: ir.Value, array: NDArray[np.float64] | Scaled) -> None:
        """Remember what ``value`` stands for, before rounding."""
        self._exact[value] = array

    def forget(self, value: ir.Value) -> None:
        """A constant is gone."""
        self._exact.pop(value, None)


def constant_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node, without touching it; not of one that is to be trained."""
    if value.is_initializer():
        return None if is_trained(value) else value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain != "":
        return None
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return attribute.as_tensor()
        if name in ("value_float", "value_floats"):
            return ir.tensor(np.asarray(attribute.value, np.float32))
        if name in ("value_int", "value_ints"):
            return ir.tensor(np.asarray(attribute.value, np.int64))
    return None


def spread(parameter: NDArray[np.float64], shape: tuple[int, ...], axis: int, block_size: int) -> NDArray[np.float64]:
    """A scale or a zero point of a quantised tensor, as an array that broadcasts against it.

    Args:
        parameter: One number, or one for each index of ``axis``, or one for each block along it.
        shape: The shape of the tensor.
        axis: An attribute of QuantizeLinear and DequantizeLinear; of no meaning where there is one number.
        block_size: The same; 0 where there are no blocks.
    """
    if parameter.size == 1:
        return parameter.reshape((1,) * len(shape))
    if block_size:
        return np.repeat(parameter, block_size, axis).take(range(shape[axis]), axis)
    return parameter.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))])

"""The constants of a model: which tensors they are, their values in float64, and their replacement.

A rewritten weight is kept in float64 until the last plan is committed, and is rounded to its stored dtype from there:
however many affines go into one weight, it is rounded once.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import onnx_ir as ir

from bnfold.folding.evaluation import evaluate, operands_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["FLOATS", "Constants", "constant_tensor", "round_once"]

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})

# float16 is left out: see round_once. bfloat16 has the exponents of float32.
_SMALLEST_NORMAL = {
    ir.DataType.FLOAT: 2.0**-126,
    ir.DataType.BFLOAT16: 2.0**-126,
    ir.DataType.DOUBLE: 2.0**-1022,
}


class Constants:
    """Reads constants, and remembers the float64 values of those that were rewritten."""

    def __init__(
        self,
        ir_version: int,
        opset: Callable[[ir.Node], int],
        arguments: Mapping[ir.Value, ir.TensorProtocol] = MappingProxyType({}),
    ) -> None:
        """Nothing is read yet.

        Args:
            ir_version: That of the model.
            opset: The version of the ONNX operators where a node stands.
            arguments: The inputs of specialised functions that are the same constant in every call.
        """
        # Since IR version 4 an initializer that is also a graph input is a default that the caller may replace; before,
        # every initializer had to be listed as an input, and is a constant.
        self._are_inputs_constant = ir_version < 4
        self._opset = opset
        self._arguments = arguments
        self._exact: dict[ir.Value, NDArray[np.float64]] = {}
        self._evaluated: dict[ir.Value, np.ndarray | None] = {}

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
            operands = operands_of(node) if node is not None else ()
            unknown = [v for v in operands if self.tensor(v) is None and v.producer() and v not in self._evaluated]
            if unknown:
                waiting += unknown
                continue
            done = waiting.pop()
            if node is not None and done not in self._evaluated:
                self._evaluated[done] = evaluate(done, self.array, self._opset(node))

    def weight(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """The value of a constant in float64, exact if it was rewritten before; None at run time or if no float."""
        if value is not None and value in self._exact:
            return self._exact[value]
        array = self.array(value)
        if array is None or ir.DataType.from_numpy(array.dtype) not in FLOATS:
            return None
        return array.astype(np.float64)

    def set_exact(self, value: ir.Value, array: NDArray[np.float64]) -> None:
        """Remember what ``value`` stands for, before rounding."""
        self._exact[value] = array

    def forget(self, value: ir.Value) -> None:
        """A constant is gone."""
        self._exact.pop(value, None)


def constant_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node, without touching it."""
    if value.is_initializer():
        return value.const_value
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


def round_once(array: NDArray[np.float64], dtype: ir.DataType) -> tuple[np.ndarray, int]:
    """The nearest values of ``dtype``, ties to even, and how many subnormal ones were flushed to zero.

    Subnormal float32 weights run hundreds of times slower on CPUs; float16 ones do not (they are widened before use)
    and are kept, since float16 has no precision to spare.

    Args:
        array: Any shape.
        dtype: One of ``FLOATS``.
    """
    rounded: np.ndarray
    if dtype is ir.DataType.BFLOAT16:
        rounded = _to_bfloat16(array)
    else:
        with np.errstate(over="ignore", under="ignore"):
            rounded = array.astype(dtype.numpy())
    smallest = _SMALLEST_NORMAL.get(dtype, 0.0)
    subnormal = (rounded != 0) & (np.abs(rounded.astype(np.float64)) < smallest)
    return np.where(subnormal, np.zeros_like(rounded), rounded), int(np.count_nonzero(subnormal))


def _to_bfloat16(array: NDArray[np.float64]) -> np.ndarray:
    """Round to nearest even at once; ``astype`` goes through float32, which would be a second rounding.

    Rounding to float32 *to odd* first keeps what decides a tie: 24 bits are more than 8 + 2 (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
    """
    with np.errstate(over="ignore", under="ignore"):
        nearest = array.astype(np.float32)
    away = np.abs(nearest.astype(np.float64)) > np.abs(array)
    truncated = np.where(away, np.nextafter(nearest, np.float32(0)), nearest)
    inexact = np.isfinite(array) & (truncated.astype(np.float64) != array)
    bits = np.ascontiguousarray(truncated).view(np.uint32) | inexact.astype(np.uint32)
    result: np.ndarray = bits.view(np.float32).astype(ml_dtypes.bfloat16)
    return result

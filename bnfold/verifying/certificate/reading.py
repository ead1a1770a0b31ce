"""What a graph says: its constants, the affines that its nodes are, and what is known of shapes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from bnfold.affine import Affine
from bnfold.verifying.certificate.quantised import codes_of, dequantised

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "DEAD",
    "Constants",
    "affine_of",
    "attribute",
    "given",
    "has_dead",
    "is_inference",
    "is_standard",
    "label_of",
    "name_of",
    "operand_of",
    "rank_of",
    "shape_of",
]

_EPSILON = float(np.float32(1e-5))
# What stands for a scale of 0, that makes a channel constant: it can be divided by, and cancels without a remainder.
# Times it, every weight is 0 in any type; over it, the shift is all that is left of a bias.
DEAD = 2.0**-900
_FIRST_IR_VERSION_WITH_DEFAULTS = 4
_ELEMENTS = 1 << 26  # of a constant expression; a crafted one must not ask for all the memory
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power,
}  # fmt: skip
_UNARY: dict[str, Callable[[Any], Any]] = {
    "Identity": np.asarray, "Neg": np.negative, "Sqrt": np.sqrt, "Abs": np.abs, "Reciprocal": np.reciprocal,
}  # fmt: skip
_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})


def is_standard(node: ir.Node) -> bool:
    """Whether a node is one of ONNX's own operators, with attributes that are all known."""
    return node.domain in {"", "ai.onnx"} and not any(one.is_ref() for one in node.attributes.values())


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of an attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def given(node: ir.Node, slot: int) -> ir.Value | None:
    """An input, or None where it is absent."""
    return node.inputs[slot] if slot < len(node.inputs) else None


def label_of(node: ir.Node) -> str:
    """What to call a node: its name, or else what it writes."""
    return node.name or next((value.name for value in node.outputs if value.name), node.op_type)


def name_of(value: ir.Value | None) -> str:
    """What a tensor is called; nothing where it is absent or has no name."""
    return (value.name if value is not None else "") or ""


def shape_of(value: ir.Value) -> tuple[int | None, ...] | None:
    """The sizes of a tensor, None where one is not known; None if nothing is."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def rank_of(value: ir.Value) -> int | None:
    """How many axes a tensor has."""
    return None if value.shape is None else len(value.shape)


class Constants:
    """The constants of a model: what is stored, and what is computed from that alone, as the operators do."""

    def __init__(self, model: ir.Model) -> None:
        self._overridable = model.ir_version >= _FIRST_IR_VERSION_WITH_DEFAULTS
        self._known: dict[ir.Value, Array | None] = {}

    def tensor(self, value: ir.Value | None) -> ir.TensorProtocol | None:
        """What is stored under a value, if it is a constant that is stored."""
        if value is None:
            return None
        if value.is_initializer():
            return None if value.is_graph_input() and self._overridable else value.const_value
        node = value.producer()
        if node is None or node.op_type != "Constant":
            return None
        tensor = node.attributes.get("value")
        return tensor.as_tensor() if tensor is not None and not tensor.is_ref() else None

    def array(self, value: ir.Value | None) -> Array | None:
        """The numbers of a constant, in their own type; None if it is none. Large ones are read anew each time."""
        if value is None:
            return None
        tensor = self.tensor(value)
        if tensor is not None:
            return None if tensor.dtype is ir.DataType.STRING else tensor.numpy()
        if value not in self._known:
            self._known[value] = None  # what reads itself is no constant
            self._known[value] = self._compute(value)
        return self._known[value]

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value is the same for every input of the model."""
        return value is not None and (self.tensor(value) is not None or self.array(value) is not None)

    def numbers(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """A constant of floats, in float64."""
        tensor = self.tensor(value)
        if tensor is not None and tensor.dtype not in _FLOATS:
            return None
        codes = codes_of(value, self)
        if codes is not None:
            return codes.numbers
        array = self.array(value)
        return None if array is None or array.dtype.kind in "iubOSU" else array.astype(np.float64)

    def _compute(self, value: ir.Value) -> Array | None:
        node = value.producer()
        if node is None or len(node.outputs) != 1 or not is_standard(node):
            return None
        if node.op_type == "Constant":
            return _constant(node)
        if node.op_type == "CastLike":  # of the second input only the type counts, which may be that of data
            return self._cast_like(node)
        inputs = [self.array(one) for one in node.inputs if one is not None]
        if not inputs or len(inputs) < len(node.inputs) or any(one is None for one in inputs):
            return None
        with np.errstate(all="ignore"):
            try:
                result = _evaluate(node, [one for one in inputs if one is not None])
            except (ValueError, TypeError, IndexError):
                return None
        return None if result is None else np.asarray(result)

    def _cast_like(self, node: ir.Node) -> Array | None:
        array, like = self.array(given(node, 0)), given(node, 1)
        dtype = None if like is None else like.dtype
        return None if array is None or dtype is None or dtype is ir.DataType.STRING else array.astype(dtype.numpy())


def _constant(node: ir.Node) -> Array | None:
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return np.asarray(node.attributes[name].value, kind)
    found = node.attributes.get("value_ints")
    return None if found is None else np.asarray(found.value, np.int64)


def _evaluate(node: ir.Node, inputs: list[Array]) -> Array | None:
    first, kind = inputs[0], node.op_type
    if kind in _UNARY:
        return np.asarray(_UNARY[kind](first), first.dtype)
    if kind in _BINARY and len(inputs) == 2:
        if np.broadcast(*inputs).size > _ELEMENTS or "axis" in node.attributes:
            return None
        return np.asarray(_BINARY[kind](*inputs), first.dtype)
    if kind == "DequantizeLinear" and len(inputs) > 1 and "output_dtype" not in node.attributes:
        return dequantised(node, inputs)
    if kind == "ConstantOfShape":
        fill = node.attributes.get("value")
        number = np.zeros(1, np.float32) if fill is None else fill.as_tensor().numpy()
        return np.broadcast_to(number.reshape(()), first.tolist()) if prod(first.tolist()) <= _ELEMENTS else None
    if kind == "Shape":
        return np.asarray(first.shape[attribute(node, "start", 0) : attribute(node, "end", None)], np.int64)
    if kind == "Expand" and len(inputs) > 1:
        shape = np.broadcast_shapes(first.shape, tuple(int(size) for size in inputs[1]))
        return np.broadcast_to(first, shape) if prod(shape) <= _ELEMENTS else None
    axes = [int(axis) for axis in inputs[1]] if len(inputs) > 1 else attribute(node, "axes", None)
    if kind == "Reshape" and len(inputs) > 1:
        return first.reshape([first.shape[i] if size == 0 else size for i, size in enumerate(axes or ())])
    if kind == "Unsqueeze" and axes is not None:
        return np.expand_dims(first, tuple(axes))
    if kind == "Squeeze":
        return np.squeeze(first, None if axes is None else tuple(axes))
    if kind == "Transpose":
        return np.transpose(first, attribute(node, "perm", None))
    if kind == "Cast":
        return first.astype(ir.DataType(attribute(node, "to", 1)).numpy())
    if kind == "Concat":
        return np.concatenate(inputs, attribute(node, "axis", 0))
    return None


def operand_of(node: ir.Node, constants: Constants) -> int | None:
    """Which input of an Add, Sub, Mul or Div is a constant, if one is and the other is not."""
    if node.op_type not in {"Add", "Sub", "Mul", "Div"} or len(node.inputs) != 2 or not is_standard(node):
        return None
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return None
    known = [slot for slot, value in enumerate(node.inputs) if constants.is_constant(value)]
    return known[0] if len(known) == 1 else None


def affine_of(node: ir.Node, constants: Constants, rank: int) -> Affine | None:
    """The affine map that a node is, ``DEAD`` where it multiplies by 0; None if it is none.

    Args:
        node: The node.
        constants: Those of its model.
        rank: How many axes its data have.
    """
    one = _affine_of(node, constants, rank)
    if one is None or one.scale.all():
        return one
    return Affine(np.where(one.scale == 0, DEAD, one.scale), one.shift)


def has_dead(one: Affine) -> bool:
    """Whether a map has to do with a channel that is constant."""
    with np.errstate(all="ignore"):
        return not bool(((np.abs(one.scale) > DEAD**0.5) & (np.abs(one.scale) < DEAD**-0.5)).all())


def _affine_of(node: ir.Node, constants: Constants, rank: int) -> Affine | None:
    if not is_standard(node):
        return None
    one, zero = np.ones((1,) * rank), np.zeros((1,) * rank)
    if node.op_type == "BatchNormalization":
        parameters = [constants.numbers(given(node, slot)) for slot in range(1, 5)]
        if any(array is None or array.ndim != 1 for array in parameters) or not is_inference(node):
            return None
        scale, bias, mean, var = (array for array in parameters if array is not None)
        return Affine.from_batch_norm(scale, bias, mean, var, float(attribute(node, "epsilon", _EPSILON)), rank=rank)
    if node.op_type == "Neg":
        return Affine(-one, zero)
    slot = operand_of(node, constants)
    number = None if slot is None else constants.numbers(node.inputs[slot])
    if number is None or number.ndim > rank:
        return None
    number = number.reshape((1,) * (rank - number.ndim) + number.shape)
    if node.op_type == "Add":
        return Affine(one, number)
    if node.op_type == "Mul":
        return Affine(number, zero)
    if node.op_type == "Sub":
        return Affine(one, -number) if slot == 1 else Affine(-one, number)
    with np.errstate(divide="ignore"):
        return Affine(1 / number, zero) if slot == 1 else None


def is_inference(node: ir.Node) -> bool:
    """Whether a BatchNormalization uses the statistics that it was given."""
    if attribute(node, "training_mode", 0) or attribute(node, "spatial", 1) == 0:
        return False
    return not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])

"""Einsum with constant weights, and MatMul with weights of more than two axes: each weight may have a scale of its own.

    "bhnd,hde->bhne"   the axes of the weights: h of both, d that is summed over, e of the output alone

A row is one position along the axes that the output keeps; its inputs are those that are summed over.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.linear import Linear
from bnfold.verifying.certificate.reading import attribute, given, is_standard, rank_of, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.hypotheses import Hypothesis, Reach
    from bnfold.verifying.certificate.reading import Constants

    Array = NDArray[Any]
    Numbers = NDArray[np.float64]

__all__ = ["Contraction", "contraction_of"]


@dataclass(frozen=True)
class Contraction(Linear):
    """A product that sums over axes which have names.

    Attributes:
        data_axes: A letter for each axis of the data.
        weight_axes: The same of the weights.
        output_axes: The same of the output.
        sizes: Of the weights' axes.
    """

    data_axes: str = ""
    weight_axes: str = ""
    output_axes: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def has_bias_slot(self) -> bool:
        """There is none."""
        return False

    @property
    def hands_on(self) -> bool:
        """Whether nothing is summed over."""
        return not self._summed

    @property
    def data(self) -> ir.Value | None:
        """The input that is no weight."""
        return self.node.inputs[1 - self.weight]

    @property
    def _kept(self) -> str:
        return "".join(axis for axis in self.output_axes if axis in self.weight_axes)

    @property
    def _summed(self) -> str:
        return "".join(axis for axis in self.weight_axes if axis not in self.output_axes)

    def _size(self, axes: str) -> list[int]:
        return [self.sizes[self.weight_axes.index(axis)] for axis in axes]

    def rows(self, array: Array) -> Array:
        """Stored weights as [outputs, inputs, 1]."""
        order = [self.weight_axes.index(axis) for axis in self._kept + self._summed]
        return array.transpose(order).reshape(math.prod(self._size(self._kept)), -1, 1)

    def incoming(self, one: Affine, outputs: int, inputs: int) -> tuple[Numbers, Numbers] | None:
        """The scale and the shift of what each weight is multiplied by, as [outputs, inputs]."""
        if one.rank != len(self.data_axes):
            return None
        if any(self.data_axes[axis] not in self.weight_axes for axis in one.axes):
            return None
        axes = self._kept + self._summed
        shared = [axis for axis in axes if axis in self.data_axes]

        def spread(array: Numbers) -> Numbers:
            others = tuple(place for place, axis in enumerate(self.data_axes) if axis not in shared)
            left = "".join(axis for axis in self.data_axes if axis in shared)
            moved = array.squeeze(others).transpose([left.index(axis) for axis in shared])
            sizes = dict(zip(shared, moved.shape, strict=True))
            moved = moved.reshape([sizes.get(axis, 1) for axis in axes])
            return np.broadcast_to(moved, self._size(axes)).reshape(outputs, inputs)

        try:
            return spread(one.scale), spread(one.shift)
        except ValueError:  # sizes that do not fit
            return None

    def outgoing(self, scale: Numbers, shift: Numbers, rank: int) -> Affine:
        """The map of the output."""
        sizes = [self._size(axis)[0] if axis in self.weight_axes else 1 for axis in self.output_axes]
        return Affine(scale.reshape(sizes), shift.reshape(sizes))

    def along(self, ahead: Reach, outputs: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """What a scale, and a shift, for each row may be."""
        return ahead.spread(tuple(self._size(axis)[0] if axis in self.weight_axes else 1 for axis in self.output_axes))

    def bias(self, constants: Constants, outputs: int) -> Numbers:
        """Nothing is added."""
        return np.zeros(outputs)


def contraction_of(node: ir.Node, constants: Constants) -> Contraction | None:
    """The contraction that a node is; None if it is none of one constant and one tensor."""
    if not is_standard(node) or len(node.inputs) != 2:
        return None
    weights = [slot for slot in (0, 1) if constants.is_constant(node.inputs[slot])]
    if len(weights) != 1:
        return None
    array = constants.array(node.inputs[weights[0]])
    axes = _of_einsum(node) if node.op_type == "Einsum" else _of_matmul(node, constants)
    if array is None or axes is None:
        return None
    terms, output = axes
    own, data = terms[weights[0]], terms[1 - weights[0]]
    sums = [axis for axis in data if axis not in output and axis not in own]
    is_plain = all(len(set(one)) == len(one) for one in (own, data, output)) and len(own) == array.ndim
    if not is_plain or sums or any(axis not in own + data for axis in output):
        return None
    if any(axis not in output + data for axis in own):  # summed over in the weights alone
        return None
    return Contraction(
        node, weights[0], 1, -1, -1, data_axes=data, weight_axes=own, output_axes=output, sizes=array.shape
    )


def _of_einsum(node: ir.Node) -> tuple[list[str], str] | None:
    equation = attribute(node, "equation", "")
    text = (equation.decode() if isinstance(equation, bytes) else str(equation)).replace(" ", "")
    terms, arrow, output = text.partition("->")
    inputs = terms.split(",")
    if "." in text or len(inputs) != 2:
        return None
    if not arrow:
        output = "".join(sorted(axis for axis in set("".join(inputs)) if "".join(inputs).count(axis) == 1))
    return inputs, output


def _of_matmul(node: ir.Node, constants: Constants) -> tuple[list[str], str] | None:
    """The axes of a MatMul as letters; None where one of them is repeated for the other operand."""
    ranks = [_rank(given(node, slot), constants) for slot in (0, 1)]
    shapes = [_shape(given(node, slot), constants) for slot in (0, 1)]
    if node.op_type != "MatMul" or any(rank is None or rank < 2 for rank in ranks) or max(ranks) > 20:  # type: ignore[type-var, operator]
        return None
    batch = max(ranks) - 2  # type: ignore[type-var, operator]
    letters = string.ascii_lowercase[:batch]
    stacks = [letters[batch - (rank - 2) :] for rank in ranks]  # type: ignore[operator]
    for axis in letters:
        found = [shape[stack.index(axis)] for shape, stack in zip(shapes, stacks, strict=True) if axis in stack]
        if len(found) == 2 and found[0] != found[1]:  # one is repeated, or it is not known
            return None
    return [stacks[0] + "yz", stacks[1] + "zx"], letters + "yx"


def _rank(value: ir.Value | None, constants: Constants) -> int | None:
    array = constants.array(value)
    return array.ndim if array is not None else None if value is None else rank_of(value)


def _shape(value: ir.Value | None, constants: Constants) -> tuple[int | None, ...]:
    array = constants.array(value)
    return tuple(array.shape) if array is not None else (None if value is None else shape_of(value)) or ()

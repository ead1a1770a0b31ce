"""Operators with constant weights in one form: Conv, ConvTranspose, Gemm and MatMul.

Weights become [outputs, inputs of a group, taps]; a row is an output channel. ``contraction.py`` and ``recurrent.py``
have other operators in this form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.reading import attribute, given, is_standard

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.hypotheses import Hypothesis, Reach
    from bnfold.verifying.certificate.reading import Constants

    Array = NDArray[Any]
    Numbers = NDArray[np.float64]

__all__ = ["Linear", "product_of"]


@dataclass(frozen=True)
class Linear:
    """A linear operator.

    Attributes:
        node: It.
        weight: Which input holds the weights.
        group: How many groups the channels fall into.
        in_axis: The axis of the input that is summed over.
        out_axis: The axis of the output that the rows are.
        alpha: Times the weights.
        beta: Times the bias.
        pads: Whether zeros may be read beside the input, or cells of the output may sum fewer taps than others.
    """

    node: ir.Node
    weight: int
    group: int
    in_axis: int
    out_axis: int
    alpha: float = 1.0
    beta: float = 1.0
    pads: bool = False

    @property
    def has_bias_slot(self) -> bool:
        """Whether the operator has a place for a bias."""
        return self.node.op_type != "MatMul"

    @property
    def hands_on(self) -> bool:
        """Whether each output channel reads one input channel alone, so that any scale could be made up for behind."""
        weight = self.node.inputs[self.weight]
        shape = None if weight is None else weight.shape
        return self.node.op_type in {"Conv", "ConvTranspose"} and self.group > 1 and shape is not None and shape[1] == 1

    @property
    def pins(self) -> bool:
        """Whether what is written has to be what it was, whatever reads it."""
        return False

    @property
    def bias_slot(self) -> int:
        """Which input holds the bias, where there is a place for one."""
        return 2

    @property
    def data(self) -> ir.Value | None:
        """The input that is no weight."""
        return self.node.inputs[1 - self.weight if self.node.op_type == "MatMul" else 0]

    def rows(self, array: Array) -> Array:
        """Stored weights as [outputs, inputs of a group, taps]."""
        kind = self.node.op_type
        if kind == "Conv":
            return array.reshape(*array.shape[:2], -1)
        if kind == "ConvTranspose":
            inputs, outputs = array.shape[:2]
            grouped = array.reshape(self.group, inputs // self.group, outputs, -1)
            return grouped.transpose(0, 2, 1, 3).reshape(self.group * outputs, inputs // self.group, -1)
        is_turned = attribute(self.node, "transB", 0) if kind == "Gemm" else self.weight == 0
        return (array if is_turned else array.T)[:, :, None]

    def place(self, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
        """Where a number of ``rows`` is stored."""
        positions = self.rows(np.arange(math.prod(shape)).reshape(shape))
        return tuple(int(axis) for axis in np.unravel_index(int(positions[index]), shape))

    def incoming(self, one: Affine, outputs: int, inputs: int) -> tuple[Numbers, Numbers] | None:
        """The scale and the shift of what each weight is multiplied by, as [outputs, inputs of a group].

        None where they vary along another axis than the weights.
        """
        vectors = one.vectors(self.in_axis, inputs * self.group)
        if vectors is None:
            return None
        scale, shift = (np.repeat(one.reshape(self.group, -1), outputs // self.group, axis=0) for one in vectors)
        return scale, shift

    def outgoing(self, scale: Numbers, shift: Numbers, rank: int) -> Affine:
        """The map of the output, from a scale and a shift for each row."""
        return Affine.per_channel(scale, shift, rank=rank, axis=self.out_axis)

    def along(self, ahead: Reach, outputs: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """What a scale, and a shift, for each row may be."""
        return ahead.along(self.out_axis, outputs)

    @property
    def beside(self) -> tuple[int, ...]:
        """The inputs, beside weights and bias, that must be what they were."""
        return ()

    def changed_beside(self, constants: Constants, theirs: Linear, others: Constants) -> bool:
        """Whether a constant changed that neither weights nor bias are."""
        return False

    def bias_of(self, array: Array, outputs: int) -> Array:
        """A stored bias as one number for each row."""
        return np.broadcast_to(array.reshape(-1), (outputs,))

    def bias(self, constants: Constants, outputs: int) -> NDArray[np.float64] | None:
        """What is added to each output channel, beta included; None where it is no constant vector."""
        if self.node.op_type == "MatMul":
            return np.zeros(outputs)
        value = given(self.node, self.bias_slot)
        if value is None or self.beta == 0:
            return np.zeros(outputs)
        numbers = constants.numbers(value)
        if numbers is None or numbers.size not in {1, outputs} or (numbers.size > 1 and numbers.shape[-1] != outputs):
            return None
        return np.broadcast_to(self.beta * numbers.reshape(-1), (outputs,))


def product_of(node: ir.Node, constants: Constants) -> Linear | None:
    """The Conv, ConvTranspose, Gemm or MatMul that a node is; None if it is none, or its weights are no matrix."""
    if not is_standard(node) or len(node.inputs) < 2:
        return None
    kind = node.op_type
    if kind in {"Conv", "ConvTranspose"}:
        shape = _shape(node.inputs[1], constants)
        if shape is None or len(shape) < 3:
            return None
        group = int(attribute(node, "group", 1))
        if group < 1 or shape[0] % group:
            return None
        return Linear(node, 1, group, 1, 1, pads=_pads(node, shape))
    if kind == "Gemm" and len(_shape(node.inputs[1], constants) or ()) == 2:
        alpha, beta = (float(attribute(node, name, 1.0)) for name in ("alpha", "beta"))
        return Linear(node, 1, 1, 0 if attribute(node, "transA", 0) else 1, 1, alpha, beta)
    if kind == "MatMul":
        for slot, axis in ((1, -1), (0, -2)):
            is_weight = len(_shape(node.inputs[slot], constants) or ()) == 2
            if is_weight and not constants.is_constant(node.inputs[1 - slot]):
                return Linear(node, slot, 1, axis, axis)
    return None


def _shape(value: ir.Value | None, constants: Constants) -> tuple[int, ...] | None:
    tensor = constants.tensor(value)
    if tensor is not None:
        return tuple(int(size) for size in tensor.shape.numpy())
    array = constants.array(value)
    return None if array is None else array.shape


def _pads(node: ir.Node, shape: tuple[int, ...]) -> bool:
    if attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or any(attribute(node, "pads", ())):
        return True
    return node.op_type == "ConvTranspose" and any(size != 1 for size in shape[2:])

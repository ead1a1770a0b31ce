"""Mul, Div, Add and Sub where one operand is a constant: each is an affine of the other operand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import required_input

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.shapes import Shape

__all__ = ["ConstantOperand", "check_growth", "find_constant_operand"]


@dataclass(frozen=True)
class ConstantOperand:
    """One operand is a constant, in float64; the other is the data.

    Attributes:
        node: A Mul, Div, Add or Sub.
        slot: Where the constant stands.
        array: Its value.
    """

    node: ir.Node
    slot: int
    array: NDArray[np.float64]

    @property
    def data(self) -> ir.Value:
        """The other operand."""
        return required_input(self.node, 1 - self.slot)

    def affine(self, rank: int) -> Affine | None:
        """What the node makes of data of ``rank`` axes; None for a constant divided by the data, or if not finite."""
        ones = (1,) * max(rank - self.array.ndim, 0)
        array = self.array.reshape(ones + self.array.shape)
        nothing, unit = np.zeros_like(array), np.ones_like(array)
        with np.errstate(all="ignore"):  # a division by 0 gives infinity
            affine = {
                ("Add", 0): Affine(unit, array),
                ("Add", 1): Affine(unit, array),
                ("Sub", 0): Affine(-unit, array),
                ("Sub", 1): Affine(unit, -array),
                ("Mul", 0): Affine(array, nothing),
                ("Mul", 1): Affine(array, nothing),
                ("Div", 1): Affine(1 / array, nothing),
            }.get((self.node.op_type, self.slot))
        return affine if affine is not None and affine.is_finite else None

    def broadcasts_into(self, shape: Shape) -> bool:
        """Whether the result has the shape of the data, so that the affine is one of the data alone."""
        aligned = shape[len(shape) - self.array.ndim :]
        return self.array.ndim <= len(shape) and all(
            size in (1, dim) for size, dim in zip(self.array.shape, aligned, strict=True)
        )


def find_constant_operand(
    node: ir.Node, weight: Callable[[ir.Value | None], NDArray[np.float64] | None]
) -> ConstantOperand | None:
    """The constant operand of a node, or None when both (or all) are computed at run time.

    Args:
        node: A Mul, Div, Add or Sub.
        weight: Gives the value of a floating-point constant, or None.
    """
    for slot in (1, 0):
        array = weight(required_input(node, slot))
        if array is not None:
            return ConstantOperand(node, slot, array)
    return None


def check_growth(new: NDArray[np.float64], old: NDArray[np.float64], *affines: Affine) -> None:
    """A constant may grow to one number a channel, but [H, W] times [C, 1, 1] would be C times as large.

    Raises:
        Blocked: It would.
    """
    most = max(old.size, *(array.size for affine in affines for array in (affine.scale, affine.shift)))
    if new.size > most:
        raise Blocked(f"would see its constant grow from {old.size} to {new.size} numbers")

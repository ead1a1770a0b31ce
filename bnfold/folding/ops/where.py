"""Where."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.broadcasting import without_leading_ones

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.affine import Affine
    from bnfold.folding.reexpression import Reexpression
    from bnfold.folding.view import View

__all__ = ["WhereRule"]

_BRANCHES = (1, 2)


class WhereRule:
    """Carries any affine, either way, that is the same in both branches. A branch that is a constant takes it in.

    Drawing:
        Where(c, a, b) → scale·y + shift   ⇔   Where(c, scale·a + shift, scale·b + shift) → y

    Algebra:
        Each number of y is one of a or of b, so that an affine of all three goes through. A constant b becomes
        scale·b + shift, or (b − shift)/scale in front. A 0 stays 0 where there is no shift, and −∞ stays −∞ where the
        scale is positive.

    Conditions:
        1. The branches have as many axes as the output, and along those on which the affine varies as many indices.
        2. A constant does not grow, but to one number a channel.
        3. Where a channel becomes a constant in front of it, a constant branch already is that constant.

    Source:
        https://onnx.ai/onnx/operators/onnx__Where.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Where"})
    data_slots: ClassVar[frozenset[int]] = frozenset(_BRANCHES)
    examples: ClassVar[tuple[str, ...]] = (
        """
        two_branches (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, float[3] scale, float[3] bias, float[3] mean,
                      float[3] var) => (float[N,3,5] y) {
            a = Conv (x, w)
            b = Conv (x, v)
            mask = Constant <value = bool[1,1,5] {1, 0, 1, 1, 0}> ()
            h = Where (mask, a, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        """
        masked (float[N,5,3] x, float[1] fill, float[4,5,1] w, float[5] scale, float[5] bias, float[5] mean,
                float[5] var) => (float[N,4,3] y) {
            mask = Constant <value = bool[1,1,3] {1, 0, 1}> ()
            h = BatchNormalization (x, scale, bias, mean, var)
            m = Where (mask, h, fill)
            y = Conv (m, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        constants = {slot: view.find_weight(required_input(node, slot)) for slot in _BRANCHES}
        runtime = [required_input(node, slot) for slot, constant in constants.items() if constant is None]
        known = next((known for value in (*runtime, node.outputs[0]) if (known := view.settled(value))), None)
        if known is None:
            return Answer()
        _check_axes(node, runtime, known, view)
        old = {slot: constant for slot, constant in constants.items() if constant is not None}
        new = {slot: _absorbed(constant, known) for slot, constant in old.items()}
        changed = {slot: constant for slot, constant in new.items() if constant is not old[slot]}
        carry = dict.fromkeys([*runtime, node.outputs[0]], known)
        return Answer(carry, (lambda: Rewrite(node, changed)) if changed else None)


def _check_axes(node: ir.Node, branches: list[ir.Value], known: Reexpression, view: View) -> None:
    axes = {axis for affine in (known.read, known.write) if affine is not None for axis in affine.axes}
    output = view.shape(node.outputs[0])
    for value in branches:
        shape = view.shape(value)
        if len(shape) != len(output):  # condition 1
            raise Blocked(f"broadcasts '{value.name}', which has {len(shape)} axes")
        if any(not isinstance(shape[axis], int) or shape[axis] != output[axis] for axis in axes):  # condition 1
            raise Blocked(f"broadcasts '{value.name}' along the channels, or may do so")


def _absorbed(constant: NDArray[np.float64], known: Reexpression) -> NDArray[np.float64]:
    """What the constant becomes; itself, if nothing changes."""
    new = _written(constant, known)
    if (new == constant).all():
        return constant
    affine = known.read or known.write
    most = max(constant.size, *(array.size for array in (affine.scale, affine.shift))) if affine else 0
    if new.size > most:  # condition 2
        raise Blocked(f"would see its constant grow from {constant.size} to {new.size} numbers")
    return without_leading_ones(new, constant.ndim)


def _written(constant: NDArray[np.float64], known: Reexpression) -> NDArray[np.float64]:
    """The constant, as the new content of the output has it."""
    if known.read is None:
        write = known.write
        return constant if write is None else _applied(write, constant)
    scale, shift = known.read.scale, known.read.shift
    dead = scale == 0
    if (dead & (constant != shift)).any():  # condition 3
        raise Blocked("has a constant in a channel of which the rest becomes another one")
    return np.where(dead, constant, (constant - shift) / np.where(dead, 1.0, scale))


def _applied(affine: Affine, constant: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the scale is 0, infinity is no exception."""
    dead = affine.scale == 0
    return np.where(dead, affine.shift, np.where(dead, 1.0, affine.scale) * constant + affine.shift)

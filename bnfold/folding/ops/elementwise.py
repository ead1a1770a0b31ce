"""What ops of one tensor that work on each number by itself have in common.

Where the scale of a channel is 0, the channel is a constant: the op turns a constant in front of it into one behind it,
and a constant that is wanted behind it must be one that it can write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import required_input
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["answer_elementwise", "check_no_negative_scale", "check_no_shift", "is_dead", "with_constants"]


def answer_elementwise(
    node: ir.Node, view: View, forward: Callable[[Affine], Affine], back: Callable[[Affine], Affine]
) -> Answer:
    """Demand of the output what follows from the first input, or the other way round.

    Args:
        node: The op; its first input and first output are the data.
        view: The plan at hand.
        forward: What the readers of the output must apply, given what the op must apply to its input.
        back: What the writer of the input must apply, given what the op should apply to its output.
    """
    data, output = required_input(node, 0), node.outputs[0]
    if view.settled(data) is not None:
        return Answer({output: Reexpression.from_read(forward(view.read(data)))})
    if view.settled(output) is not None:
        return Answer({data: Reexpression.from_write(back(view.write(output)))})
    return Answer()


def is_dead(affine: Affine) -> NDArray[np.bool_]:
    """Where a channel is the constant ``shift``."""
    dead: NDArray[np.bool_] = affine.scale == 0
    return dead


def with_constants(affine: Affine, scale: NDArray[np.float64], constants: NDArray[np.float64]) -> Affine:
    """``scale`` without a shift; the constants where ``affine`` is constant."""
    return Affine(scale, np.where(is_dead(affine), constants, 0.0))


def check_no_shift(affine: Affine) -> None:
    """Refuse a shift, but of a channel that is a constant.

    Raises:
        Blocked: There is one.
    """
    if ((affine.shift != 0) & ~is_dead(affine)).any():
        raise Blocked("carries no shift")


def check_no_negative_scale(affine: Affine) -> None:
    """Refuse a negative scale.

    Raises:
        Blocked: There is one.
    """
    negative = np.flatnonzero(affine.scale < 0)
    if negative.size:
        raise Blocked(
            f"carries no negative scale: channel {negative[0]} is negative "
            f"({negative.size} of {affine.scale.size} channels)"
        )

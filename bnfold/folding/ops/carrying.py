"""What the ops have in common that only move numbers about: a re-expression goes through with its axes moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.answers import Answer
from bnfold.folding.nodes import required_input

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

    Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]

__all__ = ["carry_through"]


def carry_through(node: ir.Node, view: View, forward: Move, back: Move) -> Answer:
    """Demand of the output what holds for the first input, or the other way round.

    Args:
        node: The op; its first input and first output are the data.
        view: The plan at hand.
        forward: Moves the axes of an array that broadcasts against the input, as the op moves those of the input.
        back: The inverse.
    """
    data, output = required_input(node, 0), node.outputs[0]
    known = view.settled(data)
    if known is not None:
        return Answer({output: known.map(forward)})
    known = view.settled(output)
    return Answer({data: known.map(back)} if known is not None else {})

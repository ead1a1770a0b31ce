"""What the ops have in common that only move numbers about: a re-expression goes through with its axes moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.nodes import find_input, integers, required_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.affine import Affine
    from bnfold.folding.view import View

    Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]

__all__ = ["affines_around", "carry_as_is", "carry_through", "check_free", "list_of_integers"]


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


def carry_as_is(node: ir.Node, view: View) -> Answer:
    """Demand of the output exactly what holds for the first input, or the other way round."""
    return carry_through(node, view, lambda array: array, lambda array: array)


def affines_around(node: ir.Node, view: View) -> Iterator[Affine]:
    """All maps that are known of the first input and of the first output, for a rule to check."""
    for value in (required_input(node, 0), node.outputs[0]):
        known = view.settled(value)
        for affine in (known.read, known.write) if known is not None else ():
            if affine is not None:
                yield affine


def check_free(affine: Affine, axes: Iterable[int], does: str) -> None:
    """Require that an affine does not vary along the axes on which an op mixes or picks cells.

    Args:
        affine: The affine.
        axes: Not negative.
        does: What the op does there, such as "pools".

    Raises:
        Blocked: It does vary.
    """
    if touched := sorted(affine.axes & frozenset(axes)):
        raise Blocked(f"{does} along the axes {touched}, along which the affine varies")


def list_of_integers(node: ir.Node, view: View, slot: int, name: str, since: int) -> list[int] | None:
    """A list such as the axes: an attribute before an opset, and an input since; None when it is absent.

    Raises:
        Blocked: It is computed at run time.
    """
    if view.opset(node) < since:
        return list(integers(node, name, ())) or None
    value = find_input(node, slot)
    if value is None:
        return None
    constant = view.constant(value)
    if constant is None:
        raise Blocked(f"has {name} that are computed at run time")
    return [int(number) for number in constant.reshape(-1)]

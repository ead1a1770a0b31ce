"""Mul and Div by a constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.answers import Blocked

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer, Choice
    from bnfold.folding.view import View

__all__ = ["answer_constant"]


def answer_constant(node: ir.Node, view: View) -> Answer | Choice:
    """What a product with one constant operand makes of the re-expressions around it.

    Raises:
        Blocked: Always, so far.
    """
    raise Blocked("multiplies by a constant")

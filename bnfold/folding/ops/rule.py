"""What a rule is: how one family of ops answers to tensors that are re-expressed around it.

A rule never changes a graph. It is asked with a ``View`` of the plan at hand, and either raises ``Blocked`` with the
condition that is broken, or gives an ``Answer``: which other tensors of the node must be re-expressed as well
(*carry*), and how the node's own constants are rewritten (*absorb*); or a ``Choice`` of several answers (*choose*). It
is asked again whenever one more of its tensors is re-expressed; the last answer counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.folding.answers import Answer, Choice
    from bnfold.folding.view import View

__all__ = ["Rule"]


class Rule(Protocol):
    """One family of ops. The docstring has a drawing, the algebra, the numbered conditions, and the source."""

    op_types: ClassVar[frozenset[str]]
    # The inputs through which the rule follows a tensor that is re-expressed. Read through any other, it blocks.
    data_slots: ClassVar[frozenset[int]]
    # Functions in ONNX text whose first input is the data and whose other inputs are the weights; in each, the rule
    # is needed to fold the BatchNormalization. The contract test of every rule is made from them.
    examples: ClassVar[tuple[str, ...]]

    def answer(self, node: ir.Node, view: View) -> Answer | Choice:
        """What the node makes of the re-expressions around it.

        Raises:
            Blocked: A condition is broken.
        """

"""What a rule may answer: that it agrees, on which terms or on which of several, or that it blocks, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.reexpression import Reexpression
    from bnfold.folding.scaling import Scaled

__all__ = ["Answer", "Blocked", "Choice", "Padding", "Rewrite"]


class Blocked(Exception):  # noqa: N818 - an answer, not an error; it never leaves the planner
    """A condition of a rule is broken. ``reason`` continues the sentence "Conv 'conv1' …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Padding:
    """What a new Pad in front of a node writes beyond the border of its first input.

    Attributes:
        pads: How many cells in front and behind, for each spatial axis.
        value: What is in them.
    """

    pads: tuple[tuple[int, int], ...]
    value: float


@dataclass(frozen=True)
class Rewrite:
    """How one node changes.

    Attributes:
        node: The node.
        constants: New constants by input slot, in float64; the stored dtype is that of what stood there, or else that
            of ``dtype_slot``.
        dtype_slot: The input whose dtype a constant in an empty slot gets.
        op_type: The op that the node becomes, if another.
        attributes: Attributes to set.
        bias_behind: A constant that a new Add behind the node adds to its first output, or None.
        padding: What a new Pad in front of the node does to its first input, or None.
    """

    node: ir.Node
    constants: Mapping[int, NDArray[np.float64] | Scaled]
    dtype_slot: int = 1
    op_type: str | None = None
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict)
    bias_behind: NDArray[np.float64] | None = None
    padding: Padding | None = None


@dataclass(frozen=True)
class Answer:
    """A node agrees.

    Attributes:
        carry: What it asks of its other tensors.
        rewrite: Computes how its constants change, once the plan is complete; None when they do not.
        new_nodes: How many nodes the rewrite adds.
        is_default: It assumes that tensors nobody has asked about yet stay as they are, and asks them to. It counts
            only when nothing else is open: given early, it would contradict a later demand on them.
    """

    carry: Mapping[ir.Value, Reexpression] = field(default_factory=dict)
    rewrite: Callable[[], Rewrite] | None = None
    new_nodes: int = 0
    is_default: bool = False


@dataclass(frozen=True)
class Choice:
    """A node agrees in more than one way: a sum may hand a shift on to either of its operands.

    Attributes:
        options: The ways, the one that is likely to cost least first.
    """

    options: tuple[Answer, ...]

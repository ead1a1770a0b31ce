"""What a rule may ask: the facts of the model, and the re-expressions of the plan at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bnfold.affine import Affine
from bnfold.folding.answers import Blocked

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.facts import Facts
    from bnfold.folding.reexpression import Reexpression
    from bnfold.folding.scaling import Scaled
    from bnfold.folding.shapes import Shape

__all__ = ["Footprint", "View", "channels"]


@dataclass
class Footprint:
    """What the outcome of a search depends on.

    Attributes:
        nodes: Those that were asked.
        saw_new_nodes: Whether a rule asked if a node may be added.
        is_lasting: Whether a shape was known wherever it was asked for: one that is not known may be so later.
    """

    nodes: set[ir.Node] = field(default_factory=set)
    saw_new_nodes: bool = False
    is_lasting: bool = True


class View:
    """The facts, and what has been settled so far. A tensor that nobody re-expressed keeps its content."""

    def __init__(
        self,
        facts: Facts,
        settled: Mapping[ir.Value, Reexpression],
        *,
        new_nodes_allowed: bool = False,
        repairs_allowed: bool = False,
        is_final: bool = True,
        footprint: Footprint | None = None,
    ) -> None:
        self._facts = facts
        self._settled = settled
        self._new_nodes_allowed = new_nodes_allowed
        self.repairs_allowed = repairs_allowed
        self._footprint = footprint or Footprint()
        # Until a default counts it may leave out what it asks and how it rewrites: more may be settled by then.
        self.is_final = is_final

    @property
    def new_nodes_allowed(self) -> bool:
        """Whether a plan may add a node."""
        self._footprint.saw_new_nodes = True
        return self._new_nodes_allowed

    def settled(self, value: ir.Value) -> Reexpression | None:
        """The re-expression of a tensor, or None while it is open."""
        return self._settled.get(value)

    def read(self, value: ir.Value) -> Affine:
        """What a reader of the tensor must apply to get the old content.

        Raises:
            Blocked: A scale is 0, and the old content is lost.
        """
        known = self._settled.get(value)
        if known is None:
            return Affine.identity(self.rank(value))
        if known.read is None:
            raise Blocked(f"also reads '{value.name}', of which the fold leaves only a constant where the scale is 0")
        return known.read

    def write(self, value: ir.Value) -> Affine:
        """What the writer of the tensor must apply to the old content.

        Raises:
            Blocked: Only a reader can be told that a channel is constant.
        """
        known = self._settled.get(value)
        if known is None:
            return Affine.identity(self.rank(value))
        if known.write is None:
            raise Blocked(f"also writes '{value.name}', whose old content cannot be had where the scale is 0")
        return known.write

    def why_pinned(self, value: ir.Value) -> str | None:
        """Why the tensor may never be re-expressed: what else it is, or None."""
        return self._facts.why_pinned(value)

    def rank(self, value: ir.Value) -> int:
        """How many axes the tensor has.

        Raises:
            Blocked: That is not known.
        """
        return len(self.shape(value))

    def shape(self, value: ir.Value) -> Shape:
        """The shape of the tensor: numbers, symbols, and None for what is not known.

        Raises:
            Blocked: Not even the number of axes is known.
        """
        shape = self._facts.shapes[value]
        if shape is None:
            self._footprint.is_lasting = False
            raise Blocked(f"touches '{value.name}', whose number of axes is not known")
        return shape

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a tensor, as far as it is known."""
        return self._facts.shapes.dtype(value)

    def weight(self, value: ir.Value | None, what: str) -> NDArray[np.float64]:
        """A constant in float64.

        Raises:
            Blocked: It is computed at run time, may be replaced by the caller, or is no floating-point tensor.
        """
        weight = self.find_weight(value)
        if weight is None:
            raise Blocked(f"has {what} that is not a floating-point constant")
        return weight

    def find_weight(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """A constant in float64, or None."""
        return self._facts.constants.weight(value)

    def scaled(self, value: ir.Value, *factors: NDArray[np.float64]) -> Scaled:
        """A constant times factors that broadcast against it, computed when it is needed.

        Raises:
            ValueError: It is no constant; ask before.
        """
        scaled = self._facts.constants.scaled(value)
        if scaled is None:
            raise ValueError(f"'{value.name}' is no floating-point constant")
        return scaled.times(*factors)

    def weight_shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The shape of a floating-point constant, or None."""
        return self._facts.constants.weight_shape(value)

    def numbers(self, value: ir.Value | None) -> NDArray[np.float64] | None:
        """What a constant or a quantised weight amounts to in float64, or None: to be read, and never to be stored."""
        return self._facts.constants.numbers(value)

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """A constant of any type, such as a list of axes, or None."""
        return self._facts.constants.array(value)

    def opset(self, node: ir.Node) -> int:
        """The version of the ONNX operators where the node stands."""
        return self._facts.opset(node)


def channels(affine: Affine, axis: int, size: int, tensor: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift as vectors along the one axis that an op has weights for.

    Raises:
        Blocked: The affine varies along another axis.
    """
    vectors = affine.vectors(axis, size)
    if vectors is None:
        axes = ", ".join(map(str, sorted(affine.axes)))
        raise Blocked(
            f"has weights along axis {axis % affine.rank} of its {tensor}, but the affine varies along {axes}"
        )
    return vectors

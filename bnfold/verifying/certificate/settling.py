"""Which maps hold: where a weight is off, the map of its output must hold for another reason than that weight.

The map of a tensor is *confirmed* in its scale or its shift where something behind it allows no other: right weights
that read it, an output of the graph, an operator that lets only the identity pass, or, for a shift, one that lets only
0 pass. What has a choice of its own (a factor, a depthwise Conv, a sum for its shifts) hands the question on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.verifying.certificate.carrying import is_carrier
from bnfold.verifying.certificate.hypotheses import PICKERS
from bnfold.verifying.certificate.reading import attribute, given

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.affine import Affine
    from bnfold.verifying.certificate.hypotheses import Reach
    from bnfold.verifying.certificate.linear import Linear
    from bnfold.verifying.certificate.pairing import Pairs
    from bnfold.verifying.certificate.reading import Constants
    from bnfold.verifying.certificate.result import WeightCheck

__all__ = ["UNSETTLED", "Draft", "Settler", "Visit", "has_bodies"]

UNSETTLED = ir.Value(name="unsettled")  # the origin of a map that is an assumption

_PINS = frozenset({"Celu", "Elu", "Gelu", "HardSwish", "Mish", "Softplus", "Swish"})
_SHIFTLESS = frozenset({"Relu", "LeakyRelu", "PRelu", "Pad"})


@dataclass
class Draft:
    """A check that waits to hear whether the maps around it hold.

    Attributes:
        check: What is known without that; its constant is empty where there is nothing to tell.
        is_off: Whether the numbers are not what the maps say.
        needs: What of the map behind must be confirmed for the check to be wrong: a ``scale``, a ``shift``.
        is_noise: Whether no scale behind would explain the numbers either.
        blocked: Why the numbers are not known.
    """

    check: WeightCheck
    is_off: bool
    needs: frozenset[str]
    is_noise: bool = False
    blocked: str = ""


@dataclass
class Visit:
    """What was found at a node with weights.

    Attributes:
        node: The reference's.
        data: The tensors that it reads.
        output: What it writes.
        reach: What lies behind it.
        drafts: One for each of its constants.
        linear: What it is, if that is a linear operator.
        is_blocked: Whether the maps do not say what its constants should be.
    """

    node: ir.Node
    data: list[ir.Value]
    output: ir.Value
    reach: Reach
    drafts: list[Draft] = field(default_factory=list)
    linear: Linear | None = None
    is_blocked: bool = False

    @property
    def is_right(self) -> bool:
        """Whether all of its constants are what the maps say, as near as a fold that rounds often has them."""
        return not self.is_blocked and not any(
            (draft.is_off and not draft.check.is_rounding) or draft.blocked for draft in self.drafts
        )

    @property
    def hands_on(self) -> bool:
        """Whether any scale in front could be made up for behind."""
        return self.linear is None or self.linear.hands_on


def has_bodies(node: ir.Node) -> bool:
    """Whether a node runs graphs of its own, which may read any tensor."""
    return any(one.type.name in {"GRAPH", "GRAPHS"} for one in node.attributes.values())


@dataclass
class Settler:
    """Answers whether a map is confirmed.

    Attributes:
        pairs: What stands where.
        maps: The map of each tensor.
        origins: The tensors behind weights that each map comes from.
        conflicts: Where a map arrived that does not pass.
        visits: All nodes with weights.
        constants: Those of the reference.
        has_dead: Whether a channel is constant somewhere: what leads to it may be anything then, whatever it passes.
    """

    pairs: Pairs
    maps: Mapping[ir.Value, Affine]
    origins: Mapping[ir.Value, set[ir.Value]]
    conflicts: set[ir.Node]
    visits: list[Visit]
    constants: Constants
    has_dead: bool
    confirmed: dict[ir.Value, frozenset[str]] = field(default_factory=dict)
    right: set[ir.Value] = field(default_factory=set)

    def settle(self) -> None:
        """Find what is confirmed; again and again, for one may confirm another."""
        wrong = {visit.output for visit in self.visits if not visit.is_right}
        self.right = {visit.output for visit in self.visits} - wrong
        self._by_node: dict[ir.Node, list[Visit]] = {}
        for visit in self.visits:
            self._by_node.setdefault(visit.node, []).append(visit)
        while True:
            found = {visit.output: self._confirmed(visit.output) for visit in reversed(self.visits)}
            if found == self.confirmed:
                return
            self.confirmed = found

    def is_settled(self, value: ir.Value, needs: frozenset[str] = frozenset({"scale", "shift"})) -> bool:
        """Whether the map of a tensor rests on weights that are right, or on maps that are confirmed."""
        origins = self.origins.get(value)
        return origins is not None and all(
            one in self.right or needs <= self.confirmed.get(one, frozenset()) for one in origins
        )

    def reaches(self, visit: Visit) -> list[Reach]:
        """What lies behind a node with weights, and behind those there that hand a map on."""
        found, waiting = [visit.reach], [visit]
        seen = {id(visit)}
        while waiting:
            for reader in waiting.pop().reach.readers:
                for other in self._by_node.get(reader, ()):
                    if id(other) not in seen and other.hands_on:
                        seen.add(id(other))
                        found.append(other.reach)
                        waiting.append(other)
        return found

    def _confirmed(self, start: ir.Value) -> frozenset[str]:
        found: set[str] = set()
        seen: set[tuple[ir.Value, frozenset[str]]] = set()
        waiting = [(start, frozenset({"scale", "shift"}))]
        while waiting and len(found) < 2:
            value, open_ = waiting.pop()
            if (value, open_) in seen or not open_:
                continue
            seen.add((value, open_))
            one = self.maps.get(value)
            if one is None or np.isnan(one.scale).any() or np.isnan(one.shift).any():
                continue
            if self.pairs.is_output(value) and one.is_identity:
                found |= open_
            for use in value.uses():
                said, outputs, further = self._ask(use.node, value, one, open_)
                found |= said
                waiting += [(output, further) for output in outputs]
        return frozenset(found)

    def _ask(
        self, node: ir.Node, value: ir.Value, one: Affine, open_: frozenset[str]
    ) -> tuple[frozenset[str], list[ir.Value], frozenset[str]]:
        """What a reader says, and where to go on asking for what."""
        nothing: frozenset[str] = frozenset()
        outputs = list(node.outputs)
        if node in self.pairs.removed:
            return nothing, outputs, open_
        if node not in self.pairs.nodes or node in self.conflicts or has_bodies(node):
            return nothing, [], nothing
        if node in self._by_node:
            return self._ask_weights(self._by_node[node], one, open_), [], nothing
        if self._pins(node) and one.is_identity:
            return open_, [], nothing
        if not is_carrier(node, self.constants) or node.op_type in PICKERS:
            return nothing, [], nothing
        if node.op_type in _SHIFTLESS:
            return open_ & {"shift"}, outputs, open_ & {"scale"}
        others = [other for other in node.inputs if other is not value and other is not None]
        if node.op_type in {"Add", "Sub", "Sum"}:
            sure = node.inputs.count(value) == 1 and all(self.is_settled(other) for other in others)
            return nothing, outputs, open_ if sure else open_ & {"scale"}
        if node.op_type == "Mul":
            sure = node.inputs.count(value) == 1 and all(
                other in self.maps and self.maps[other].is_identity and self.is_settled(other) for other in others
            )
            return nothing, outputs, open_ if sure else nothing
        return nothing, outputs, open_

    def _ask_weights(self, visits: list[Visit], one: Affine, open_: frozenset[str]) -> frozenset[str]:
        said: set[str] = set()
        if any(visit.linear is not None and visit.linear.pads for visit in visits) and not one.shift.any():
            said |= {"shift"}
        if any(not visit.is_right for visit in visits):
            return open_ & said
        last = visits[-1]
        if last.hands_on:
            said |= self.confirmed.get(last.output, frozenset())
        else:
            said |= {"scale", "shift"} if last.linear is not None and last.linear.has_bias_slot else {"scale"}
        return open_ & said

    def _pins(self, node: ir.Node) -> bool:
        if self.has_dead:
            return False
        if node.op_type in _PINS:
            return node.domain == ""
        if node.op_type != "Clip":
            return False
        limits = [self.constants.numbers(given(node, slot)) for slot in (1, 2)]
        low, high = (attribute(node, name, limit) for name, limit in zip(("min", "max"), limits, strict=True))
        return low is not None and high is not None and bool(-np.inf < np.min(low) < np.max(high) < np.inf)

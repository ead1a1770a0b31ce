"""What the recomputed weights come to: which are certified, which wrong, and which nobody can tell.

A number that is not the rounded one is *wrong* only where the reference leaves no other choice: the map in front is
settled by weights that are right, and the map behind too, or by an operator that lets no other pass (``settling.py``).
Otherwise it is not certified, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bnfold.verifying.certificate.carrying import is_carrier
from bnfold.verifying.certificate.overlooked import is_same
from bnfold.verifying.certificate.reading import given, has_dead, label_of, name_of
from bnfold.verifying.certificate.result import Finding, WeightCheck
from bnfold.verifying.certificate.settling import Settler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir

    from bnfold.affine import Affine
    from bnfold.verifying.certificate.pairing import Pairs
    from bnfold.verifying.certificate.reading import Constants
    from bnfold.verifying.certificate.settling import Draft, Visit

__all__ = ["BY_DEAD", "NO_BIAS", "Solution"]

NO_BIAS = "its bias, which it does not have,"
BY_DEAD = "a channel in front of it or behind it is constant (scale 0)"


@dataclass(frozen=True, eq=False)
class Solution:
    """All that was found on the way through the graph.

    Attributes:
        graph: Of the reference.
        pairs: What is the same in both models.
        constants: Of the reference.
        others: Of the candidate.
        maps: For each tensor, how the candidate's becomes the reference's.
        origin: The settled tensors that a map comes from.
        visits: The nodes with weights, in order, with what became of each weight.
        conflicts: Where a map arrived that does not pass.
        arrived: Those of them that are as they were.
        has_dead: Whether a scale is 0.
    """

    graph: ir.Graph
    pairs: Pairs
    constants: Constants
    others: Constants
    maps: Mapping[ir.Value, Affine]
    origin: Mapping[ir.Value, set[ir.Value]]
    visits: list[Visit]
    conflicts: set[ir.Node]
    arrived: Sequence[ir.Node]
    has_dead: bool

    def conclude(self) -> list[WeightCheck]:
        """The checks of all weights that changed or should have, and of what no weight has taken in."""
        return [*self._judged(), *self._unabsorbed(), *self._stopped()]

    def _judged(self) -> Iterator[WeightCheck]:
        settler = Settler(
            self.pairs, self.maps, self.origin, self.conflicts, self.visits, self.constants, self.has_dead
        )
        settler.settle()
        for visit in self.visits:
            in_front = all(self._is_settled_in_front(settler, visit, value) for value in visit.data)
            is_pinned = visit.linear is not None and visit.linear.pins
            behind = frozenset({"scale", "shift"}) if is_pinned else settler.confirmed[visit.output]
            weights_hold = not any(draft.is_off and "scale" in draft.needs for draft in visit.drafts)
            if weights_hold:
                behind |= {"scale"}
            ahead = settler.reaches(visit)
            is_lost = any(one.is_lost for one in ahead)
            is_dead = any(one.is_dead for one in ahead) or any(map(self._is_dead, visit.data))
            for draft in visit.drafts:
                if draft.check.constant:
                    holds = draft.needs <= behind
                    yield self._finding(draft, visit, in_front=in_front, behind=holds, is_lost=is_lost, is_dead=is_dead)

    def _is_dead(self, value: ir.Value) -> bool:
        one = self.maps[value]
        return has_dead(one) or bool(np.isnan(one.shift).any())

    def _is_settled_in_front(self, settler: Settler, visit: Visit, value: ir.Value) -> bool:
        if value is not visit.output:
            return settler.is_settled(value)
        # a new term: in front of it is what the node itself does
        before = [other for other in self.visits if other.output is value and other is not visit]
        sources = [one for one in visit.node.inputs if one is not None and one in self.maps]
        return visit.node not in self.conflicts and all(
            other.is_right and other.linear is not None for other in before
        ) and all(settler.is_settled(one) for one in sources)  # fmt: skip

    def _finding(
        self, draft: Draft, visit: Visit, *, in_front: bool, behind: bool, is_lost: bool, is_dead: bool
    ) -> WeightCheck:
        other = self.pairs.nodes.get(visit.node)
        sites = tuple(label_of(node) for node in self._sites(visit))
        check = replace(draft.check, sites=sites, is_changed=self._is_changed(visit.node, other, draft.check.constant))
        if other is not None and other.op_type == check.op_type:
            check = replace(check, node=label_of(visit.node))  # as the reference calls it
        if draft.blocked:
            return replace(check, finding=Finding.OPEN, reason=draft.blocked)
        if not draft.is_off:
            return check
        if is_lost:
            reason = "an operator behind it is not in the candidate as it was"
        elif is_dead:
            reason = BY_DEAD
        elif not in_front:
            reason = "the weights in front of it are not certified"
        elif not behind and not draft.is_noise:
            reason = "what reads its output does not tell how that was to change"
        else:
            return replace(check, finding=Finding.WRONG)
        return replace(check, finding=Finding.OPEN, reason=reason)

    def _is_changed(self, node: ir.Node, other: ir.Node | None, constant: str) -> bool:
        """Whether a constant of the candidate has other bytes than in the reference."""
        if constant == NO_BIAS:
            return other is None or sum(map(bool, map(name_of, node.inputs))) > sum(
                map(bool, map(name_of, other.inputs))
            )
        slots = (
            [] if other is None else [slot for slot, value in enumerate(other.inputs) if constant in _sources(value)]
        )
        return not slots or not all(
            is_same(self.constants.array(given(node, slot)), self.others.array(given(other, slot)))  # type: ignore[arg-type]
            for slot in slots
        )

    def _sites(self, visit: Visit) -> list[ir.Node]:
        """The affines that are gone, next to a node: the nearest behind it, or else the nearest in front."""
        behind = visit.reach.sites[:1]
        node = visit.data[0].producer() if visit.data else None
        while node is not None and not behind:
            if node in self.pairs.removed:
                return [node]
            if not is_carrier(node, self.constants) or len(node.inputs) == 0 or node.inputs[0] is None:
                break
            node = node.inputs[0].producer()
        return behind

    def _unabsorbed(self) -> Iterator[WeightCheck]:
        """Outputs of the graph that are not what they were, although all weights are as they should be."""
        if self.pairs.lost or self.pairs.replaced or self.conflicts or any(not visit.is_right for visit in self.visits):
            return
        for value in self.graph.outputs:
            one = self.maps.get(value)
            if one is not None and self.pairs.is_output(value) and not one.is_identity and not self._is_dead(value):
                sites = [node for visit in self.visits for node in visit.reach.sites if value in visit.reach.tensors]
                yield WeightCheck(
                    value.name or "", "output", "what it is multiplied by or what is added", Finding.WRONG,
                    reason="lost: no weight has taken it in", sites=tuple(dict.fromkeys(map(label_of, sites))),
                )  # fmt: skip

    def _stopped(self) -> Iterator[WeightCheck]:
        """Operators of which the inputs changed by more than they let pass, and that did not change themselves."""
        for node in self.arrived:
            yield WeightCheck(
                label_of(node), node.op_type, "what it reads", Finding.OPEN, is_changed=False,
                reason="it changed by a scale or a shift, which the certificate does not know to pass",
            )  # fmt: skip


def _sources(value: ir.Value | None) -> set[str]:
    """What a constant is called, and what it is dequantised from."""
    node = None if value is None else value.producer()
    parts = node.inputs if node is not None and node.op_type == "DequantizeLinear" else ()
    return {name_of(one) for one in (value, *parts)}

"""What blocked an affine is remembered until something changes that had a say in it.

A model is gone through again and again, since each fold may free the way for another; but a fold changes a few nodes,
and most of what was blocked is so still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

    from bnfold.folding.facts import Facts
    from bnfold.folding.planning import Plan
    from bnfold.folding.result import Attempt
    from bnfold.folding.sites import Site
    from bnfold.folding.view import Footprint

__all__ = ["Memory"]

# Rules look further up than to the next node where these hand on what another op wrote.
_HAND_ON = frozenset(
    {"Cast", "Dropout", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


class Memory:
    """The outcome of searches that failed, each with the nodes that were asked."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._changes = 0
        self._changed: dict[ir.Node, int] = {}  # at which change a node, or something beside it, changed last
        self._failed: dict[tuple[Site, bool], tuple[int, tuple[ir.Node, ...], tuple[Attempt, ...]]] = {}

    def recall(self, site: Site, *, new_nodes_allowed: bool, changes: int) -> tuple[Attempt, ...] | None:
        """What blocked a site, if that is so still.

        Args:
            site: The affine.
            new_nodes_allowed: As it would be searched now.
            changes: How often the model was changed so far. If that was not always told, nothing is taken for certain.
        """
        if changes != self._changes:
            self._changes = changes
            self._failed.clear()
        then, asked, attempts = self._failed.get((site, new_nodes_allowed), (-1, (), ()))
        is_certain = then >= 0 and all(self._changed.get(node, -1) <= then for node in asked)
        return attempts if is_certain else None

    def note(self, site: Site, footprint: Footprint, attempts: tuple[Attempt, ...], *, new_nodes_allowed: bool) -> None:
        """A search failed."""
        if not footprint.is_lasting:
            return
        entry = (self._changes, tuple(footprint.nodes), attempts)
        self._failed[site, new_nodes_allowed] = entry
        if not footprint.saw_new_nodes:
            self._failed[site, not new_nodes_allowed] = entry

    def prepare(self, plan: Plan) -> None:
        """A plan is about to be committed."""
        self._changes += 1
        nodes = [*plan.site.nodes, *(rewrite.node for rewrite in plan.rewrites), *plan.through]
        self._changed.update(dict.fromkeys(self._beside(nodes), self._changes))

    def _beside(self, nodes: Iterable[ir.Node]) -> set[ir.Node]:
        """All that may see a change of the nodes: what shares a tensor with them, or reads one through others."""
        found: set[ir.Node] = set()
        for node in nodes:
            found.add(node)
            for value in (*node.inputs, *node.outputs):
                if value is not None and self._facts.constants.tensor(value) is None:  # a copy is made of a shared one
                    found.update(self._around(value))
        waiting = [node for node in found if node.op_type in _HAND_ON]
        while waiting:
            readers = {use.node for value in waiting.pop().outputs for use in value.uses()} - found
            found |= readers
            waiting += [node for node in readers if node.op_type in _HAND_ON]
        return found

    def _around(self, value: ir.Value) -> Iterator[ir.Node]:
        yield from (use.node for use in value.uses())
        yield from (node for node in (value.producer(), self._facts.owner(value)) if node is not None)

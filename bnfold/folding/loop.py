"""Commits plans until none is left. The order matters: a plan that is committed early may bar a better one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bnfold.folding.memory import Memory
from bnfold.folding.merging import find_merges
from bnfold.folding.planning import Plan, find_plan, leaves_range
from bnfold.folding.repairing import find_ones_channel
from bnfold.folding.result import Attempt, Folded, Kept, Merged
from bnfold.folding.sites import Site, find_constant_sites
from bnfold.folding.view import Footprint
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from bnfold.folding.facts import Facts
    from bnfold.folding.merging import Merge
    from bnfold.folding.rewriting import Rewriter

__all__ = ["Loop"]


class Loop:
    """The sites of a model that wait, those that are gone, and what blocked the others last.

    Attributes:
        folded: The account of each site that is gone.
        merged: The branches of sums that went into others, each with the node that took it in.
    """

    def __init__(
        self, sites: list[Site], facts: Facts, rewriter: Rewriter, *, merge_branches: bool | None, repairs: bool
    ) -> None:
        self._facts = facts
        self._rewriter = rewriter
        self._merge_branches = merge_branches
        self._repairs = repairs
        self._waiting = sites
        self._seen = set(sites)
        self._blocked: dict[Site, tuple[Attempt, ...]] = {}
        self._memory = Memory(facts)
        self._changes_seen = 0  # when constants were looked for last
        self.folded: dict[Site, Folded] = {}
        self.merged: list[tuple[ir.Node, Merged]] = []

    def run(self) -> None:
        """What costs least comes first, and everything is tried again after each success.

        Plans that add no node, those first that change no other affine that waits: the scale of a residual stream is
        one, and a negative scale that moves into it is one for all that read it. Then parts of rows of nodes that
        cannot go as a whole; branches that merge; and only then plans that add a node, since one of the others may make
        it unnecessary. Repairs, if they are wanted, come last.
        """
        while (
            self._fold(new_nodes_allowed=False, sparing_others=True)
            or self._fold(new_nodes_allowed=False)
            or self._fold_parts()
            or self._merge()
            or self._fold(new_nodes_allowed=True)
            or self._look_again()
            or self._repair()
        ):
            pass

    def kept(self) -> Mapping[Site, Kept]:
        """Why each site that is left stays."""
        return {site: _explain(site, attempts, self._facts) for site, attempts in self._blocked.items()}

    def _fold(self, *, new_nodes_allowed: bool, sparing_others: bool = False) -> bool:
        """Commit what has a plan; whether anything has."""
        spared = {node: site for site in self._waiting for node in site.nodes} if sparing_others else {}
        allowed = new_nodes_allowed
        waiting = [site for site in self._waiting if not self._try(site, new_nodes_allowed=allowed, spared=spared)]
        progress = len(waiting) < len(self._waiting)
        self._waiting = waiting
        return progress

    def _fold_parts(self) -> bool:
        """Where a row of nodes cannot go as a whole, fold one of them if it can; the others become sites."""
        waiting = []
        for site in self._waiting:
            parts = list(site.split()) if len(site.nodes) > 1 else []
            gone = next((part for part in parts if self._try(part, new_nodes_allowed=False)), None)
            if gone is None:
                waiting.append(site)
            else:
                del self._blocked[site]
                waiting += [part for part in parts if part is not gone]
        progress = waiting != self._waiting
        self._waiting = waiting
        self._forget_others()
        return progress

    def _look_again(self) -> bool:
        """Take in constants that were no sites before: what stood between two may be gone, or a MatMul be a Gemm."""
        changes = len(self.folded) + len(self.merged)
        if changes == self._changes_seen:
            return False
        self._changes_seen = changes
        found = find_constant_sites(self._facts)
        new = [site for site in found if site not in self._seen]
        self._seen.update(new)
        replaced = {node for site in new for node in site.nodes}
        self._waiting = new + [site for site in self._waiting if replaced.isdisjoint(site.nodes)]
        self._forget_others()
        return bool(new)

    def _forget_others(self) -> None:
        """Keep the account only of the sites that wait."""
        waiting = set(self._waiting)
        self._blocked = {site: attempts for site, attempts in self._blocked.items() if site in waiting}

    def _repair(self) -> bool:
        """Let one site go at a price, if that is wanted: a node of its own, or a channel of ones."""
        for site in self._waiting if self._repairs else []:
            found = find_plan(site, self._facts, new_nodes_allowed=True, repairs_allowed=True)
            plan = found if isinstance(found, Plan) else find_ones_channel(site, self._facts)
            if plan is not None:
                self.folded[site] = self._rewriter.commit(plan)
                self._waiting = [other for other in self._waiting if other is not site]
                del self._blocked[site]
                return True
            if not isinstance(found, Plan):
                self._blocked[site] = found
        return False

    def _try(
        self, site: Site, *, new_nodes_allowed: bool, spared: Mapping[ir.Node, Site] = MappingProxyType({})
    ) -> bool:
        """Commit a plan if there is one, and if it changes no affine of another site that is to be spared."""
        changes = len(self.folded) + len(self.merged)
        plan: Plan | tuple[Attempt, ...] | None
        plan = self._memory.recall(site, new_nodes_allowed=new_nodes_allowed, changes=changes)
        if plan is None:
            footprint = Footprint()
            plan = find_plan(site, self._facts, new_nodes_allowed=new_nodes_allowed, footprint=footprint)
            if isinstance(plan, Plan):
                if any(spared.get(rewrite.node, site) is not site for rewrite in plan.rewrites):
                    return False
                self._memory.prepare(plan)
                self.folded[site] = self._rewriter.commit(plan)
                self._blocked.pop(site, None)
                return True
            self._memory.note(site, footprint, plan, new_nodes_allowed=new_nodes_allowed)
        self._blocked[site] = plan
        return False

    def _merge(self) -> bool:
        """Merge branches of sums, each sum until nothing more can be; whether anything could."""
        if self._merge_branches is False:
            return False
        before = len(self.merged) + len(self.folded)
        sites = {site.output: site for site in self._waiting}
        affines = {node for site in self._waiting for node in site.nodes}
        for node in [node for graph in all_graphs(self._facts.model) for node in graph]:
            while node.graph is not None and (merge := self._find_merge(node, sites, affines)) is not None:
                self._commit(merge)
        return len(self.merged) + len(self.folded) > before

    def _find_merge(self, node: ir.Node, sites: dict[ir.Value, Site], affines: set[ir.Node]) -> Merge | None:
        for merge in find_merges(node, self._facts, sites):
            wanted = self._merge_branches or merge.removes_a_node
            if wanted and merge.parent not in affines and not leaves_range(merge.rewrite, self._facts):
                return merge
        return None

    def _commit(self, merge: Merge) -> None:
        names = tuple(map(self._facts.label, merge.nodes))
        route, parent = "into a sibling branch", self._facts.label(merge.parent)
        into = self._rewriter.merge(merge)
        if merge.site is None:
            self.merged.append((merge.rewrite.node, Merged(names, parent, into)))
            return
        self.folded[merge.site] = Folded(merge.site.label(self._facts), merge.site.op_type, route, (into,), (parent,))
        self._blocked.pop(merge.site, None)
        self._waiting.remove(merge.site)


def _explain(site: Site, attempts: tuple[Attempt, ...], facts: Facts) -> Kept:
    """Each obstacle once, with the route that came closest to it first."""
    ordered = tuple(sorted(attempts, key=lambda attempt: -attempt.reach))
    obstacles: dict[tuple[str, str], Attempt] = {}
    for attempt in ordered:
        obstacles.setdefault((attempt.node, attempt.reason), attempt)
    reason = "; ".join(map(str, obstacles.values()))
    return Kept(site.label(facts), site.op_type, reason, attempts=ordered)

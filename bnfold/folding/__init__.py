"""``fold(model)`` moves every BatchNormalization that can be moved exactly into the weights around it.

    sites.py        finds the affines
    planning.py     searches, for one affine, what must change for it to go; asks the rules in ``ops/``
    rewriting.py    commits a plan
    specialising.py gives each call of a function constants of its own, which generalising.py takes out again
    result.py       the account

Beneath them: ``facts.py`` (what is true of the model: ``constants.py``, ``evaluation.py``, ``shapes.py``), ``view.py``
(the facts, seen from within a plan) and ``reexpression.py`` (how one tensor changes).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.errors import ModelError
from bnfold.folding.facts import Facts
from bnfold.folding.generalising import generalise
from bnfold.folding.planning import Plan, find_plan
from bnfold.folding.result import Absorption, Attempt, Folded, FoldResult, Kept
from bnfold.folding.rewriting import Rewriter
from bnfold.folding.sites import find_sites
from bnfold.folding.specialising import specialise

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from bnfold.folding.sites import Site
    from bnfold.folding.specialising import Specialisation

__all__ = ["Absorption", "Attempt", "FoldResult", "Folded", "Kept", "fold"]


def fold(model: str | os.PathLike[str] | ir.Model, *, keep: Sequence[str] = ()) -> FoldResult:
    """Fold every BatchNormalization that can be folded exactly.

    All algebra is in float64, with one rounding to each weight's stored dtype. Inputs, outputs, opsets, metadata and
    the nodes that no fold touched stay as they are.

    Args:
        model: A path, or a model, which is left untouched.
        keep: Shell patterns (``*``, ``?``, ``[…]``) of node names, or of names of their outputs; such nodes stay as
            they are, be they BatchNormalizations or the ops that would take one in.

    Returns:
        The new model, where each BatchNormalization went, and why each other one stayed.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit.
        BnfoldError: A pattern of ``keep`` matches no node.
    """
    if isinstance(keep, str):
        raise TypeError("keep is a list of patterns, not a string")
    working = _copy(model) if isinstance(model, ir.Model) else modelfile.load(model)
    order: dict[ir.Node, tuple[int, ...]] = {node: (index,) for index, node in enumerate(_nodes(working))}
    sources = modelfile.find_external_files(working)
    try:
        copies = specialise(working)
        facts, sites, kept = _look(working, keep, copies)
    except RuntimeError as error:  # onnx-ir cannot copy a graph that is not well-formed
        raise ModelError(f"the model is malformed: {_cause(error)}") from error
    rewriter = Rewriter(facts)
    nodes_before = len(order)
    order |= copies.order(order)
    try:
        folded, blocked = _fold_all(sites, facts, rewriter)
    finally:
        left = generalise(copies, rewriter, facts.untouchable)
    kept |= {site.node: _explain(site, attempts, facts) for site, attempts in blocked.items()}
    folded = {node: left.told(node, entry) for node, entry in folded.items() if node not in left.dropped}
    kept = {node: entry for node, entry in kept.items() if node not in left.dropped | left.merged}
    return FoldResult(
        model=working,
        folded=tuple(folded[node] for node in sorted(folded, key=order.__getitem__)),
        kept=tuple(kept[node] for node in sorted(kept, key=order.__getitem__)),
        flushed_subnormals=rewriter.flushed_subnormals,
        nodes_before=nodes_before,
        nodes_after=sum(1 for _ in _nodes(working)),
        is_external=bool(sources),
        sources=sources if isinstance(model, ir.Model) else sources | {Path(model).resolve()},
    )


def _fold_all(
    sites: list[Site], facts: Facts, rewriter: Rewriter
) -> tuple[dict[ir.Node, Folded], dict[Site, tuple[Attempt, ...]]]:
    """Commit plans until no site has one: first those that add no node, since one of them may make that unnecessary."""
    folded: dict[ir.Node, Folded] = {}
    blocked: dict[Site, tuple[Attempt, ...]] = {}
    waiting = list(sites)
    new_nodes_allowed = False
    while True:
        still_waiting = []
        for site in waiting:
            plan = find_plan(site, facts, new_nodes_allowed=new_nodes_allowed)
            if isinstance(plan, Plan):
                folded[site.node] = rewriter.commit(plan)
                blocked.pop(site, None)
            else:
                blocked[site] = plan
                still_waiting.append(site)
        progress = len(still_waiting) < len(waiting)
        waiting = still_waiting
        if not waiting or (new_nodes_allowed and not progress):
            return folded, blocked
        new_nodes_allowed = not progress


def _explain(site: Site, attempts: tuple[Attempt, ...], facts: Facts) -> Kept:
    """Each obstacle once, with the first route that met it."""
    obstacles: dict[tuple[str, str], Attempt] = {}
    for attempt in attempts:
        obstacles.setdefault((attempt.node, attempt.reason), attempt)
    reason = "; ".join(map(str, obstacles.values()))
    return Kept(facts.label(site.node), site.node.op_type, reason, attempts=attempts)


def _look(
    model: ir.Model, keep: Sequence[str], copies: Specialisation
) -> tuple[Facts, list[Site], dict[ir.Node, Kept]]:
    """The facts, the affines, and what is none; a model that turns out to be malformed stays as it was."""
    try:
        facts = Facts(model, keep, copies)
        return facts, *find_sites(facts)
    except BaseException:
        copies.undo()
        raise


def _copy(model: ir.Model) -> ir.Model:
    try:
        return model.clone()
    except RuntimeError as error:
        raise ModelError(f"the model is malformed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return (node for graph in modelfile.all_graphs(model) for node in graph)

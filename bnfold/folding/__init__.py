"""``fold(model)`` moves every BatchNormalization that can be moved exactly into the weights around it.

    candidates.py   tells in one walk whether there is anything to do
    sites.py        finds the affines
    loop.py         in which order they go; memory.py spares it searches that would end as before
    planning.py     searches, for one affine, what must change for it to go; asks the rules in ``ops/``
    streams.py      what shares one scale, so that a search ends soon where no scale can pass
    merging.py      finds branches of a sum that are one convolution
    repairing.py    finds a channel of ones that gets a shift past zero padding, on demand
    rewriting.py    commits a plan
    specialising.py gives each call of a function constants of its own, which generalising.py takes out again
    result.py       the account
    fold_pass.py    the same as a pass of onnx_ir, which changes its model

Beneath them: ``facts.py`` (what is true of the model: ``constants.py``, ``evaluation.py``, ``shapes.py`` on
``inference.py``), ``view.py`` (the facts, seen from within a plan) and ``reexpression.py`` (how one tensor changes).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.errors import ModelError
from bnfold.folding.candidates import has_candidates
from bnfold.folding.facts import Facts, find_matching
from bnfold.folding.generalising import generalise
from bnfold.folding.loop import Loop
from bnfold.folding.result import Absorption, Attempt, Folded, FoldResult, Kept, Merged
from bnfold.folding.rewriting import Rewriter
from bnfold.folding.sites import find_sites
from bnfold.folding.specialising import specialise

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from bnfold.folding.sites import Site
    from bnfold.folding.specialising import Specialisation

__all__ = ["Absorption", "Attempt", "FoldResult", "Folded", "Kept", "Merged", "fold", "fold_in_place", "inspect"]


def fold(
    model: str | os.PathLike[str] | ir.Model,
    *,
    keep: Sequence[str] = (),
    merge_branches: bool | None = None,
    repairs: bool = False,
) -> FoldResult:
    """Fold every BatchNormalization that can be folded exactly.

    All algebra is in float64, with one rounding to each weight's stored dtype. Inputs, outputs, opsets, metadata and
    the nodes that no fold touched stay as they are.

    Args:
        model: A path, or a model, which is left untouched.
        keep: Shell patterns (``*``, ``?``, ``[…]``) of node names, or of names of their outputs; such nodes stay as
            they are, be they BatchNormalizations or the ops that would take one in.
        merge_branches: Whether branches of a sum that convolve the same tensor become one Conv, as in RepVGG: never,
            always, or (the default) where there are fewer nodes afterwards.
        repairs: Whether a shift that meets zero padding may cost something: a Pad in front of the Conv, a constant
            image behind it, or one channel of ones more. Measure whether that pays.

    Returns:
        The new model, where each BatchNormalization went, and why each other one stayed.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit.
        BnfoldError: A pattern of ``keep`` matches no node.
    """
    if isinstance(model, ir.Model):
        return fold_in_place(_copy(model), keep=keep, merge_branches=merge_branches, repairs=repairs)
    result = fold_in_place(modelfile.load(model), keep=keep, merge_branches=merge_branches, repairs=repairs)
    return dataclasses.replace(result, sources=result.sources | {Path(model).resolve()})


def inspect(
    model: str | os.PathLike[str] | ir.Model,
    *,
    keep: Sequence[str] = (),
    merge_branches: bool | None = None,
    repairs: bool = False,
) -> FoldResult:
    """See what would go where, and what stops the rest, without changing the model.

    It is no estimate: it is ``fold`` itself, on a copy, so that the two cannot disagree. What differs is what the
    result is for. Of ``fold`` you keep the new model; of ``inspect`` you read ``folded``, ``kept`` with its
    ``attempts``, and the numbers of nodes. ``bnfold inspect`` prints these, runs nothing and writes no model, so that
    it needs no onnxruntime, where ``bnfold fold`` verifies what it writes.

    Args:
        model: A path, or a model; either is left untouched.
        keep: As for ``fold``.
        merge_branches: As for ``fold``.
        repairs: As for ``fold``.

    Returns:
        The account, with the model that ``fold`` would return.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit.
        BnfoldError: A pattern of ``keep`` matches no node.
    """
    return fold(model, keep=keep, merge_branches=merge_branches, repairs=repairs)


def fold_in_place(
    model: ir.Model, *, keep: Sequence[str] = (), merge_branches: bool | None = None, repairs: bool = False
) -> FoldResult:
    """What ``fold`` does to its copy, and ``FoldPass`` to the model itself.

    Raises:
        ModelError: As ``fold``. What was folded before stays folded: each plan is committed as a whole.
        BnfoldError: A pattern of ``keep`` matches no node, and nothing was changed.
    """
    if isinstance(keep, str):
        raise TypeError("keep is a list of patterns, not a string")
    sources = modelfile.find_external_files(model)
    if not has_candidates(model):
        find_matching(model, keep)
        count = sum(1 for _ in _nodes(model))
        return FoldResult(model, (), (), (), 0, count, count, is_external=bool(sources), sources=sources)
    order: dict[ir.Node, tuple[int, ...]] = {node: (index,) for index, node in enumerate(_nodes(model))}
    try:
        copies = specialise(model)
        facts, sites, kept = _look(model, keep, copies)
    except RuntimeError as error:  # onnx-ir cannot copy a graph that is not well-formed
        raise ModelError(f"the model is malformed: {modelfile.cause_of(error)}") from error
    rewriter = Rewriter(facts)
    loop = Loop(sites, facts, rewriter, merge_branches=merge_branches, repairs=repairs)
    nodes_before = len(order)
    order |= copies.order(order)
    try:
        loop.run()
    finally:
        left = generalise(copies, rewriter, facts.untouchable)
    folded = {site: left.told(site.nodes[0], entry) for site, entry in loop.folded.items() if not left.is_gone(site)}
    kept = {site: entry for site, entry in {**kept, **loop.kept()}.items() if not left.is_told_elsewhere(site)}
    return FoldResult(
        model=model,
        folded=tuple(folded[site] for site in sorted(folded, key=lambda site: order[site.nodes[0]])),
        kept=tuple(kept[site] for site in sorted(kept, key=lambda site: order[site.nodes[0]])),
        merged=tuple(entry for node, entry in loop.merged if node not in left.dropped),
        flushed_subnormals=rewriter.flushed_subnormals,
        nodes_before=nodes_before,
        nodes_after=sum(1 for _ in _nodes(model)),
        is_external=bool(sources),
        sources=sources,
    )


def _look(model: ir.Model, keep: Sequence[str], copies: Specialisation) -> tuple[Facts, list[Site], dict[Site, Kept]]:
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
        raise ModelError(f"the model is malformed: {modelfile.cause_of(error)}") from error


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return (node for graph in modelfile.all_graphs(model) for node in graph)

"""The certificate: every rewritten weight recomputed in float64 from the reference, and nothing is run.

    branches.py    sums of convolutions that became one; flattened.py: a MatMul that changed places with a Reshape
    pairing.py     which tensor of the candidate stands where one of the reference stood
    hypotheses.py  what a fold may have made of a tensor
    carrying.py    how that passes through operators without weights: windows.py, pieces.py, attention.py; comparing.py
    kinds.py       operators with weights: linear.py, contraction.py, recurrent.py; quantised.py: integers
    solving.py     what each weight must be, and whether it is: product.py
    concluding.py  which of them is wrong, and which nobody can tell: settling.py
    reading.py     constants, affines and shapes
    rounding.py    units in the last place
    overlooked.py  what changed, and was not solved
    changes.py     what else is not as it was: attributes.py compares these
    result.py      the findings

It finds out by itself what was folded where: it shares no code with the rules of ``bnfold.folding``, and needs no
report of theirs. What it does not know it leaves open, for the float64 oracle to decide.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from bnfold.verifying.certificate.branches import Joined, join_branches
from bnfold.verifying.certificate.changes import changes
from bnfold.verifying.certificate.flattened import put_in_order
from bnfold.verifying.certificate.overlooked import overlooked
from bnfold.verifying.certificate.pairing import pair
from bnfold.verifying.certificate.reading import Constants, label_of
from bnfold.verifying.certificate.result import Certificate, Finding, GraphChange, WeightCheck
from bnfold.verifying.certificate.solving import solve

__all__ = ["Certificate", "Finding", "GraphChange", "WeightCheck", "certify", "prepared"]

_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})
_MOST_LOST = 0.5  # of the nodes: two graphs of which more is different have little to do with each other


def certify(reference: ir.Model, candidate: ir.Model) -> Certificate:
    """Recompute what the candidate has otherwise than the reference.

    A weight is certified if each of its numbers is within 1 ulp of its type of the exact one; one of float64, and a
    sum that cancels, to what float64 tells. ``Finding.WRONG`` is never said of a weight that could be right under
    another choice of what the tensors between two weights are multiplied by.

    Args:
        reference: The model that is right; left untouched.
        candidate: The model to judge; left untouched.
    """
    old, new = prepared(reference), prepared(candidate)
    constants, others = Constants(old), Constants(new)
    is_named = not (reference.functions or candidate.functions)
    joined = []
    if is_named:
        put_in_order(old, new, constants)
        joined = join_branches(old, new, constants)
    found = pair(old.graph, new.graph, constants, others, is_named=is_named)
    found.choices.update((one.node, one.affines) for one in joined)
    lost = len(found.lost) + len(found.replaced)
    nodes = len(found.nodes) + len(found.removed) + lost
    if lost > _MOST_LOST * nodes:
        return Certificate(reason=f"{lost} of {nodes} nodes of the reference are not in the candidate")
    solved, same = solve(old.graph, found, constants, others)
    sites = {label_of(one.node): _batch_norms(one) for one in joined}
    weights = [
        replace(one, sites=tuple(dict.fromkeys((*sites.get(one.node, ()), *one.sites))))
        for one in (_without_numbers(one, old, new) for one in solved)
    ]
    matched = {*found.nodes.values(), *found.replaced.values(), *found.added.values()}
    extra = [node for node in new.graph if not (node in matched or _is_constant(node, others))]
    told = {one.constant for one in weights}
    return Certificate(
        (*weights, *overlooked(found, constants, others, told)),
        removed=tuple(_labelled(node) for node in old.graph if node in found.removed),
        joined=tuple(node for one in joined for node in one.nodes),
        lost=tuple(map(_labelled, found.lost)),
        added=tuple(_labelled(node)[0] for node in found.added.values()),
        extra=tuple(map(_labelled, extra)),
        changes=tuple(changes(found, extra, constants, others)),
        pairs=tuple((value.name or "", found.values[value].name or "") for value in same),
        is_named=is_named,
    )


def _batch_norms(joined: Joined) -> tuple[str, ...]:
    return tuple(name for name, kind in joined.nodes if kind == "BatchNormalization")


def _without_numbers(check: WeightCheck, old: ir.Model, new: ir.Model) -> WeightCheck:
    """A weight that is NaN or infinite somewhere, of a reference where none is: no fold of finite numbers has it so."""
    index = None if check.finding is Finding.CERTIFIED else _nonfinite(new.graph.initializers.get(check.constant))
    if index is None or any(_nonfinite(value) is not None for value in old.graph.initializers.values()):
        return check
    array = new.graph.initializers[check.constant].const_value
    number = "" if array is None else f"{float(array.numpy()[index])} "
    reason = f"{number}at {list(index)}, and no weight of the reference holds such a thing"
    return replace(check, finding=Finding.WRONG, ulps=None, index=(), reason=reason)


def _nonfinite(value: ir.Value | None) -> tuple[int, ...] | None:
    """Where a stored constant of floats is first not finite; None if it is everywhere."""
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.dtype not in _FLOATS:
        return None
    wrong = ~np.isfinite(tensor.numpy())
    return tuple(map(int, np.argwhere(wrong)[0])) if wrong.any() else None


def _is_constant(node: ir.Node, constants: Constants) -> bool:
    return all(map(constants.is_constant, node.outputs))


def _labelled(node: ir.Node) -> tuple[str, str]:
    return label_of(node), node.op_type


def prepared(model: ir.Model) -> ir.Model:
    """A copy without calls of functions, with the shapes that can be told."""
    copy = model.clone()
    InlinePass()(copy)
    logger = logging.getLogger("onnx_ir.passes.common.shape_inference")
    enabled, logger.disabled = logger.disabled, True  # a graph without shapes is no news to the user
    try:
        return ShapeInferencePass()(copy).model
    finally:
        logger.disabled = enabled

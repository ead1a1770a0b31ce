"""A channel of ones: how a shift gets past zero padding of any size.

    Conv(W₀, b₀) → … → scale·x + shift → Conv(W, b), padded   ⇒   Conv([W₀; 0], [b₀; 1]) → … → Conv([W·scale, V], b)

The producer writes one channel more, which is 1 everywhere (weights 0, bias 1), and stays 1 on the way. The reader has
a weight for it, V[o] = Σ_i W[o, i]·shift[i], and pads it with zeros like the others: at the border exactly those taps
are missing that the shift would have met there. It costs 1/C of a channel, and is done on demand only.

Conditions:
    1. All readers of the affine are Convs of one group, with constant weights and no affine behind to be changed.
    2. The tensor in front comes from a Conv of one group with constant weights and bias, through ops that keep 1 what
       is 1 and every other channel as it is: Relu, Clip to limits around 1, MaxPool, Identity, Dropout at inference.
    3. Nobody else reads a tensor on the way, and none is an output of the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.folding.answers import Blocked, Rewrite
from bnfold.folding.nodes import find_input, integer, number, required_input
from bnfold.folding.ops import find_rule
from bnfold.folding.ops.identity import IdentityRule
from bnfold.folding.planning import Plan, leaves_range
from bnfold.folding.sites import read_affine

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.facts import Facts
    from bnfold.folding.sites import Site

__all__ = ["find_ones_channel"]

_CLIP_BY_INPUT = 11  # the opset since which Clip has its limits as inputs


def find_ones_channel(site: Site, facts: Facts) -> Plan | None:
    """The plan that widens the tensor in front of a site by a channel of ones, or None."""
    try:
        producer, way = _way_back(site.data, facts)
        readers = [_reader(node, facts) for node, _ in site.output.uses()]
    except Blocked:
        return None
    if site.output.is_graph_output():
        return None
    scale_and_shift = read_affine(site, facts).vectors(1, _weight(producer, facts).shape[0])
    if scale_and_shift is None:
        return None
    rewrites = (_widened(producer, facts), *(_extended(node, *scale_and_shift, facts) for node in readers))
    if any(leaves_range(rewrite, facts) for rewrite in rewrites):
        return None
    through = tuple(node for value in way[:-1] if (node := value.producer()) is not None)
    route = "forward, with a channel of ones"
    return Plan(site, route, rewrites, through, (0, len(way) + 1), 0.0, widened=tuple(way))


def _way_back(value: ir.Value, facts: Facts) -> tuple[ir.Node, list[ir.Value]]:
    """The Conv that can write ones, and the tensors from the site back to it, all with one reader."""
    way = [value]
    while True:
        node = value.producer()
        if node is None or len(value.uses()) != 1 or value.is_graph_output() or node in facts.untouchable:
            raise Blocked("is read by others")
        if node.op_type == "Conv" and node.domain == "":
            _weight(node, facts)
            return node, way
        if not _keeps_ones(node, facts):
            raise Blocked("does not keep a channel of ones")
        value = required_input(node, 0)
        way.append(value)


def _keeps_ones(node: ir.Node, facts: Facts) -> bool:
    if node.domain != "" or len(node.outputs) > 1:
        return False
    if node.op_type == "Clip":
        return _limits_around_one(node, facts)
    if node.op_type == "Dropout":
        return isinstance(find_rule(node), IdentityRule) and find_input(node, 2) is None and facts.opset(node) >= 7
    return node.op_type in ("Relu", "MaxPool", "Identity")


def _limits_around_one(node: ir.Node, facts: Facts) -> bool:
    if facts.opset(node) < _CLIP_BY_INPUT:
        return number(node, "min", -np.inf) <= 1 <= number(node, "max", np.inf)
    limits = [facts.constants.weight(find_input(node, slot)) for slot in (1, 2)]
    if any(limit is None and find_input(node, slot) is not None for slot, limit in enumerate(limits, start=1)):
        return False
    low, high = limits
    return (low is None or bool((low <= 1).all())) and (high is None or bool((high >= 1).all()))


def _reader(node: ir.Node, facts: Facts) -> ir.Node:
    if node.op_type != "Conv" or node.domain != "" or node in facts.untouchable:
        raise Blocked("is no Conv")
    _weight(node, facts)
    return node


def _weight(node: ir.Node, facts: Facts) -> NDArray[np.float64]:
    """The weight of a Conv of one group that may be rewritten along with its bias."""
    weight, bias = facts.constants.weight(find_input(node, 1)), find_input(node, 2)
    if weight is None or integer(node, "group", 1) != 1:
        raise Blocked("has no weights to extend")
    if bias is not None and facts.constants.weight(bias) is None:
        raise Blocked("has no constant bias")
    return weight


def _widened(node: ir.Node, facts: Facts) -> Rewrite:
    """The Conv that writes the ones."""
    weight = _weight(node, facts)
    bias = facts.constants.weight(find_input(node, 2))
    old = np.zeros(weight.shape[0]) if bias is None else bias
    more = np.concatenate([weight, np.zeros((1, *weight.shape[1:]))])
    return Rewrite(node, {1: more, 2: np.append(old, 1.0)})


def _extended(node: ir.Node, scale: NDArray[np.float64], shift: NDArray[np.float64], facts: Facts) -> Rewrite:
    """A Conv that reads them."""
    weight = _weight(node, facts)
    spatial = (1,) * (weight.ndim - 2)
    scaled = weight * scale.reshape(1, -1, *spatial)
    of_ones = (weight * shift.reshape(1, -1, *spatial)).sum(axis=1, keepdims=True)
    return Rewrite(node, {1: np.concatenate([scaled, of_ones], axis=1)})

"""Branches of a sum that convolve the same tensor are one convolution.

RepVGG trains Conv3×3 + BN, Conv1×1 + BN and a bare BN side by side, and sums them. Once the first two are folded, what
is left is a sum of linear maps of one tensor: the smaller kernel is embedded in the larger one, and an affine of the
tensor, or the tensor itself, is a kernel of one tap that only joins equal channels.

    x → Conv(W, b) ─┐                                  W′ = W + sign·embed(V)
    x → Conv(V, c) ─┴→ Add → y   ⇒   x → Conv(W′, b′)   b′ = b + sign·c

Source: Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again" (https://arxiv.org/abs/2101.03697), 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.folding.answers import Blocked, Rewrite
from bnfold.folding.nodes import find_input, integer, integers, required_input, text
from bnfold.folding.sites import Site, read_affine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.facts import Facts

__all__ = ["Merge", "find_merges"]

_SUMS = frozenset({"Add", "Sub", "Sum"})

_MOST_SUMS = 16  # how many nested sums are looked at together


@dataclass(frozen=True)
class Merge:
    """One branch of a sum that goes into another.

    Attributes:
        rewrite: How the convolution that takes it in changes.
        parent: The sum that loses an operand.
        slot: Which one.
        nodes: What computed that operand, and is not needed any more, in order.
        data: What the branches read.
        site: The affine that it was, if it was one.
    """

    rewrite: Rewrite
    parent: ir.Node
    slot: int
    nodes: tuple[ir.Node, ...]
    data: ir.Value
    site: Site | None

    @property
    def removes_a_node(self) -> bool:
        """Whether there is a node less afterwards: a Sum of three only becomes a Sum of two."""
        return bool(self.nodes) or len(self.parent.inputs) == 2


@dataclass(frozen=True)
class _Leaf:
    """An operand of a sum, or of a sum in that sum."""

    parent: ir.Node
    slot: int
    sign: float

    @property
    def value(self) -> ir.Value:
        return required_input(self.parent, self.slot)

    @property
    def is_minuend(self) -> bool:
        """Whether taking it away leaves the other operand with a minus."""
        return self.parent.op_type == "Sub" and self.slot == 0


@dataclass(frozen=True)
class _Convolution:
    """A linear map of ``data`` by a kernel that slides over it.

    Attributes:
        data: What it reads.
        weight: [outputs, inputs / group, …]
        bias: [outputs]
        group: In how many groups the channels are.
        strides: One for each spatial axis.
        dilations: Likewise; of no meaning where the kernel has one tap.
        begin: Zero cells in front of each axis.
        end: Zero cells behind it.
        nodes: What computes it.
        site: The affine that it is, if it is one.
    """

    data: ir.Value
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    nodes: tuple[ir.Node, ...]
    site: Site | None = None


def find_merges(node: ir.Node, facts: Facts, sites: Mapping[ir.Value, Site]) -> Iterator[Merge]:
    """The merges that the operands of a sum allow, each by itself.

    Args:
        node: Any node.
        facts: The model.
        sites: The affines that could not be folded, by what they write.
    """
    if node.op_type not in _SUMS or node.domain != "":
        return
    leaves = list(_leaves(node, facts.untouchable))
    if not _share_data(leaves, sites):
        return  # said without a look at any weight
    convolutions = [(leaf, found) for leaf in leaves if (found := _as_convolution(leaf.value, facts))]
    for host, convolution in sorted(convolutions, key=lambda pair: -pair[1].weight[0, 0].size):
        for leaf in leaves:
            is_subtracted = leaf.is_minuend and host.parent is leaf.parent  # it can be given the minus itself
            if leaf is host or leaf.value is host.value or (leaf.is_minuend and not is_subtracted):
                continue
            branch = next((other for that, other in convolutions if that is leaf), None)
            branch = branch or _as_one_tap(leaf.value, convolution, facts, sites)
            embedded = _embedded(branch, convolution) if branch is not None else None
            if branch is not None and embedded is not None:
                own, sign = (-1.0, 1.0) if is_subtracted else (1.0, leaf.sign * host.sign)
                weight = own * convolution.weight + sign * embedded
                rewrite = _rewrite(convolution, weight, own * convolution.bias + sign * branch.bias)
                yield Merge(rewrite, leaf.parent, leaf.slot, branch.nodes, branch.data, branch.site)


def may_merge(node: ir.Node) -> bool:
    """Whether a node is a sum of which two operands may be maps of one tensor, whatever is known of the weights."""
    return node.op_type in _SUMS and node.domain == "" and _share_data(list(_leaves(node, frozenset())), {})


def _leaves(root: ir.Node, untouchable: frozenset[ir.Node]) -> Iterator[_Leaf]:
    """The operands of a sum; those of an operand that is a sum, and that nobody else reads, instead of it."""
    waiting = [(root, 1.0)]
    for _ in range(_MOST_SUMS):
        if not waiting:
            return
        node, sign = waiting.pop()
        if node in untouchable or None in node.inputs:
            continue
        for slot in range(len(node.inputs)):
            value = required_input(node, slot)
            inner = value.producer()
            own = -sign if node.op_type == "Sub" and slot == 1 else sign
            if inner is not None and inner.op_type in _SUMS and inner.domain == "" and _is_private(value, node):
                waiting.append((inner, own))
            else:
                yield _Leaf(node, slot, own)


def _share_data(leaves: list[_Leaf], sites: Mapping[ir.Value, Site]) -> bool:
    """Whether two operands may be maps of one tensor: Convs of it, an affine of it, or the tensor itself."""
    values = [leaf.value for leaf in leaves]
    convs = [node for value in values if (node := value.producer()) is not None and node.op_type == "Conv"]
    convolved = [find_input(node, 0) for node in convs]
    others = {*values, *(sites[value].data for value in values if value in sites)}
    return len(set(convolved)) < len(convolved) or not others.isdisjoint(convolved)


def _is_private(value: ir.Value, reader: ir.Node) -> bool:
    """Whether nothing but one operand of the reader needs the value."""
    producer = value.producer()
    same_graph = producer is not None and producer.graph is reader.graph
    return same_graph and len(value.uses()) == 1 and not value.is_graph_output()


def _as_convolution(value: ir.Value, facts: Facts) -> _Convolution | None:
    """The Conv that writes a tensor, if it may be rewritten and only the sum reads the tensor."""
    node = value.producer()
    if node is None or node.op_type != "Conv" or node.domain != "" or node in facts.untouchable:
        return None
    if len(value.uses()) != 1 or value.is_graph_output():
        return None
    weight, bias = facts.constants.weight(find_input(node, 1)), facts.constants.weight(find_input(node, 2))
    if weight is None or (bias is None and find_input(node, 2) is not None):
        return None
    bias = np.zeros(weight.shape[0]) if bias is None else bias
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return None
    ones = (1,) * (weight.ndim - 2)
    try:
        strides, dilations = integers(node, "strides", ones), integers(node, "dilations", ones)
        pads, group = _pads(node, weight.shape[2:], strides, dilations), integer(node, "group", 1)
    except Blocked:
        return None
    if pads is None:
        return None
    begin, end = pads[: len(ones)], pads[len(ones) :]
    data = required_input(node, 0)
    return _Convolution(data, weight, bias, group, strides, dilations, begin, end, (node,))


def _pads(
    node: ir.Node, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The zero cells on each side; None where they depend on the size of the data."""
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        return integers(node, "pads", (0,) * 2 * len(kernel))
    if mode == "VALID":
        return (0,) * 2 * len(kernel)
    total = [(taps - 1) * dilation for taps, dilation in zip(kernel, dilations, strict=True)]
    if any(stride != 1 for stride in strides) or any(cells % 2 for cells in total):
        return None
    return (*(cells // 2 for cells in total), *(cells // 2 for cells in total))


def _as_one_tap(
    value: ir.Value, host: _Convolution, facts: Facts, sites: Mapping[ir.Value, Site]
) -> _Convolution | None:
    """What a Conv reads, or an affine of that, as a convolution with the groups of that Conv."""
    inputs = host.weight.shape[1] * host.group
    site = sites.get(value) if value is not host.data else None
    scale, shift = np.ones(inputs), np.zeros(inputs)
    if value is not host.data:
        if site is None or site.data is not host.data or len(value.uses()) != 1 or value.is_graph_output():
            return None
        vectors = read_affine(site, facts).vectors(1, inputs)
        if vectors is None:
            return None
        scale, shift = vectors
    spatial = (1,) * (host.weight.ndim - 2)
    weight = np.zeros((inputs, host.weight.shape[1], *spatial))
    outputs = np.arange(inputs)
    weight[outputs, outputs % host.weight.shape[1]] = scale.reshape(-1, *spatial)
    zeros = (0,) * len(spatial)
    nodes = site.nodes if site is not None else ()
    return _Convolution(host.data, weight, shift, host.group, spatial, spatial, zeros, zeros, nodes, site)


def _embedded(branch: _Convolution, host: _Convolution) -> NDArray[np.float64] | None:
    """The kernel of a branch, at its place in the larger kernel of another; None where they do not slide alike."""
    if branch.data is not host.data or branch.strides != host.strides:
        return None
    if branch.weight.shape[:2] != host.weight.shape[:2]:  # nor then are the groups the same, of one tensor
        return None
    place = [slice(None), slice(None)]
    taps, most = branch.weight.shape[2:], host.weight.shape[2:]
    for axis, (count, size) in enumerate(zip(taps, most, strict=True)):
        step = host.dilations[axis]
        if count > 1 and branch.dilations[axis] != step:
            return None
        offset, rest = divmod(host.begin[axis] - branch.begin[axis], step)
        behind = host.end[axis] - branch.end[axis]
        if rest or offset < 0 or offset + count > size or behind != (size - count - offset) * step:
            return None
        place.append(slice(offset, offset + count))
    embedded = np.zeros_like(host.weight)
    embedded[tuple(place)] = branch.weight
    return embedded


def _rewrite(host: _Convolution, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Rewrite:
    (node,) = host.nodes
    needs_bias = find_input(node, 2) is not None or bool(bias.any())
    return Rewrite(node, {1: weight, 2: bias} if needs_bias else {1: weight})

"""Branches of a sum that the candidate has as one Conv: RepVGG's three, say.

    x → Conv(V) → affine ─┐
    x → Conv(W) → affine ─┼→ Add → y   ⇒   x → Conv(U, b) → y
    x → affine ───────────┘

Each branch is a convolution of x, after its affine; the smaller kernel stands at its place in the larger one, an affine
of x, or x itself, is a kernel of one tap. Where the candidate has no such sum any more, the copy of the reference is
rewritten, in float64, to have the one Conv too; what becomes of its weights is then a question like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.affine import Affine
from bnfold.verifying.certificate.reading import affine_of, attribute, given, is_standard, label_of, rank_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.reading import Constants

    Numbers = NDArray[np.float64]

__all__ = ["Joined", "join_branches"]

_SUMS = frozenset({"Add", "Sub", "Sum"})
_MOST_SUMS = 16  # nested in each other


@dataclass(frozen=True)
class Joined:
    """A Conv that stands for a sum.

    Attributes:
        node: It.
        nodes: What it stands for: names and operators, its own Conv left out.
        affines: Those of the branches, and whether it is one of the data. A fold may have moved that on.
    """

    node: ir.Node
    nodes: tuple[tuple[str, str], ...]
    affines: tuple[tuple[Affine, bool], ...] = ()


@dataclass(frozen=True)
class _Branch:
    """A convolution of ``data``.

    Attributes:
        data: What it reads.
        weight: [outputs, inputs of a group, …]
        bias: [outputs]
        begin: Zero cells in front of each axis.
        end: Zero cells behind it.
        strides: One for each axis.
        dilations: Likewise.
        nodes: What it is in the reference.
        conv: The Conv among them; None for an affine of the data, and the data.
        affine: The others.
    """

    data: ir.Value
    weight: Numbers
    bias: Numbers
    begin: tuple[int, ...]
    end: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    nodes: tuple[ir.Node, ...]
    conv: ir.Node | None
    affine: Affine


def join_branches(reference: ir.Model, candidate: ir.Model, constants: Constants) -> list[Joined]:
    """Join, in place, the branches of each sum that the candidate does not have, where that can be done.

    Args:
        reference: A copy that is nobody else's, without calls of functions.
        candidate: The other model.
        constants: Those of the reference.
    """
    theirs = {(node.op_type, name) for node in candidate.graph for name in _names(node)}
    found: dict[ir.Node, Joined] = {}
    for node in list(reference.graph):
        is_there = any((node.op_type, name) in theirs for name in _names(node))
        if node.op_type in _SUMS and is_standard(node) and not is_there and len(node.inputs) == 2:
            _join(node, constants, theirs, found)
    return list(found.values())


def _names(node: ir.Node) -> list[str]:
    return [name for name in (node.name, *(value.name for value in node.outputs[:1])) if name]


def _join(node: ir.Node, constants: Constants, theirs: set[tuple[str, str]], found: dict[ir.Node, Joined]) -> None:
    """Take one operand of a sum into the other, or into an operand of the sum that it is."""
    signs = (1.0, -1.0 if node.op_type == "Sub" else 1.0)
    for slot in (1, 0):
        for parent, place, inner in _leaves(node, 1 - slot):
            host = _convolution(parent.inputs[place], constants)
            branch = None if host is None else _as_branch(node.inputs[slot], host, constants)
            own = signs[1 - slot] if parent is node else 1.0
            is_other_way_round = signs[1 - slot] < 0 and parent is not node  # what is left would need a minus
            if host is None or branch is None or is_other_way_round:
                continue
            joined = _joined(host, branch, own, signs[slot] * inner)
            if joined is not None:
                _replace(node, slot, host, branch, joined, theirs, found)
                return


def _leaves(node: ir.Node, slot: int) -> list[tuple[ir.Node, int, float]]:
    """An operand, or those of the sums that it is, as (sum, slot, sign in the operand)."""
    found: list[tuple[ir.Node, int, float]] = []
    waiting = [(node, slot, 1.0)]
    while waiting and len(found) < _MOST_SUMS:
        parent, place, own = waiting.pop(0)
        value = parent.inputs[place]
        inner = None if value is None else value.producer()
        if inner is not None and inner.op_type in _SUMS and is_standard(inner) and _is_private(value):
            waiting += [
                (inner, i, -own if inner.op_type == "Sub" and i == 1 else own) for i in range(len(inner.inputs))
            ]
        else:
            found.append((parent, place, own))
    return found


def _is_private(value: ir.Value | None) -> bool:
    return value is not None and len(value.uses()) == 1 and not value.is_graph_output()


def _convolution(value: ir.Value | None, constants: Constants) -> _Branch | None:
    """A Conv, or a row of affines behind one, that only the sum reads."""
    node = None if value is None else value.producer()
    if node is None or value is None or not _is_private(value) or not is_standard(node):
        return None
    if node.op_type == "Conv":
        return _of_conv(node, constants)
    rank = rank_of(value)
    affine = None if rank is None else affine_of(node, constants, rank)
    data = next((one for one in node.inputs if not constants.is_constant(one)), None)
    inner = None if affine is None else _convolution(data, constants)
    return None if inner is None or affine is None else _scaled(inner, affine, node)


def _of_conv(node: ir.Node, constants: Constants) -> _Branch | None:
    data, weight = node.inputs[0], constants.numbers(given(node, 1))
    bias = constants.numbers(given(node, 2))
    if data is None or weight is None or weight.ndim < 3 or (bias is None and given(node, 2) is not None):
        return None
    axes = weight.ndim - 2
    strides, dilations = (tuple(attribute(node, name, (1,) * axes)) for name in ("strides", "dilations"))
    pads = _pads(node, weight.shape[2:], strides, dilations)
    if pads is None:
        return None
    zeros = np.zeros(len(weight)) if bias is None else bias
    return _Branch(data, weight, zeros, pads[:axes], pads[axes:], strides, dilations, (node,), node, _nothing(weight))


def _nothing(weight: Numbers) -> Affine:
    return Affine.identity(weight.ndim)


def _pads(
    node: ir.Node, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...] | None:
    mode = attribute(node, "auto_pad", "NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "NOTSET":
        return tuple(attribute(node, "pads", (0,) * 2 * len(kernel)))
    cells = [(taps - 1) * dilation for taps, dilation in zip(kernel, dilations, strict=True)]
    if mode == "VALID":
        return (0,) * 2 * len(kernel)
    if any(stride != 1 for stride in strides) or any(count % 2 for count in cells):
        return None
    return (*(count // 2 for count in cells), *(count // 2 for count in cells))


def _scaled(branch: _Branch, affine: Affine, node: ir.Node) -> _Branch | None:
    vectors = affine.vectors(1, len(branch.weight))
    if vectors is None:
        return None
    scale, shift = vectors
    wide = scale.reshape(-1, *(1,) * (branch.weight.ndim - 1))
    nodes = (*branch.nodes, node)
    return _Branch(
        branch.data, wide * branch.weight, scale * branch.bias + shift,
        branch.begin, branch.end, branch.strides, branch.dilations, nodes, branch.conv, branch.affine.then(affine),
    )  # fmt: skip


def _as_branch(value: ir.Value | None, host: _Branch, constants: Constants) -> _Branch | None:
    """An operand as a convolution of what the host reads."""
    found = _convolution(value, constants)
    if found is not None and found.conv is not None:
        return found if found.data is host.data else None
    inputs = attribute(host.conv, "group", 1) * host.weight.shape[1] if host.conv is not None else 0
    if value is None or inputs != len(host.weight):
        return None
    axes = host.weight.ndim - 2
    weight = np.zeros((inputs, host.weight.shape[1], *(1,) * axes))
    weight[np.arange(inputs), np.arange(inputs) % host.weight.shape[1]] = 1.0
    identity = _Branch(
        host.data,
        weight,
        np.zeros(inputs),
        (0,) * axes,
        (0,) * axes,
        (1,) * axes,
        (1,) * axes,
        (),
        None,
        _nothing(weight),
    )
    return identity if value is host.data else _affines_of(value, identity, constants)


def _affines_of(value: ir.Value, identity: _Branch, constants: Constants) -> _Branch | None:
    node, rank = value.producer(), rank_of(value)
    affine = None if node is None or rank is None or not _is_private(value) else affine_of(node, constants, rank)
    data = None if node is None else next((one for one in node.inputs if not constants.is_constant(one)), None)
    if affine is None or data is None or node is None:
        return None
    inner = identity if data is identity.data else _affines_of(data, identity, constants)
    return None if inner is None else _scaled(inner, affine, node)


def _joined(host: _Branch, branch: _Branch, own: float, sign: float) -> tuple[Numbers, Numbers] | None:
    """The weights and the bias of both, each with its sign; None where the one does not slide within the other."""
    if branch.strides != host.strides or branch.weight.shape[:2] != host.weight.shape[:2]:
        return None
    if branch.conv is not None and attribute(branch.conv, "group", 1) != attribute(host.conv, "group", 1):  # type: ignore[arg-type]
        return None
    place = [slice(None), slice(None)]
    for axis, (count, size) in enumerate(zip(branch.weight.shape[2:], host.weight.shape[2:], strict=True)):
        step = host.dilations[axis]
        offset, rest = divmod(host.begin[axis] - branch.begin[axis], step)
        behind = host.end[axis] - branch.end[axis]
        if (count > 1 and branch.dilations[axis] != step) or rest or not 0 <= offset <= size - count:
            return None
        if behind != (size - count - offset) * step:
            return None
        place.append(slice(offset, offset + count))
    weight = own * host.weight
    weight[tuple(place)] += sign * branch.weight
    return weight, own * host.bias + sign * branch.bias


def _replace(
    node: ir.Node,
    slot: int,
    host: _Branch,
    branch: _Branch,
    joined: tuple[Numbers, Numbers],
    theirs: set[tuple[str, str]],
    found: dict[ir.Node, Joined],
) -> None:
    """Put one Conv where the host was, and what is left of the sum where the sum was."""
    graph, last = node.graph, host.nodes[-1].outputs[0]
    convs = [one.conv for one in (host, branch) if one.conv is not None]
    named = next((one for one in convs if any(("Conv", name) in theirs for name in _names(one))), convs[0])
    has_bias = given(convs[0], 2) is not None or bool(joined[1].any())
    is_whole = node.inputs[1 - slot] is last
    output = ir.Value(name=node.outputs[0].name if is_whole else last.name, shape=last.shape, type=last.type)
    new = ir.Node("", "Conv", [host.data], list(convs[0].attributes.values()), name=label_of(named), outputs=[output])
    assert graph is not None  # noqa: S101 - it was found in one
    for kind, array in zip(("weight", "bias") if has_bias else ("weight",), joined, strict=False):
        value = ir.Value(name=f"{output.name}: joined {kind}", const_value=ir.tensor(array))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.DOUBLE
        graph.register_initializer(value)
        new.resize_inputs(len(new.inputs) + 1)
        new.replace_input_with(len(new.inputs) - 1, value)
    graph.insert_before(host.nodes[-1], new)
    ir.convenience.replace_all_uses_with(last, output)
    left = node.inputs[1 - slot]
    assert left is not None  # noqa: S101 - a sum has its operands
    if node.outputs[0].is_graph_output():
        left.name = node.outputs[0].name
    ir.convenience.replace_all_uses_with(node.outputs[0], left, replace_graph_outputs=True)
    inner = [found.pop(conv) for conv in convs if conv in found]
    before = [one for entry in inner for one in entry.nodes]
    affines = (
        *(one for entry in inner for one in entry.affines),
        *((one.affine, one.conv is None) for one in (host, branch)),
    )
    gone = [(label_of(one), one.op_type) for one in (*host.nodes, *branch.nodes, node)]
    nodes = tuple(one for one in dict.fromkeys((*before, *gone)) if one != (label_of(named), "Conv"))
    found[new] = Joined(new, nodes, affines)
    graph.remove([*host.nodes, *branch.nodes, node], safe=True)

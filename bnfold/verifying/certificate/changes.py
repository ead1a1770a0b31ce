"""What a candidate has otherwise than its reference besides weights: attributes, operators, nodes that went or came.

    attributes        of nodes that stand for each other, those in bodies included
    constant inputs   of integers: the axes of a ReduceMean, the pads of a Pad
    operators         another one in a node's place (``pairing.py`` tells in whose)
    nodes             that are gone, or new, for which nothing stands in the other graph

No change is judged here: a fold of another tool may well write the same function down otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from bnfold.verifying.certificate.attributes import changed_attributes
from bnfold.verifying.certificate.overlooked import bodies_of, is_same
from bnfold.verifying.certificate.reading import given, label_of
from bnfold.verifying.certificate.result import GraphChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from bnfold.verifying.certificate.pairing import Pairs
    from bnfold.verifying.certificate.reading import Constants

__all__ = ["changes"]

_MOST = 8  # numbers of a list that are shown
_LATEST = 1000


def changes(pairs: Pairs, extra: Iterable[ir.Node], constants: Constants, others: Constants) -> Iterator[GraphChange]:
    """Every change, those of nodes that are in both first, in the order of the graph.

    Args:
        pairs: What stands where.
        extra: The candidate's nodes that stand for none.
        constants: Those of the reference.
        others: Those of the candidate.
    """
    for node, other in pairs.nodes.items():
        yield from _of_node(node, other)
        yield from _of_inputs(node, other, constants, others)
        yield from _in_bodies(node, other)
    for node, other in pairs.replaced.items():
        yield GraphChange(label_of(node), node.op_type, "operator", _spelled(node), _spelled(other))
    for node in pairs.lost:
        yield GraphChange(label_of(node), node.op_type, "node", _spelled(node), "")
    for node in extra:
        yield GraphChange(label_of(node), node.op_type, "node", "", _spelled(node))


def _of_node(node: ir.Node, other: ir.Node) -> Iterator[GraphChange]:
    if node.op_type != other.op_type:  # another spelling, whose attributes have other names
        return
    for name, before, after in changed_attributes(node, other):
        if not _is_body(node, name):
            yield GraphChange(label_of(node), node.op_type, name, _told(before), _told(after))


def _of_inputs(node: ir.Node, other: ir.Node, constants: Constants, others: Constants) -> Iterator[GraphChange]:
    for slot in range(max(len(node.inputs), len(other.inputs))):
        old, new = constants.array(given(node, slot)), others.array(given(other, slot))
        is_setting = all(array is None or array.dtype.kind == "b" or array.dtype == "int64" for array in (old, new))
        if not is_setting or (old is None and new is None) or is_same(old, new):
            continue
        yield GraphChange(label_of(node), node.op_type, _input_name(node, slot), _numbers(old), _numbers(new))


def _in_bodies(node: ir.Node, other: ir.Node) -> Iterator[GraphChange]:
    """Nodes of bodies that have one name, or write a tensor of one name."""
    for body, their_body in zip(bodies_of(node), bodies_of(other), strict=False):
        by_name = {label_of(inner): inner for inner in their_body}
        for inner in body:
            found = by_name.get(label_of(inner))
            if found is None:
                continue
            if found.op_type != inner.op_type:
                yield GraphChange(label_of(inner), inner.op_type, "operator", _spelled(inner), _spelled(found))
            else:
                yield from _of_node(inner, found)
                yield from _in_bodies(inner, found)


def _is_body(node: ir.Node, name: str) -> bool:
    found = node.attributes.get(name)
    return found is not None and found.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}


def _input_name(node: ir.Node, slot: int) -> str:
    version = node.graph.opset_imports.get(node.domain) if node.graph is not None else None
    try:
        formal = onnx.defs.get_schema(node.op_type, version or _LATEST, node.domain).inputs
    except onnx.defs.SchemaError:
        formal = []
    return str(formal[slot].name) if slot < len(formal) else f"input {slot}"


def _spelled(node: ir.Node) -> str:
    """An operator with the attributes that it has: ``LeakyRelu (alpha = 0.1)``."""
    own = [f"{name} = {_told(one.value)}" for name, one in node.attributes.items() if not _is_body(node, name)]
    return f"{node.op_type} ({', '.join(own)})" if own else node.op_type


def _numbers(array: np.ndarray | None) -> str:
    return "" if array is None else _told(array.tolist())


def _told(value: object) -> str:
    """A value for people; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, (list, tuple)):
        shown = [_told(item) for item in value[:_MOST]]
        return f"[{', '.join(shown)}{', …' if len(value) > _MOST else ''}]"
    return str(value)

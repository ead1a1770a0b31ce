"""onnx-ir's optional types, narrowed in one place, so that the rules read like the algebra.

What an attribute is inside a function may be left to the caller (a reference attribute). Nothing can be planned on such
a value: whoever asks for it blocks.
"""

from __future__ import annotations

import onnx_ir as ir

from bnfold.folding.answers import Blocked

__all__ = [
    "bodies_of",
    "body_of",
    "find_input",
    "first_stacked_output",
    "flag",
    "graph_of",
    "integer",
    "integers",
    "label",
    "number",
    "numbers",
    "required_input",
    "text",
]


def label(node: ir.Node) -> str:
    """How a report names a node: by its name, or by what it writes."""
    return node.name or next((value.name for value in node.outputs if value.name), node.op_type)


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph in which a node stands.

    Raises:
        ValueError: It was taken out of its graph.
    """
    if node.graph is None:
        raise ValueError(f"{node.op_type} '{label(node)}' is in no graph")
    return node.graph


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The graphs that an If, a Loop or a Scan runs."""
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type is ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            bodies += attribute.as_graphs()
    return bodies


def body_of(node: ir.Node, name: str) -> ir.Graph:
    """One of these graphs.

    Raises:
        Blocked: It is absent all the same.
    """
    attribute = _attribute(node, name)
    if attribute is None:
        raise Blocked(f"lacks its attribute {name}")
    return attribute.as_graph()


def first_stacked_output(node: ir.Node) -> int:
    """Which output of the body of a Loop or Scan is the first that is collected, not carried to the next iteration."""
    body = body_of(node, "body")
    if node.op_type == "Loop":
        return len(body.inputs) - 1  # the number and the condition come in, the condition goes out
    return len(body.inputs) - integer(node, "num_scan_inputs", 0)


def find_input(node: ir.Node, slot: int) -> ir.Value | None:
    """An input of a node; None when it is absent, be it left out or given as the empty string."""
    return node.inputs[slot] if slot < len(node.inputs) else None


def required_input(node: ir.Node, slot: int) -> ir.Value:
    """An input that the op cannot do without.

    Raises:
        Blocked: It is absent all the same.
    """
    value = find_input(node, slot)
    if value is None:
        raise Blocked(f"lacks its input {slot}")
    return value


def integer(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_int()


def flag(node: ir.Node, name: str) -> bool:
    """An integer attribute that says yes or no, and no when it is absent."""
    return bool(integer(node, name, 0))


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute that is a list of integers."""
    attribute = _attribute(node, name)
    return default if attribute is None else tuple(attribute.as_ints())


def number(node: ir.Node, name: str, default: float) -> float:
    """A floating-point attribute."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_float()


def numbers(node: ir.Node, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """An attribute that is a list of floating-point numbers."""
    attribute = _attribute(node, name)
    return default if attribute is None else tuple(attribute.as_floats())


def text(node: ir.Node, name: str, default: str) -> str:
    """A string attribute."""
    attribute = _attribute(node, name)
    return default if attribute is None else attribute.as_string()


def _attribute(node: ir.Node, name: str) -> ir.Attr | None:
    attribute = node.attributes.get(name)
    if attribute is not None and attribute.is_ref():
        raise Blocked(f"has an attribute {name} that the caller of the function sets")
    return attribute

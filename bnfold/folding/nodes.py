"""onnx-ir's optional types, narrowed in one place, so that the rules read like the algebra.

What an attribute is inside a function may be left to the caller (a reference attribute). Nothing can be planned on such
a value: whoever asks for it blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.folding.answers import Blocked

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "find_input",
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

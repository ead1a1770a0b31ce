"""Attributes of two nodes of one operator, compared by what they mean: a default that is written out is no change."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["changed_attributes", "same_attributes"]

_LATEST = 1000  # the operators as they are now, where a graph does not say of which opset they are
# What says the same in other words, and is read where it counts.
_OWN_SPELLING = {
    "Gemm": frozenset({"alpha", "beta", "transA", "transB"}),
    "BatchNormalization": frozenset({"momentum", "training_mode", "spatial"}),
}
_WINDOWS = {"pads": 0, "strides": 1, "dilations": 1}  # along each axis, where they are absent
_SHAPED_BY_WEIGHTS = frozenset({"Conv", "ConvTranspose"})


def same_attributes(node: ir.Node, other: ir.Node) -> bool:
    """Whether two nodes have the same attributes, but for what is read where it counts."""
    own = frozenset().union(*(_OWN_SPELLING.get(one.op_type, frozenset()) for one in (node, other)))
    return not any(name not in own for name, _, _ in changed_attributes(node, other))


def changed_attributes(node: ir.Node, other: ir.Node) -> list[tuple[str, object, object]]:
    """The attributes that two nodes of one operator have otherwise, with both values; None for one without default."""
    left, right = _meant(node), _meant(other)
    return [
        (name, left.get(name), right.get(name)) for name in sorted({*left, *right}) if left.get(name) != right.get(name)
    ]


def _meant(node: ir.Node) -> dict[str, object]:
    """What attributes are, given or not; nothing of those that say what is so anyway."""
    version = node.graph.opset_imports.get(node.domain) if node.graph is not None else None
    found = dict(_defaults(node.op_type, node.domain, version or _LATEST))
    found |= {name: plain(one.value) for name, one in node.attributes.items() if not one.is_ref()}
    if node.op_type in _SHAPED_BY_WEIGHTS:
        found.pop("kernel_shape", None)
    for name, usual in _WINDOWS.items():
        value = found.get(name)
        if isinstance(value, tuple) and all(number == usual for number in value):
            del found[name]
    return found


@cache
def _defaults(op_type: str, domain: str, version: int) -> tuple[tuple[str, object], ...]:
    try:
        schema = onnx.defs.get_schema(op_type, version, "" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return ()
    given = [
        (name, one.default_value) for name, one in schema.attributes.items() if one.default_value.type
    ]  # the type of none is UNDEFINED, 0
    return tuple((name, plain(onnx.helper.get_attribute_value(value))) for name, value in given)


def plain(value: Any) -> object:
    """An attribute as something that compares: floats as they are stored, a graph or a tensor as its text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (int, float, str, type(None))):
        return value
    return tuple(map(plain, value)) if isinstance(value, (list, tuple)) else str(value)

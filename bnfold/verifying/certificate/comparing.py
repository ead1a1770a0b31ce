"""Operators that compare the cells along an axis: what is the same for all of these makes no difference to them.

softmax(x + t) = softmax(x)     argmax(s·x + t) = argmax(x) with s > 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.verifying.certificate.reading import attribute, is_standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.affine import Affine

__all__ = ["ignores"]

_ORDERS = frozenset({"ArgMax", "ArgMin", "Hardmax"})
_FLATTENS = frozenset({"Hardmax", "LogSoftmax", "Softmax"})  # before opset 13: all axes from there on
_ONE_AXIS = 13


def ignores(node: ir.Node, one: Affine) -> bool:
    """Whether an operator writes the same, whether or not its input has changed by a map."""
    if not is_standard(node) or node.op_type not in _ORDERS | _FLATTENS or not one.rank:
        return False
    flattens = node.op_type in _FLATTENS
    version = (node.graph.opset_imports.get("") if node.graph is not None else None) or _ONE_AXIS
    is_old = flattens and version < _ONE_AXIS
    axis = attribute(node, "axis", (1 if is_old else -1) if flattens else 0) % one.rank
    if one.axes & set(range(axis, one.rank if is_old else axis + 1)):
        return False
    return bool((one.scale > 0).all() if node.op_type in _ORDERS else (one.scale == 1).all())

"""Operators on single elements, or on windows along the axes of space: which maps they let pass as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.verifying.certificate.reading import attribute, given

if TYPE_CHECKING:
    from bnfold.affine import Affine
    from bnfold.verifying.certificate.reading import Constants

__all__ = ["FREE", "HOMOGENEOUS", "MAXIMA", "MEANS", "allows"]

FREE = frozenset({"Identity", "Cast", "Dropout"})
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu"})
MAXIMA = frozenset({"MaxPool", "GlobalMaxPool"})
MEANS = frozenset({"AveragePool", "GlobalAveragePool"})
_CROPS = frozenset({"tf_crop_and_resize", b"tf_crop_and_resize"})  # it writes a number of its own beside the data


def allows(node: ir.Node, kind: str, one: Affine, constants: Constants) -> bool:
    """Whether an operator on single elements, or on windows, lets a map pass."""
    if kind in FREE:
        return node.op_type != "Cast" or ir.DataType(attribute(node, "to", 1)).is_floating_point()
    is_positive = bool((one.scale > 0).all())
    if kind in HOMOGENEOUS:
        return is_positive and not one.shift.any()
    if kind in MAXIMA:
        return is_positive and len(node.outputs) == 1
    if kind == "Pad":
        return not one.shift.any() and _pads_with_zeros(node, one, constants)
    if kind == "Resize":
        return attribute(node, "coordinate_transformation_mode", b"") not in _CROPS or one.is_identity
    pads = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}
    counts_pads = kind == "AveragePool" and pads and (attribute(node, "count_include_pad", 0) or _rounds_up(node))
    return kind in MEANS and not (counts_pads and one.shift.any())


def _pads_with_zeros(node: ir.Node, one: Affine, constants: Constants) -> bool:
    """Whether a Pad writes zeros beside its data, along axes on which the map does not depend."""
    if attribute(node, "mode", b"constant") not in {"constant", b"constant"} or attribute(node, "value", 0.0):
        return False
    value, pads, axes = (constants.array(given(node, slot)) for slot in (2, 1, 3))
    if (value is None and given(node, 2) is not None) or (value is not None and np.any(value)):
        return False
    listed = attribute(node, "pads", None) if pads is None else pads.tolist()
    if listed is None:  # computed from shapes, for images
        return True
    padded = range(one.rank) if axes is None else [int(axis) % one.rank for axis in axes]
    count = len(listed) // 2
    return not any(axis in one.axes and (listed[i] or listed[i + count]) for i, axis in enumerate(padded))


def _rounds_up(node: ir.Node) -> bool:
    """Whether a window may lie beside the data, of which runtimes make what they like."""
    return bool(attribute(node, "ceil_mode", 0))

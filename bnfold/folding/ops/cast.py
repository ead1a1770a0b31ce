"""Cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import integer, required_input, text
from bnfold.folding.ops.carrying import carry_through
from bnfold.folding.rounding import FLOATS

if TYPE_CHECKING:
    from bnfold.folding.answers import Answer
    from bnfold.folding.view import View

__all__ = ["CastRule"]


# Of the significand.
_BITS = {ir.DataType.BFLOAT16: 8, ir.DataType.FLOAT16: 11, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


class CastRule:
    """Carries a scale, either way, from one floating-point type to another, and a shift where the type is as wide.

    Drawing:
        scale·x + shift → Cast → y   ⇔   x → Cast → scale·y + shift

    Algebra:
        y = x, but for the rounding

    Conditions:
        1. Both types are float16, bfloat16, float or double. (To an integer, or an 8-bit float, the rounding counts.)
        2. A shift does not move to the side with fewer bits, where a large one would take all of them; but it does
           where the op behind the Cast is followed by a Cast back, so that it has those bits only.

    Source:
        https://onnx.ai/onnx/operators/onnx__Cast.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Cast"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        behind (float[N,2,5] x, float[3,2,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            c = Cast <to = 11> (h)
            y = BatchNormalization (c, scale, zero_bias, zero_mean, var)
        }
        """,
        """
        in_front (float[N,5] x, float[4,5] w, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            c = Cast <to = 11> (h)
            y = Gemm <transB = 1> (c, w)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        source, target = view.dtype(required_input(node, 0)), _target(node, view)
        if source not in FLOATS or target not in FLOATS:  # condition 1
            names = [dtype.name if dtype is not None else "a type that is not known" for dtype in (source, target)]
            raise Blocked(f"casts {names[0]} to {names[1]}")
        answer = carry_through(node, view, lambda array: array, lambda array: array)
        bits = {required_input(node, 0): _BITS[source], node.outputs[0]: _BITS[target]}
        for value, demand in answer.carry.items():
            shifts = any(affine is not None and affine.shift.any() for affine in (demand.read, demand.write))
            narrower = bits[value] < max(bits.values())
            if shifts and narrower and not _is_narrowed_again(node.outputs[0], bits[value], view):  # condition 2
                raise Blocked("carries no shift to the type with fewer bits")
        return answer


def _is_narrowed_again(value: ir.Value, bits: int, view: View) -> bool:
    """Whether all that reads a tensor, one op further, is cast to as few bits."""
    readers = [use.node for use in value.uses()]
    behind = [use.node for node in readers if node.op_type != "Cast" for out in node.outputs for use in out.uses()]
    written = [out for node in readers if node.op_type != "Cast" for out in node.outputs]
    casts = [node for node in (*readers, *behind) if node in behind or node.op_type == "Cast"]
    is_output = value.is_graph_output() or any(out.is_graph_output() for out in written)
    return bool(casts) and not is_output and all(_bits_of(node, view) <= bits for node in casts)


def _bits_of(node: ir.Node, view: View) -> float:
    """How many bits a Cast leaves; no end of them for another op, or for a type that is not known."""
    target = _target(node, view) if node.op_type == "Cast" and node.domain == "" else None
    return _BITS.get(target, np.inf) if target is not None else np.inf


def _target(node: ir.Node, view: View) -> ir.DataType | None:
    if view.opset(node) >= 6:
        return ir.DataType(integer(node, "to", 0))
    return ir.DataType.__members__.get(text(node, "to", "").upper())

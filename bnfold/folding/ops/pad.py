"""Pad."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from bnfold.affine import DUST, Affine
from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, number, required_input, text
from bnfold.folding.ops.carrying import affines_around, carry_as_is, check_free, list_of_integers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnfold.folding.reexpression import Reexpression
    from bnfold.folding.view import View

__all__ = ["PadRule"]

_INPUTS = 11  # the opset from which pads and value are inputs
_NAME_OF_PADS = {1: "paddings"}

Pads = dict[int, tuple[int, int]]


class PadRule:
    """Carries any affine, either way, that makes one number again of the constant which it pads with.

    Drawing:
        scale·x + shift → Pad(v) → y   ⇔   x → Pad(v′) → scale·y + shift

    Algebra:
        v = scale·v′ + shift            on every cell that is padded
        Modes that repeat cells of the data (reflect, edge, wrap), and negative pads, which cut cells off, add nothing
        new. Where whole channels are padded, an affine of the data says nothing of them: they stay as they are, unless
        the readers want them otherwise.

    Conditions:
        1. The pads, and the axes, are constants.
        2. The affine does not vary along an axis that is padded with cells of the data, or cut.
        3. v′ is the same for all cells that are padded. Where it is not v, then v is a constant, and v′ has the type of
           the data.

    Source:
        https://onnx.ai/onnx/operators/onnx__Pad.html; Han et al. 2017 (https://arxiv.org/abs/1610.02915) for shortcuts
        with padded channels.
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Pad"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        reflection (float[N,2,4,4] x, float[3,2,1,1] w, float[3] scale, float[3] bias, float[3] mean, float[3] var)
                => (float[N,3,6,5] y) {
            h = Conv (x, w)
            pads = Constant <value_ints = [0, 0, 2, 0, 0, 0, 0, 1]> ()
            p = Pad <mode = "reflect"> (h, pads)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        """
        zeros (float[N,3,4] x, float[2,3,1] w, float[3] scale, float[3] zero_bias, float[3] zero_mean, float[3] var)
                => (float[N,2,7] y) {
            n = BatchNormalization (x, scale, zero_bias, zero_mean, var)
            pads = Constant <value_ints = [0, 0, 1, 0, 0, 2]> ()
            p = Pad (n, pads)
            y = Conv (p, w)
        }
        """,
        """
        more_channels (float[N,2,4] x, float[3,2,1] w, float[5,2,1] v, float[5] scale, float[5] bias, float[5] mean,
                       float[5] var) => (float[N,5,4] y) {
            h = Conv (x, w)
            pads = Constant <value_ints = [0, 2]> ()
            axes = Constant <value_ints = [1]> ()
            p = Pad (h, pads, "", axes)
            c = Conv (x, v)
            s = Add (c, p)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        pads = _pads(node, view)  # condition 1
        is_constant = text(node, "mode", "constant") == "constant"
        kept_whole = [axis for axis, ends in pads.items() if not is_constant or min(ends) < 0]
        for affine in affines_around(node, view):
            check_free(affine, kept_whole, "cuts cells off, or repeats them,")  # condition 2
        return _answer_constant(node, view, pads) if is_constant else carry_as_is(node, view)


def _answer_constant(node: ir.Node, view: View, pads: Pads) -> Answer:
    data, output = required_input(node, 0), node.outputs[0]
    known = view.settled(output)
    is_default = False
    if known is not None:
        carry = {data: known.map(lambda array: _inner(array, pads))}
    elif (inside := view.settled(data)) is not None:
        known = inside.map_affine(lambda affine: _extended(affine, pads))
        is_default = any(axis in affine.axes for affine in affines_around(node, view) for axis in pads)
        carry = {output: known}
    else:
        return Answer()
    new = _new_value(known, pads, _value(node, view))
    if new is None:
        return Answer(carry, is_default=is_default)
    rewrite = _rewrite(node, view, new)
    return Answer(carry, lambda: rewrite, is_default=is_default)


def _inner(array: NDArray[np.float64], pads: Pads) -> NDArray[np.float64]:
    """What an array of the output says of the data."""
    for axis, (begin, end) in pads.items():
        if array.shape[axis] > 1:
            array = array.take(range(begin, array.shape[axis] - end), axis)
    return array


def _extended(affine: Affine, pads: Pads) -> Affine:
    """The affine of the data where it is padded along an axis on which it varies: the identity there."""
    widths = [pads[axis] if axis in pads and axis in affine.axes else (0, 0) for axis in range(affine.rank)]
    shape = np.broadcast_shapes(affine.scale.shape, affine.shift.shape)
    scale, shift = np.broadcast_to(affine.scale, shape), np.broadcast_to(affine.shift, shape)
    return Affine(np.pad(scale, widths, constant_values=1.0), np.pad(shift, widths))


def _new_value(known: Reexpression, pads: Pads, old: float | None) -> float | None:
    """v′; None where it is v, be that known or not."""
    affine = known.write or known.read
    if affine is None:
        raise Blocked("pads what can neither be read nor written any more")
    shape = np.broadcast_shapes(affine.scale.shape, affine.shift.shape)
    padded = _padded(shape, pads)
    scale, shift = (np.broadcast_to(array, shape)[padded] for array in (affine.scale, affine.shift))
    if not scale.size or ((scale == 1) & (shift == 0)).all():
        return None
    if old is None:
        raise Blocked("pads with a value that is computed at run time")
    if known.write is None:
        dead = scale == 0
        if (shift[dead] != old).any():  # condition 3
            raise Blocked(f"pads with {old:g} channels that are another constant")
        scale, shift = 1 / scale[~dead], -shift[~dead] / scale[~dead]
    new = scale * old + shift
    limit = DUST * (np.abs(scale * old) + np.abs(shift))
    if (np.abs(new - old) <= limit).all():
        return None
    first = float(new[0])
    if not ((new == first) | (np.abs(new - first) <= limit)).all():  # condition 3
        raise Blocked(f"pads with {old:g}, which would have to be different numbers for different cells")
    return None if first == old else first


def _padded(shape: tuple[int, ...], pads: Pads) -> NDArray[np.bool_]:
    """Which numbers of an affine of that shape act on a cell that is padded."""
    padded = np.zeros(shape, bool)
    for axis, (begin, end) in pads.items():
        cells = np.moveaxis(padded, axis, 0)  # a view
        if len(cells) == 1:
            cells[...] |= max(begin, end) > 0
        else:
            cells[:begin] = True
            cells[len(cells) - end :] = True
    return padded


def _pads(node: ir.Node, view: View) -> Pads:
    """By axis: how many cells are added in front and behind; only axes where that is not 0."""
    opset, rank = view.opset(node), view.rank(required_input(node, 0))
    pads = list_of_integers(node, view, 1, _NAME_OF_PADS.get(opset, "pads"), _INPUTS)
    axes = list_of_integers(node, view, 3, "axes", _INPUTS) or range(rank)
    if pads is None or len(pads) != 2 * len(axes):
        raise Blocked("does not have two pads for each axis")
    ends = zip(pads[: len(axes)], pads[len(axes) :], strict=True)
    return {axis % rank: both for axis, both in zip(axes, ends, strict=True) if any(both)}


def _value(node: ir.Node, view: View) -> float | None:
    if view.opset(node) < _INPUTS:
        return number(node, "value", 0.0)
    value = find_input(node, 2)
    constant = view.find_weight(value)
    if value is None:
        return 0.0
    return float(constant.reshape(-1)[0]) if constant is not None else None


def _rewrite(node: ir.Node, view: View, new: float) -> Rewrite:
    dtype = view.dtype(required_input(node, 0))
    if view.opset(node) < _INPUTS:
        if dtype in (None, ir.DataType.DOUBLE) and float(np.float32(new)) != new:  # condition 3
            raise Blocked(f"pads with a value of type float, which cannot be {new!r}")
        return Rewrite(node, {}, attributes={"value": ir.AttrFloat32("value", new)})
    old = view.find_weight(find_input(node, 2))
    if old is None and dtype is None:  # condition 3
        raise Blocked("pads with 0, and of which type another number would have to be is not known")
    return Rewrite(node, {2: np.full(old.shape if old is not None else (), new)}, dtype_slot=0)

"""Ops that keep the order of the numbers and change the axes: Reshape, Flatten, Squeeze, Unsqueeze."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import required_input
from bnfold.folding.ops.carrying import carry_through

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.answers import Answer
    from bnfold.folding.shapes import Dim, Shape
    from bnfold.folding.view import View

__all__ = ["ReshapeRule"]


class ReshapeRule:
    """Carries any affine, either way, as long as what varies falls on axes whose sizes are known.

    Drawing:
        scale·x + shift → Reshape → y   ⇔   x → Reshape → scale′·y + shift′

    Algebra:
        The axes of input and output are cut into groups that hold the same numbers: [N | C | H·W] for a Flatten of
        [N, C, H, W] to [N, C·H·W] is [N], [C, H, W → C·H·W]. Within a group the arrays of the affine are broadcast to
        the old axes and reshaped to the new ones, which repeats a channel's number H·W times.

    Conditions:
        1. The number of axes is known on both sides.
        2. In a group with axes of unknown size nothing varies, unless it is one axis, whose size follows from the
           others. Sizes are matched from the end, then from the start (equal symbols are equal sizes); what is left
           between is one group. No size is 0.

    Source:
        https://onnx.ai/onnx/operators/onnx__Reshape.html
    """

    op_types: ClassVar[frozenset[str]] = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        flatten (float[N,2,3,3] x, float[4,18] w, float[2] scale, float[2] bias, float[2] mean, float[2] var)
                => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            f = Flatten (h)
            y = Gemm <transB = 1> (f, w)
        }
        """,
        """
        tokens_to_channels (float[N,7,5] x, float[5,4] w, float[4] b, float[4] scale, float[4] bias, float[4] mean,
                            float[4] var) => (float[M,4,1,1] y) {
            product = MatMul (x, w)
            h = Add (product, b)
            rows = Constant <value_ints = [-1, 4]> ()
            r = Reshape (h, rows)
            axes = Constant <value_ints = [2, 3]> ()
            u = Unsqueeze (r, axes)
            y = BatchNormalization (u, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        old, new = view.shape(data), view.shape(output)  # condition 1
        if 0 in (*old, *new):  # condition 2
            raise Blocked("has an axis of size 0")
        groups = _groups(old, new)
        turned = [_Group(group.new, group.old) for group in groups]
        return carry_through(node, view, lambda array: _moved(array, groups), lambda array: _moved(array, turned))


@dataclass(frozen=True)
class _Group:
    """Neighbouring axes of the input that hold the same numbers as neighbouring axes of the output."""

    old: Shape
    new: Shape


def _moved(array: NDArray[np.float64], groups: list[_Group]) -> NDArray[np.float64]:
    """The array with its axes moved, group by group; an array that does not vary in a group gets ones there."""
    start = 0
    before: list[int] = []
    after: list[int] = []
    for group in groups:
        part = array.shape[start : start + len(group.old)]
        start += len(group.old)
        if all(size == 1 for size in part):
            before += part
            after += [1] * len(group.new)
            continue
        old, new = _numbers(group)
        if old is None or new is None:  # condition 2
            raise Blocked(f"turns {_text(group.old)} into {_text(group.new)}, along which the affine varies")
        before += old
        after += new
    return np.broadcast_to(array, before).reshape(after)


def _numbers(group: _Group) -> tuple[list[int] | None, list[int] | None]:
    """The sizes of both sides; one that is missing on one side follows from all the others."""
    old, new = ([dim for dim in side if isinstance(dim, int)] for side in (group.old, group.new))
    unknown_old, unknown_new = len(group.old) - len(old), len(group.new) - len(new)
    if unknown_old == unknown_new == 0 and math.prod(old) == math.prod(new):
        return old, new
    if (unknown_old, unknown_new) == (0, 1):
        return old, _solved(group.new, math.prod(old), math.prod(new))
    if (unknown_old, unknown_new) == (1, 0):
        return _solved(group.old, math.prod(new), math.prod(old)), new
    return None, None


def _solved(side: Shape, total: int, known: int) -> list[int] | None:
    if not known or total % known:
        return None
    return [dim if isinstance(dim, int) else total // known for dim in side]


def _text(shape: Shape) -> str:
    # Names that shape inference made up mean nothing to a reader.
    known = ("?" if dim is None or str(dim).startswith("unk__") else str(dim) for dim in shape)
    return f"[{', '.join(known)}]"


def _groups(old: Shape, new: Shape) -> list[_Group]:
    """Cut both shapes into groups of equal size, in order."""
    tail = _from_the_end(old, new)
    old, new = _without_tail(old, new, tail)
    mirrored = _from_the_end(old[::-1], new[::-1])
    head = [_Group(group.old[::-1], group.new[::-1]) for group in reversed(mirrored)]
    rest = _Group(old[sum(len(group.old) for group in head) :], new[sum(len(group.new) for group in head) :])
    return [*head, *([rest] if rest.old or rest.new else []), *tail]


def _from_the_end(old: Shape, new: Shape) -> list[_Group]:
    groups: list[_Group] = []
    i, j = len(old), len(new)
    while i and j:
        k, m = _smallest_match(old[:i], new[:j])
        if k == i:
            break
        groups.insert(0, _Group(old[k:i], new[m:j]))
        i, j = k, m
    return groups


def _smallest_match(old: Shape, new: Shape) -> tuple[int, int]:
    """Where the smallest group at the end of both begins; the ends themselves where there is none."""
    if old[-1] == new[-1] and old[-1] is not None:
        return len(old) - 1, len(new) - 1
    k, m = len(old), len(new)
    left = right = 1
    while left != right or k == len(old) or m == len(new):
        shrink_old = left < right or (left == right and k == len(old))
        dim: Dim
        if shrink_old:
            if not k or not isinstance(dim := old[k - 1], int):
                return len(old), len(new)
            left, k = left * dim, k - 1
        else:
            if not m or not isinstance(dim := new[m - 1], int):
                return len(old), len(new)
            right, m = right * dim, m - 1
    return k, m


def _without_tail(old: Shape, new: Shape, tail: list[_Group]) -> tuple[Shape, Shape]:
    taken_old = sum(len(group.old) for group in tail)
    taken_new = sum(len(group.new) for group in tail)
    return old[: len(old) - taken_old], new[: len(new) - taken_new]

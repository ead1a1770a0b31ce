"""Normalisations with statistics of their own: LayerNormalization, InstanceNormalization, GroupNormalization, RMS."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bnfold.folding.answers import Answer, Blocked, Rewrite
from bnfold.folding.nodes import find_input, integer, required_input
from bnfold.folding.view import channels

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.affine import Affine
    from bnfold.folding.view import View

    Parameters = dict[int, NDArray[np.float64]]

__all__ = ["NormalizationRule"]

_GROUP_SCALE_PER_CHANNEL = 21  # before this opset, GroupNormalization has one scale for each group


class NormalizationRule:
    """Takes an affine behind it into its own scale and bias; a shift in front of it vanishes with the mean.

    Drawing:
        x → LayerNormalization(gamma, beta) → scale·y + shift   ⇒   x → LayerNormalization(gamma′, beta′)
        x + shift → InstanceNormalization → y            ⇒   x → InstanceNormalization → y

    Algebra:
        behind:      gamma′ = scale·gamma        beta′ = scale·beta + shift
        in front:    (x + shift) − mean(x + shift) = x − mean(x)   where the mean is over cells with the same shift
        No scale vanishes: it would have to pass through √(var + epsilon).

    Conditions:
        1. Its parameters are constants, as far as they change.
        2. The affine behind varies only as the parameters do: along the axes that LayerNormalization and
           RMSNormalization give to their scale, along the channels, or, before opset 21, from group to group.
        3. RMSNormalization has no bias: it takes no shift behind it, and subtracts no mean.
        4. The scale in front is 1; the shift is the same wherever a mean is taken: along the axes that are normalised,
           of one channel, of one group.
        5. Nobody reads the mean and the deviation that LayerNormalization also writes, where they would change.

    Source:
        https://onnx.ai/onnx/operators/onnx__LayerNormalization.html (and InstanceNormalization, GroupNormalization,
        RMSNormalization); Ba et al. 2016 (https://arxiv.org/abs/1607.06450), Wu and He 2018
        (https://arxiv.org/abs/1803.08494).
    """

    op_types: ClassVar[frozenset[str]] = frozenset(
        {"GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization"}
    )
    data_slots: ClassVar[frozenset[int]] = frozenset({0})
    examples: ClassVar[tuple[str, ...]] = (
        """
        layer (float[N,7,5] x, float[5] gamma, float[5] scale, float[5] bias, float[5] mean, float[5] var)
                => (float[N,5,7] y) {
            h = LayerNormalization (x, gamma)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
        """,
        """
        instance (float[N,3,7] x, float[3] gamma, float[3] beta, float[3] scale, float[3] bias, float[3] mean,
                  float[3] var) => (float[N,3,7] y) {
            h = InstanceNormalization (x, gamma, beta)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
    )

    def answer(self, node: ir.Node, view: View) -> Answer:  # noqa: D102 - see Rule
        data, output = required_input(node, 0), node.outputs[0]
        for further in node.outputs[1:]:
            known = view.settled(further)
            if known is not None and not known.is_identity:  # condition 5
                raise Blocked(f"writes '{further.name}', a statistic")
        if not (read := view.read(data)).is_identity:
            _check_vanishes(node, read)
        write = view.write(output)
        if write.is_identity:
            return Answer()
        constants = _changed(node, view, write)
        return Answer(rewrite=lambda: Rewrite(node, constants))


def _changed(node: ir.Node, view: View, write: Affine) -> Parameters:
    gamma = view.weight(node.inputs[1], "a scale")  # condition 1
    scale, shift = _as_parameters(node, view, write, gamma)
    if node.op_type == "RMSNormalization":
        if shift.any():  # condition 3
            raise Blocked("has no bias that could take the shift in")
        return {1: gamma * scale}
    bias = find_input(node, 2)
    if bias is None and not shift.any():
        return {1: gamma * scale}
    beta = view.weight(bias, "a bias") if bias is not None else np.zeros_like(gamma)
    if beta.shape != gamma.shape:  # condition 2
        raise Blocked(f"has a bias of shape {list(beta.shape)} beside a scale of {list(gamma.shape)}")
    return {1: gamma * scale, 2: beta * scale + shift}


def _as_parameters(
    node: ir.Node, view: View, write: Affine, gamma: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift as arrays that broadcast against the parameters of the node (condition 2)."""
    if node.op_type in ("LayerNormalization", "RMSNormalization"):
        covered = {write.rank - gamma.ndim + index for index, size in enumerate(gamma.shape) if size > 1}
        if not write.axes <= covered:
            raise Blocked(f"has a scale along the axes {sorted(covered)}, the affine varies along {sorted(write.axes)}")
        kept = tuple(range(write.rank - gamma.ndim, write.rank))
        return (_of_axes(write.scale, kept), _of_axes(write.shift, kept))
    if node.op_type == "GroupNormalization" and view.opset(node) < _GROUP_SCALE_PER_CHANNEL:
        return _per_group(write.scale, gamma.size, write), _per_group(write.shift, gamma.size, write)
    return channels(write, 1, gamma.size, "output")


def _of_axes(array: NDArray[np.float64], axes: tuple[int, ...]) -> NDArray[np.float64]:
    return array.reshape([array.shape[axis] for axis in axes])


def _per_group(array: NDArray[np.float64], groups: int, write: Affine) -> NDArray[np.float64]:
    if write.axes - {1}:
        raise Blocked(f"has a scale for each group of channels, but the affine varies along {sorted(write.axes)}")
    if array.size == 1:
        return np.broadcast_to(array.reshape(-1), (groups,))
    grouped = array.reshape(groups, -1)
    if (grouped != grouped[:, :1]).any():
        raise Blocked("has a scale for each group of channels, but the affine varies within a group")
    return grouped[:, 0]


def _normalised(node: ir.Node, rank: int) -> set[int]:
    return set(range(integer(node, "axis", -1) % rank, rank))


def _check_vanishes(node: ir.Node, read: Affine) -> None:
    if (read.scale != 1).any():  # condition 4
        raise Blocked("normalises: a scale in front of it does not vanish, because of epsilon")
    if node.op_type == "RMSNormalization":  # condition 3
        raise Blocked("subtracts no mean: carries no shift")
    if any(further.uses() or further.is_graph_output() for further in node.outputs[1:]):  # condition 5
        raise Blocked("also says what the mean was")
    if node.op_type == "LayerNormalization":
        over = _normalised(node, read.rank)
    else:
        over = set(range(2, read.rank))
        if node.op_type == "GroupNormalization":
            _per_group(read.shift, integer(node, "num_groups", 0) or 1, read)
    if read.axes & over:  # condition 4
        raise Blocked(f"takes a mean along the axes {sorted(over)}, along which the shift varies")

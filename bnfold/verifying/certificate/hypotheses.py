"""What a fold may have made of a tensor: the maps among which the right one is looked for.

A fold has a choice: it may keep any tensor of a stretch without weights as it was, and re-express the others. So each
tensor that is reached from here, forward through operators that carry a map, gives one hypothesis: that it is as it
was. Which one holds is read off the weights; its numbers are then exact, where the weights themselves are rounded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.verifying.certificate.carrying import is_carrier, pull, push
from bnfold.verifying.certificate.reading import affine_of, has_dead, rank_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.verifying.certificate.pairing import Pairs
    from bnfold.verifying.certificate.reading import Constants

    Hypothesis = tuple[NDArray[np.float64], bool]
    Back = Callable[[Affine], Affine | None]

__all__ = ["PICKERS", "Reach", "choose", "followed_by", "reach"]

PICKERS = frozenset({"Split", "Slice", "Gather"})  # of channels, some
_MOST_TENSORS = 200
_MOST_HYPOTHESES = 64
_LONGEST_ROW = 8  # of nodes between weights and a sum
_CANCELLED = 1e-12
_TINY = 1e-300
_DIGITS = 3  # of a distance in tolerances; of hypotheses that are the same but for float64 the first is meant
_CLEARLY = 1 / 16  # of a tolerance


def followed_by(one: Affine, following: Affine) -> Affine:
    """One map after another; what cancels but for the last bits of float64 is exactly 1, or 0."""
    with np.errstate(all="ignore"):
        scale = following.scale * one.scale
        moved = following.scale * one.shift
        shift = moved + following.shift
        scale = np.where(np.abs(scale - 1) <= _CANCELLED, 1.0, scale)
        shift = np.where(np.abs(shift) <= _CANCELLED * (np.abs(moved) + np.abs(following.shift)), 0.0, shift)
    return Affine(scale, shift)


@dataclass
class Reach:
    """What lies behind a tensor of the reference, as far as a map is carried.

    Attributes:
        maps: The hypotheses.
        parts: Those that hold for some of the channels, which an operator on the way picks, whatever the others do.
        readers: The nodes with weights at the end, and those that let nothing pass.
        tensors: The tensors on the way.
        picked: Those of them that have some of the channels.
        is_lost: Whether a node on the way was not found in the candidate.
        is_dead: Whether an affine on the way makes a channel constant.
        sites: The affines on the way that the candidate does not have.
    """

    maps: list[Affine] = field(default_factory=list)
    parts: set[int] = field(default_factory=set)
    readers: set[ir.Node] = field(default_factory=set)
    tensors: set[ir.Value] = field(default_factory=set)
    picked: set[ir.Value] = field(default_factory=set)
    is_lost: bool = False
    is_dead: bool = False
    sites: list[ir.Node] = field(default_factory=list)

    def along(self, axis: int, size: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """Scales and shifts that vary along one axis only, as vectors of a size."""
        found = [(one.vectors(axis, size), number in self.parts) for number, one in enumerate(self.maps) if one.rank]
        return (
            [(vectors[0], is_part) for vectors, is_part in found if vectors is not None],
            [(vectors[1], is_part) for vectors, is_part in found if vectors is not None],
        )

    def spread(self, shape: tuple[int, ...]) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """Scales and shifts that fit a shape, flat."""
        scales, shifts = [], []
        for number, one in enumerate(self.maps):
            sizes = zip(one.scale.shape, one.shift.shape, shape, strict=False)
            if one.rank == len(shape) and all({scale, shift} <= {1, size} for scale, shift, size in sizes):
                scales.append((np.broadcast_to(one.scale, shape).reshape(-1), number in self.parts))
                shifts.append((np.broadcast_to(one.shift, shape).reshape(-1), number in self.parts))
        return scales, shifts


def reach(value: ir.Value, rank: int, pairs: Pairs, known: Mapping[ir.Value, Affine], constants: Constants) -> Reach:
    """Walk forward from a tensor of ``rank`` axes, the nearest first."""
    found = Reach()
    waiting: deque[tuple[ir.Value, Back, int]] = deque([(value, lambda one: one, 0)])
    seen: set[tuple[ir.Value, int]] = set()  # behind a product of two tensors, once for each operand
    while waiting and len(seen) < _MOST_TENSORS:
        tensor, back, operand = waiting.popleft()
        if (tensor, operand) in seen:
            continue
        seen.add((tensor, operand))
        found.tensors.add(tensor)
        axes = rank if tensor is value else rank_of(tensor)
        if axes is None:
            continue
        known_before = len(found.maps)
        _add(found.maps, back(Affine.identity(axes)))
        if tensor in found.picked:
            found.parts.update(range(known_before, len(found.maps)))
        for node, slot in tensor.uses():
            further = _behind(node, slot, axes, back, found, pairs, known, constants)
            number = slot if node.op_type == "MatMul" else operand
            waiting.extend((output, through, number) for output, through in further)
            if tensor in found.picked or node.op_type in PICKERS:
                found.picked.update(node.outputs)
    return found


def _behind(
    node: ir.Node,
    slot: int,
    rank: int,
    back: Back,
    found: Reach,
    pairs: Pairs,
    known: Mapping[ir.Value, Affine],
    constants: Constants,
) -> list[tuple[ir.Value, Back]]:
    if node in pairs.removed:
        affine = affine_of(node, constants, rank)
        if affine is None:
            found.is_lost = True
            return []
        found.sites.append(node)
        found.is_dead |= has_dead(affine)
        return [(node.outputs[0], lambda wanted: _and_then(back, _before(affine, wanted)))]
    if all(map(constants.is_constant, node.outputs)):  # its Shape, or a CastLike that takes its type: never its numbers
        return []
    if node not in pairs.nodes:  # lost, or in the body of another node
        found.is_lost = True
        return []
    if node.op_type in {"Add", "Sub"} and slot == 0 and affine_of(node, constants, rank) is not None:
        # A term that stays takes any shift in; a scale is that behind it.
        found.readers.add(node)
        return [(node.outputs[0], lambda wanted: back(Affine(wanted.scale, np.zeros_like(wanted.shift))))]
    is_affine = node.op_type != "Neg" and affine_of(node, constants, rank) is not None
    if not is_carrier(node, constants) or is_affine:
        found.readers.add(node)
        return []
    other = _other_operand(node, slot, known)
    if other is not None:
        _add(found.maps, _and_then(back, Affine(other.scale, np.zeros_like(other.shift))))
    beside = None
    if other is None and node.op_type in {"Add", "Sum"} and len(node.inputs) == 2:
        beside = _from_its_weights(node.inputs[1 - slot], pairs, constants)
    if beside is not None and beside.rank == rank:
        _add(found.maps, _and_then(back, Affine(beside.scale, np.zeros_like(beside.shift))))
        _add(found.maps, _and_then(back, beside))

    def through(wanted: Affine, index: int) -> Affine | None:
        pulled = pull(node, slot, wanted, constants, index)
        summand = other if other is not None else beside
        if pulled is None or summand is None or summand.rank != pulled.rank or node.op_type not in {"Add", "Sum"}:
            return _and_then(back, pulled)
        rest = Affine(pulled.scale, _difference(pulled.shift, summand.shift))
        first, last = (pulled, rest) if beside is not None else (rest, pulled)  # what is beside has its shift for good
        _add(found.maps, _and_then(back, first))
        return _and_then(back, last)

    return [(output, lambda wanted, i=i: through(wanted, i)) for i, output in enumerate(node.outputs)]  # type: ignore[misc]


def _from_its_weights(value: ir.Value | None, pairs: Pairs, constants: Constants) -> Affine | None:
    """The map of the other operand of a sum, which is not known yet, if the weights that it comes from stayed.

    A stream of residual blocks has one scale: that of a block further on, of which the BatchNormalization went forward.
    """
    row: list[ir.Node] = []
    while value is not None and len(row) < _LONGEST_ROW:
        node = value.producer()
        if node is None or not (node in pairs.removed or is_carrier(node, constants)) or node.op_type == "MatMul":
            break
        data = node.inputs[:1] if node.op_type == "Reshape" else node.inputs  # its shape may be computed
        if [one for one in data if one is not None and not constants.is_constant(one)] != [node.inputs[0]]:
            break
        row.append(node)
        value = node.inputs[0]
    rank = None if value is None else rank_of(value)
    one = None if rank is None or not any(node in pairs.removed for node in row) else Affine.identity(rank)
    for node in reversed(row):
        if one is None:
            return None
        affine = affine_of(node, constants, one.rank) if node in pairs.removed else None
        with np.errstate(all="ignore"):
            one = push(node, [one], constants) if affine is None else followed_by(one, affine)
    return one


def _difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    total = left - right
    return np.where(np.abs(total) <= _CANCELLED * (np.abs(left) + np.abs(right)), 0.0, total)


def _other_operand(node: ir.Node, slot: int, known: Mapping[ir.Value, Affine]) -> Affine | None:
    if node.op_type not in {"Add", "Sum", "Sub"} or len(node.inputs) != 2:
        return None
    other = node.inputs[1 - slot]
    return None if other is None else known.get(other)


def _before(affine: Affine, wanted: Affine) -> Affine:
    """The map of its input for which an affine that is gone gives the map that is wanted."""
    with np.errstate(all="ignore"):
        return Affine(wanted.scale / affine.scale, (wanted.shift - affine.shift) / affine.scale)


def _and_then(back: Back, one: Affine | None) -> Affine | None:
    return None if one is None else back(one)


def _add(maps: list[Affine], one: Affine | None) -> None:
    if one is None or len(maps) >= _MOST_HYPOTHESES:
        return
    same = (
        np.array_equal(one.scale, other.scale, equal_nan=True)
        and np.array_equal(one.shift, other.shift, equal_nan=True)
        for other in maps
    )
    if not any(same):
        maps.append(one)


def choose(
    estimate: NDArray[np.float64],
    tolerance: NDArray[np.float64],
    hypotheses: Sequence[Hypothesis],
) -> NDArray[np.float64]:
    """The hypothesis that the channels are nearest to, each counting for no more than one that is not near at all.

    Two may both be near: a BatchNormalization whose variance is 1 multiplies by 1/√(1 + ε), a few ulps from 1.

    Args:
        estimate: What the weights say, for each channel.
        tolerance: How far an estimate may lie off.
        hypotheses: What it may be exactly, and whether that may hold for single channels, beside another one.
    """
    stacked = np.stack([array for array, _ in hypotheses] or [np.full(estimate.size, np.nan)])
    with np.errstate(all="ignore"):
        distance = np.abs(stacked - estimate)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        near = distance <= tolerance
        off = np.where(near, distance / np.maximum(tolerance, _TINY), 1.0)
    if near.any():
        common = int(np.argmin(np.round(off.sum(axis=1), _DIGITS)))
    else:
        sizes = np.where(np.isfinite(distance), distance, np.nan)
        medians = [float(np.nanmedian(row)) if np.isfinite(row).any() else np.inf for row in sizes]
        common = int(np.argmin(medians))
    result, least = stacked[common], off[common]
    for number, (_, is_part) in enumerate(hypotheses):
        if is_part:
            better = near[number] & (~near[common] | (off[number] < least - _CLEARLY))
            result, least = np.where(better, stacked[number], result), np.where(better, off[number], least)
    return np.asarray(np.where(np.isfinite(result), result, np.nan))

"""A tensor and the pieces that it is cut into, or put together from, along one axis."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

__all__ = ["answer_pieces"]


def answer_pieces(whole: ir.Value, pieces: Sequence[ir.Value], axis: int, view: View) -> Answer:
    """The whole decides about its pieces; pieces that nobody asked about stay as they are, once nothing else is open.

    Raises:
        Blocked: The affine varies along the axis, and a piece's size there is not known; or one tensor is two pieces
            that would have to differ.
    """
    axis %= view.rank(whole)
    known = view.settled(whole)
    if known is not None:
        return Answer(_cut(known, pieces, axis, view))
    settled = [view.settled(piece) for piece in pieces]
    if all(piece is None for piece in settled):
        return Answer()
    is_default = any(piece is None for piece in settled)
    if is_default and not view.is_final:
        return Answer(is_default=True)  # put together again for each piece of a wide Concat, it would cost a square
    identity = Reexpression.from_read(Affine.identity(view.rank(whole)))
    joined = _join([piece or identity for piece in settled], pieces, axis, view)
    rest = {piece: identity for piece, known in zip(pieces, settled, strict=True) if known is None}
    return Answer({whole: joined, **rest}, is_default=is_default)


def _cut(known: Reexpression, pieces: Sequence[ir.Value], axis: int, view: View) -> dict[ir.Value, Reexpression]:
    varies = any(affine is not None and axis in affine.axes for affine in (known.read, known.write))
    bounds = [0, *accumulate(_sizes(pieces, axis, view))] if varies else [0] * (len(pieces) + 1)
    demands: dict[ir.Value, Reexpression] = {}
    for piece, (start, end) in zip(pieces, pairwise(bounds), strict=True):
        demand = known.map(lambda array, s=start, e=end: _slice(array, axis, s, e))  # type: ignore[misc]
        if not demands.setdefault(piece, demand).agrees(demand):
            raise Blocked(f"holds '{piece.name}' twice, and would need it in two forms")
    return demands


def _slice(array: NDArray[np.float64], axis: int, start: int, end: int) -> NDArray[np.float64]:
    return array if array.shape[axis] == 1 else array.take(range(start, end), axis)


def _join(parts: Sequence[Reexpression], pieces: Sequence[ir.Value], axis: int, view: View) -> Reexpression:
    if all(part.agrees(parts[0]) and not _varies(part, axis) for part in parts):
        return parts[0]
    sizes = _sizes(pieces, axis, view)
    reads = [part.read for part in parts if part.read is not None]
    writes = [part.write for part in parts if part.write is not None]
    return Reexpression(
        read=_joined(reads, sizes, axis) if len(reads) == len(parts) else None,
        write=_joined(writes, sizes, axis) if len(writes) == len(parts) else None,
    )


def _varies(part: Reexpression, axis: int) -> bool:
    return any(affine is not None and axis in affine.axes for affine in (part.read, part.write))


def _joined(parts: Sequence[Affine], sizes: Sequence[int], axis: int) -> Affine:
    return Affine(
        _concatenated([part.scale for part in parts], sizes, axis),
        _concatenated([part.shift for part in parts], sizes, axis),
    )


def _concatenated(arrays: list[NDArray[np.float64]], sizes: Sequence[int], axis: int) -> NDArray[np.float64]:
    widest = [max(lengths) for lengths in zip(*(array.shape for array in arrays), strict=True)]
    whole = np.empty((*widest[:axis], sum(sizes), *widest[axis + 1 :]))
    bounds = pairwise([0, *accumulate(sizes)])
    for array, (start, end) in zip(arrays, bounds, strict=True):
        whole[(*[slice(None)] * axis, slice(start, end))] = array
    return whole


def _sizes(pieces: Sequence[ir.Value], axis: int, view: View) -> list[int]:
    sizes = []
    for piece in pieces:
        size = view.shape(piece)[axis]
        if not isinstance(size, int):
            raise Blocked(f"holds '{piece.name}', whose size along axis {axis} is not known")
        sizes.append(size)
    return sizes

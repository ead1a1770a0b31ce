"""Ops that select cells of a tensor along an axis: Slice, and Gather by constant indices.

Several of them may read one tensor, each another part of it. What they demand of it is united: each alone would leave
the others' parts as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.affine import Affine
from bnfold.folding.answers import Answer, Blocked, Choice
from bnfold.folding.nodes import integer, required_input
from bnfold.folding.ops.carrying import list_of_integers
from bnfold.folding.reexpression import Reexpression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding.view import View

    Pick = slice | NDArray[np.int64]

__all__ = ["answer_selection"]

_BEYOND = 2**31 - 1  # exporters write this, or more, for "up to the end"
_AT_RUN_TIME = "selects by indices that are computed at run time from an axis along which the affine varies"


@dataclass(frozen=True)
class _Selection:
    """What an op selects.

    Attributes:
        picks: By axis of the data, what is selected there; None when that is known at run time only.
        index_rank: How many axes each of these axes becomes: as many as the indices of a Gather have.
    """

    picks: Mapping[int, Pick | None]
    index_rank: int = 1

    def forward(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Select from an array that broadcasts against the data."""
        for axis, pick in self.picks.items():
            if array.shape[axis] > 1:
                cells = _cells(pick, array.shape[axis])
                array = np.take(array, cells, axis)
            elif self.index_rank != 1:
                array = array.reshape(*array.shape[:axis], *[1] * self.index_rank, *array.shape[axis + 1 :])
        return array

    def flat(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """An array that broadcasts against the output, with the axes of the indices merged to one."""
        if self.index_rank == 1:
            return array
        ((axis, pick),) = self.picks.items()
        end = axis + self.index_rank
        before, part, after = array.shape[:axis], array.shape[axis:end], array.shape[end:]
        if all(size == 1 for size in part):
            return array.reshape(*before, 1, *after)
        if not isinstance(pick, np.ndarray):
            raise Blocked(_AT_RUN_TIME)
        return np.broadcast_to(array, (*before, *pick.shape, *after)).reshape(*before, -1, *after)


@dataclass(frozen=True)
class _Demand:
    """What one reader of a tensor demands of its part.

    Attributes:
        selection: What it selects.
        known: The re-expression of its output.
        flat: The same with the axes of the data.
    """

    selection: _Selection
    known: Reexpression
    flat: Reexpression

    @property
    def varying(self) -> frozenset[int]:
        """The axes on which the op selects and the affine varies."""
        return frozenset(self.selection.picks).intersection(
            axis for affine in (self.flat.read, self.flat.write) if affine is not None for axis in affine.axes
        )

    @property
    def axes(self) -> frozenset[int]:
        """The axes along which the rest of the tensor may be left as it is."""
        return self.varying or frozenset(self.selection.picks)


def answer_selection(node: ir.Node, view: View) -> Answer | Choice:
    """The data decides about what is selected; of the data, what nobody selected stays as it is.

    Where the affine does not vary along the axis that is cut, as when the border of an image is cut off behind a Conv,
    all of the data is re-expressed alike.

    Raises:
        Blocked: The indices are not known, or one cell is wanted in two forms.
    """
    data, output = required_input(node, 0), node.outputs[0]
    own = _selection_of(node, view)
    if (known := view.settled(data)) is not None:
        return Answer({output: known.map(own.forward)})
    if view.settled(output) is None:
        return Answer()
    demands = list(_demands(node, data, view))
    uniform = _uniform(demands)
    if uniform is not None and not _is_the_same_everywhere(uniform):
        return Answer({data: uniform}, is_default=True)
    sizes = view.shape(data)
    if uniform is not None and not all(isinstance(sizes[axis], int) for demand in demands for axis in demand.axes):
        return Answer({data: uniform}, is_default=True)
    united, is_complete = _united(demands, data, view)
    if uniform is None or is_complete:
        return Answer({data: united}, is_default=not is_complete)
    # One number for all that is selected: of a single channel, or of an image? Only who takes it in can tell.
    return Choice((Answer({data: united}), Answer({data: uniform})))


def _is_the_same_everywhere(known: Reexpression) -> bool:
    return not any(affine is not None and affine.axes for affine in (known.read, known.write))


def _demands(node: ir.Node, data: ir.Value, view: View) -> Iterator[_Demand]:
    for use in data.uses():
        known = view.settled(use.node.outputs[0])
        if use.idx != 0 or use.node.domain != "" or use.node.op_type not in _READERS or known is None:
            continue
        try:
            selection = _selection_of(use.node, view)
            flat = known.map(selection.flat)
        except Blocked:
            if use.node is node:
                raise
            continue  # it says so itself when it is asked
        yield _Demand(selection, known, flat)


def _uniform(demands: Sequence[_Demand]) -> Reexpression | None:
    """The re-expression of all of the data, when that is what each part of it needs."""
    first = demands[0].flat
    alike = all(not demand.varying and demand.flat.agrees(first) for demand in demands)
    return first if alike else None


def _united(demands: Sequence[_Demand], data: ir.Value, view: View) -> tuple[Reexpression, bool]:
    """All demands, with the identity on the rest, and whether there is no rest."""
    sizes = _sizes(demands, data, view)
    reads = [demand.flat.read for demand in demands]
    writes = [demand.flat.write for demand in demands]
    united = Reexpression(read=_scattered(demands, reads, sizes), write=_scattered(demands, writes, sizes))
    for demand in demands:
        if not united.map(demand.selection.forward).agrees(demand.known):
            raise Blocked(f"selects a part of '{data.name}' that would be needed in two forms")
    covered = _scatter(demands, [np.ones((1,) * len(sizes))] * len(demands), sizes, 0.0)
    return united, bool(covered.all())


def _sizes(demands: Sequence[_Demand], data: ir.Value, view: View) -> list[int]:
    """By axis: its size where parts of the tensor differ; 0 elsewhere."""
    shape = view.shape(data)
    sizes = [0] * len(shape)
    for axis in frozenset().union(*(demand.axes for demand in demands)):
        size = shape[axis]
        if not isinstance(size, int):
            raise Blocked(f"selects from '{data.name}', whose size along axis {axis} is not known")
        sizes[axis] = size
    return sizes


def _scattered(demands: Sequence[_Demand], parts: Sequence[Affine | None], sizes: Sequence[int]) -> Affine | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Affine(
        _scatter(demands, [part.scale for part in known], sizes, 1.0),
        _scatter(demands, [part.shift for part in known], sizes, 0.0),
    )


def _scatter(
    demands: Sequence[_Demand], arrays: Sequence[NDArray[np.float64]], sizes: Sequence[int], rest: float
) -> NDArray[np.float64]:
    widest = np.max([array.shape for array in arrays], axis=0)
    result = np.full([size or int(width) for size, width in zip(sizes, widest, strict=True)], rest)
    for demand, array in zip(demands, arrays, strict=True):
        cells = [
            _cells(demand.selection.picks[axis], size).reshape(-1) if axis in demand.axes else np.arange(size)
            for axis, size in enumerate(result.shape)
        ]
        result[np.ix_(*cells)] = array
    return result


def _cells(pick: Pick | None, size: int) -> NDArray[np.int64]:
    if pick is None:
        raise Blocked(_AT_RUN_TIME)
    cells: NDArray[np.int64] = np.arange(size)[pick]
    if not cells.size:
        raise Blocked("selects nothing")
    return cells


def _selection_of(node: ir.Node, view: View) -> _Selection:
    return _READERS[node.op_type](node, view)


def _of_slice(node: ir.Node, view: View) -> _Selection:
    starts, ends, axes, steps = (
        list_of_integers(node, view, slot, name, since=10)
        for slot, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    if starts is None or ends is None:
        raise Blocked("lacks its starts or its ends")
    shape = view.shape(required_input(node, 0))
    picks: dict[int, Pick | None] = {}
    for start, end, axis, step in zip(
        starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
    ):
        size = shape[axis]
        reaches_end = end >= _BEYOND or (isinstance(size, int) and end >= size)
        if (start, step) != (0, 1) or not reaches_end:
            picks[axis % len(shape)] = slice(start, end, step)
    return _Selection(picks)


def _of_gather(node: ir.Node, view: View) -> _Selection:
    axis = integer(node, "axis", 0) % view.rank(required_input(node, 0))
    indices = required_input(node, 1)
    constant = view.constant(indices)
    if constant is None:
        return _Selection({axis: None}, view.rank(indices))
    return _Selection({axis: constant.astype(np.int64)}, constant.ndim)


_READERS = {"Gather": _of_gather, "Slice": _of_slice}

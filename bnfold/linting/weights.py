"""The weights that take in BatchNormalizations, as they are and as the fold would leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.folding.facts import Facts
from bnfold.folding.nodes import find_input, flag, integer
from bnfold.linting.facts import FoldedWeight
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnfold.folding import FoldResult

__all__ = ["FoldedWeights"]

_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class FoldedWeights:
    """Called, it reads them one after another, in the order of the graph."""

    def __init__(self, facts: Facts, plan: FoldResult, export_dtype: ir.DataType | None) -> None:
        self._facts = facts
        self._plan = plan
        self._export_dtype = export_dtype

    def __call__(self) -> Iterator[FoldedWeight]:
        """Those of the ops that the plan says took something in."""
        names = {absorption.node for entry in self._plan.folded for absorption in entry.into}
        if not names:
            return
        originals = {self._facts.label(node): node for node in self._facts_nodes()}
        folded = Facts(self._plan.model)
        for graph in all_graphs(self._plan.model):
            for node in graph:
                original = originals.get(folded.label(node))
                if original is not None and folded.label(node) in names:
                    yield from self._look_at(node, original, folded)

    def _facts_nodes(self) -> Iterator[ir.Node]:
        return (node for graph in all_graphs(self._facts.model) for node in graph)

    def _look_at(self, node: ir.Node, original: ir.Node, folded: Facts) -> Iterator[FoldedWeight]:
        value = find_input(node, 1)
        dtype = folded.constants.dtype(value)
        after, before = _rows(node, folded), _rows(original, self._facts)
        if value is None or dtype is None or after is None or before is None or after.shape != before.shape:
            return
        if not np.isfinite(after).all() or (after == before).all():
            return
        stored = self._export_dtype or dtype
        yield FoldedWeight(folded.label(node), node.op_type, value.name or "", stored, before, after)


def _rows(node: ir.Node, facts: Facts) -> NDArray[np.float64] | None:
    """The weight of an op, a row for each channel that it writes; None where it has none that is stored."""
    weight = facts.constants.weight(find_input(node, 1)) if node.domain == "" and node.op_type in _OPS else None
    if weight is None or weight.ndim < 2 or not weight.size:
        return None
    if node.op_type == "Conv" or (node.op_type == "Gemm" and flag(node, "transB")):
        return weight.reshape(weight.shape[0], -1)
    if node.op_type == "ConvTranspose":  # [inputs, outputs of a group, …]
        group = integer(node, "group", 1)
        split = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
        return split.transpose(0, 2, 1, 3).reshape(group * weight.shape[1], -1)
    return weight.reshape(-1, weight.shape[-1]).T

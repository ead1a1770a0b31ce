"""What is true of a model whatever is planned: its constants, shapes, versions, and what must stay as it is."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.errors import BnfoldError
from bnfold.folding.constants import Constants
from bnfold.folding.nodes import find_input, label, required_input
from bnfold.folding.shapes import Shapes
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Facts", "is_pinned"]


class Facts:
    """One object a model, made once for all its plans."""

    def __init__(self, model: ir.Model, keep: Iterable[str] = ()) -> None:
        self.model = model
        self._opsets = dict(_opsets(model))
        # As they are before anything changes: a fold may rename what an unnamed node writes.
        self._labels = {node: label(node) for graph in all_graphs(model) for node in graph}
        self.constants = Constants(model.ir_version, self.opset)
        self.shapes = Shapes(model, self.constants)
        self.untouchable = _matching(model, keep)

    def opset(self, node: ir.Node) -> int:
        """The version of the ONNX operators where the node stands."""
        return self._opsets.get(node.graph, 1) if node.graph is not None else 1

    def label(self, node: ir.Node) -> str:
        """How a report names a node, whatever has been folded meanwhile."""
        return self._labels.get(node) or label(node)

    def stored_dtype(self, node: ir.Node, slot: int, otherwise: int) -> ir.DataType:
        """The dtype in which a constant of a node is stored: that of what stands there, or else of another slot."""
        array = self.constants.array(find_input(node, slot))
        if array is None:
            array = self.constants.array(find_input(node, otherwise))
        if array is not None:
            return ir.DataType.from_numpy(array.dtype)
        dtype = self.shapes.dtype(required_input(node, otherwise))
        if dtype is None:
            raise ValueError(f"{node.op_type} '{self.label(node)}' has no constant there")
        return dtype

    def why_not_constant(self, value: ir.Value) -> str:
        """What a value is that is not a floating-point constant."""
        if self.constants.array(value) is not None:
            return "not a floating-point tensor"
        if value.is_initializer():
            return "a graph input, which the caller may replace"
        return "a graph input" if value.is_graph_input() else "computed at run time"


def is_pinned(value: ir.Value) -> str | None:
    """Why a tensor may never be re-expressed: what else it is, or None.

    Outputs and inputs of a body or of a function are pinned like those of the model.
    """
    if value.is_graph_output():
        return "a graph output"
    if value.is_initializer():
        return "a constant"
    if value.is_graph_input():
        return "a graph input"
    return None


def _opsets(model: ir.Model) -> Iterator[tuple[ir.Graph, int]]:
    imports = [(model.graph, model.opset_imports)]
    imports += [(function.graph, function.opset_imports) for function in model.functions.values()]
    for outermost, versions in imports:
        version = versions.get("", versions.get("ai.onnx", 1))
        yield outermost, version
        yield from ((graph, version) for graph in outermost.subgraphs())


def _matching(model: ir.Model, patterns: Iterable[str]) -> frozenset[ir.Node]:
    nodes = [node for graph in all_graphs(model) for node in graph]
    found: set[ir.Node] = set()
    for pattern in patterns:
        # Names such as "blocks[0]/bn" hold brackets: a name matches itself, whatever it means as a pattern.
        matches = [n for n in nodes if any(name == pattern or fnmatchcase(name, pattern) for name in _names(n))]
        if not matches:
            raise BnfoldError(f"--keep {pattern}: no node has such a name, nor an output of such a name")
        found.update(matches)
    return frozenset(found)


def _names(node: ir.Node) -> Iterator[str]:
    yield from (name for name in (node.name, *(value.name for value in node.outputs)) if name)

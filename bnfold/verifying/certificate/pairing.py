"""Which tensor of the candidate stands where a tensor of the reference stood, told from both graphs alone.

A walk along the reference. Each node is looked for among the readers of what its inputs became: the same operator, on
the same slots, by name where several would do. An affine that is not found is taken for removed: its output is where
its input is. A constant term that only the candidate has (the new bias of a MatMul) is taken for added. Where a node is
not found, another operator that reads the same may stand in its place; otherwise the walk is lost, and goes on at the
next node that both graphs call the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnfold.verifying.certificate.reading import Constants, is_inference, is_standard, label_of, operand_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.affine import Affine

__all__ = ["Pairs", "pair"]

_COMMUTATIVE = frozenset({"Add", "Mul"})
_OTHER_SPELLINGS = frozenset({("MatMul", "Gemm")})


@dataclass
class Pairs:
    """What became of the reference's tensors and nodes.

    Attributes:
        values: The candidate's tensor in the place of each of the reference's.
        nodes: The candidate's node in the place of each of the reference's.
        removed: The affines that the candidate does not have.
        added: The candidate's constant term behind what stands in the place of a tensor.
        replaced: The candidate's node of another operator in the place of each of these.
        lost: The nodes that were not found.
        choices: Maps that the output of a node may have, beside those of the tensors behind it; and whether each comes
            after that of the input.
        anchors: The tensors whose place is known by the name of a reader only, or behind another operator.
    """

    values: dict[ir.Value, ir.Value] = field(default_factory=dict)
    nodes: dict[ir.Node, ir.Node] = field(default_factory=dict)
    removed: set[ir.Node] = field(default_factory=set)
    added: dict[ir.Value, ir.Node] = field(default_factory=dict)
    replaced: dict[ir.Node, ir.Node] = field(default_factory=dict)
    lost: list[ir.Node] = field(default_factory=list)
    choices: dict[ir.Node, tuple[tuple[Affine, bool], ...]] = field(default_factory=dict)
    anchors: set[ir.Value] = field(default_factory=set)

    def is_output(self, value: ir.Value) -> bool:
        """Whether a tensor is an output of the graph, and what stands in its place is that, too."""
        other = self.values.get(value)
        return value.is_graph_output() and other is not None and other.is_graph_output() and other.name == value.name


def pair(
    reference: ir.Graph, candidate: ir.Graph, constants: Constants, others: Constants, *, is_named: bool = True
) -> Pairs:
    """Find what became of each node of a graph.

    Args:
        reference: Without calls of functions, as the candidate.
        candidate: The other graph.
        constants: Those of the reference.
        others: Those of the candidate.
        is_named: Whether names tell anything: those of nodes that come from functions do not.
    """
    return _Walk(reference, candidate, constants, others, is_named=is_named).run()


class _Walk:
    def __init__(
        self, reference: ir.Graph, candidate: ir.Graph, constants: Constants, others: Constants, *, is_named: bool
    ) -> None:
        self._is_named = is_named
        self._reference, self._candidate = reference, candidate
        self._constants, self._others = constants, others
        names = {node.name for node in reference} | {v.name for node in reference for v in node.outputs}
        self._names = names - {None, ""}
        self._by_name = {(node.op_type, node.name): node for node in candidate if node.name}
        self._by_output = {(node.op_type, value.name): node for node in candidate for value in node.outputs[:1]}
        self._taken: set[ir.Node] = set()
        self._pairs = Pairs()

    def run(self) -> Pairs:
        inputs = {value.name: value for value in self._candidate.inputs}
        for value in self._reference.inputs:
            if value.name in inputs:
                self._place(value, inputs[value.name])
        for node in self._reference:
            if not all(self._constants.is_constant(value) for value in node.outputs):
                self._find(node)
        return self._pairs

    def _find(self, node: ir.Node) -> None:
        found = self._among_readers(node) or (None if self._is_removable(node) else self._by_its_name(node))
        if found is not None:
            self._taken.add(found)
            self._pairs.nodes[node] = found
            for output, other in zip(node.outputs, found.outputs, strict=False):
                self._place(output, other)
            return
        if not self._is_removable(node):
            self._replace(node, self._replacement(node))
            return
        place = self._pairs.values.get(self._data(node))
        if place is None:
            self._pairs.lost.append(node)
            return
        self._pairs.removed.add(node)
        self._place(node.outputs[0], place)

    def _replace(self, node: ir.Node, other: ir.Node | None) -> None:
        """Another operator stands there, or none at all."""
        if other is None:
            self._pairs.lost.append(node)
            return
        self._taken.add(other)
        self._pairs.replaced[node] = other
        self._pairs.anchors.update(node.outputs)
        self._pairs.values.update(zip(node.outputs, other.outputs, strict=True))

    def _replacement(self, node: ir.Node) -> ir.Node | None:
        """Another operator that reads the same: one that is called the same, or the only one with a name of its own."""
        places = [self._pairs.values.get(value) for _, value in self._data_of(node, self._constants)]
        if not places or any(place is None for place in places):
            return None
        behind = {use.node.op_type for value in node.outputs for use in value.uses()}
        found = [
            use.node
            for use in places[0].uses()  # type: ignore[union-attr]
            if use.node not in self._taken
            and use.node.op_type != node.op_type
            and len(use.node.outputs) == len(node.outputs)
            and [value for _, value in self._data_of(use.node, self._others)] == places
        ]
        named = [other for other in found if self._is_named and self._is_called_like(node, other)]
        new = [other for other in found if self._is_unnamed(other) and other.op_type not in behind]
        return (named or (new if len(new) == 1 else [None]))[0]

    def _is_called_like(self, node: ir.Node, other: ir.Node) -> bool:
        return (bool(node.name) and node.name == other.name) or node.outputs[0].name == other.outputs[0].name

    def _data_of(self, node: ir.Node, constants: Constants) -> list[tuple[int, ir.Value]]:
        """The inputs that are not constant, with their slots."""
        return [(slot, v) for slot, v in enumerate(node.inputs) if v is not None and not constants.is_constant(v)]

    def _place(self, value: ir.Value, other: ir.Value) -> None:
        self._pairs.values[value] = other
        readers = [use.node for use in other.uses()]
        if len(readers) != 1 or other.is_graph_output() or not self._is_named:
            return
        term = readers[0]
        is_new = term.name not in self._names and term.outputs[0].name not in self._names
        is_moved = value.producer() is not None and term.outputs[0].is_graph_output()
        if term.op_type == "Add" and (is_new or is_moved) and operand_of(term, self._others) is not None:
            if not is_new and any(use.node.op_type == "Add" for use in value.uses()):
                return
            self._taken.add(term)
            self._pairs.added[value] = term
            self._pairs.values[value] = term.outputs[0]

    def _data(self, node: ir.Node) -> ir.Value:
        """The first input that is not constant."""
        return self._data_of(node, self._constants)[0][1]

    def _is_removable(self, node: ir.Node) -> bool:
        if not is_standard(node):
            return False
        if node.op_type == "BatchNormalization":
            stored = all(self._constants.is_constant(value) for value in node.inputs[1:])
            return stored and is_inference(node) and not self._constants.is_constant(node.inputs[0])
        return operand_of(node, self._constants) is not None

    def _among_readers(self, node: ir.Node) -> ir.Node | None:
        places = [(slot, self._pairs.values.get(value)) for slot, value in self._data_of(node, self._constants)]
        if not places or any(place is None for _, place in places):
            return None
        first = places[0][1]
        readers = dict.fromkeys(use.node for use in first.uses()) if first is not None else {}
        fitting = [other for other in readers if other not in self._taken and self._fits(node, other, places)]
        if self._is_removable(node):
            fitting = [other for other in fitting if self._likeness(node, other) or self._is_unnamed(other)]
        best = sorted(fitting, key=lambda other: -self._likeness(node, other))
        if len(best) > 1 and self._likeness(node, best[0]) == self._likeness(node, best[1]):
            return None  # the one is as good as the other
        return best[0] if best else None

    def _is_unnamed(self, other: ir.Node) -> bool:
        return other.name not in self._names and other.outputs[0].name not in self._names

    def _fits(self, node: ir.Node, other: ir.Node, places: list[tuple[int, ir.Value | None]]) -> bool:
        same = node.op_type == other.op_type or (node.op_type, other.op_type) in _OTHER_SPELLINGS
        if not same or node.domain != other.domain or len(node.outputs) != len(other.outputs):
            return False
        data = self._data_of(other, self._others)
        if node.op_type in _COMMUTATIVE:
            return sorted(id(value) for _, value in data) == sorted(id(value) for _, value in places)
        return data == places

    def _likeness(self, node: ir.Node, other: ir.Node) -> int:
        """How sure it is that two nodes of one operator are the same one."""
        if not self._is_named:
            return int(self._same_constants(node, other))
        named = 4 if node.name and node.name == label_of(other) else 0
        named += 2 if node.outputs[0].name == other.outputs[0].name else 0
        return named + self._same_constants(node, other)

    def _same_constants(self, node: ir.Node, other: ir.Node) -> bool:
        pairs = zip(node.inputs, other.inputs, strict=False)
        arrays = [(self._constants.array(a), self._others.array(b)) for a, b in pairs if self._constants.is_constant(a)]
        return all(a is not None and b is not None and np.array_equal(a, b) for a, b in arrays) and bool(arrays)

    def _by_its_name(self, node: ir.Node) -> ir.Node | None:
        """A node that both graphs call the same; its inputs are then where those of the other are."""
        if not self._is_named:
            return None
        other = self._by_name.get((node.op_type, node.name or ""))
        other = other or self._by_output.get((node.op_type, node.outputs[0].name)) if node.outputs else None
        if other is None or other in self._taken or len(other.inputs) != len(node.inputs):
            return None
        data = [
            (value, place)
            for value, place in zip(node.inputs, other.inputs, strict=True)
            if value is not None and place is not None and not self._constants.is_constant(value)
        ]
        if any(self._pairs.values.get(value, place) is not place for value, place in data):
            return None
        self._pairs.anchors.update(value for value, _ in data if value not in self._pairs.values)
        self._pairs.values.update(data)
        return other

"""Copies of functions for the constants that they are called with.

Inside a function, what its callers hand in is known at run time only, even where it is a trained weight. So for the
time of the fold each call that hands in constants calls a copy of the function, which it shares with the calls that
hand in the same ones, and in which those inputs count as constants. A rewritten weight is a new Constant node in the
copy. ``generalising.py`` makes arguments of these again, and drops the copies that have gained nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.folding.constants import constant_tensor
from bnfold.folding.nodes import label
from bnfold.folding.shapes import callers_first
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

__all__ = ["Copy", "Reference", "Specialisation", "specialise"]

_MOST_COPIES = 4096  # functions that call functions are copied for each way in which they are reached

_AFFINES = frozenset({"Add", "Div", "Mul", "Sub"})
_ABSORBERS = frozenset({"Conv", "ConvTranspose", "Gemm"})

# Attributes whose values can be compared; a function that is handed a graph or a tensor keeps it as an attribute.
_COMPARABLE = frozenset(
    [
        ir.AttributeType.FLOAT,
        ir.AttributeType.FLOATS,
        ir.AttributeType.INT,
        ir.AttributeType.INTS,
        ir.AttributeType.STRING,
        ir.AttributeType.STRINGS,
    ]
)


@dataclass(frozen=True)
class Reference:
    """An attribute that refers to the caller of a function.

    Attributes:
        attribute: The reference.
        resolved: What stands there in a copy; None where the caller leaves it out.
        op_type: What the node was, for it may become another op.
    """

    attribute: ir.Attr
    resolved: ir.Attr | None
    op_type: str


@dataclass(eq=False)
class Copy:
    """A function for some of its calls.

    Attributes:
        original: What it is a copy of.
        function: The copy. It has the inputs and attributes of the original, so that a call can go back to that.
        calls: The calls of it.
        origins: The node of the original for each node of the copy.
        references: The attributes that refer to the caller in the original, by node and name.
        constants: The Constant nodes as they were before the fold.
        reads: Which input of the function was read by which input of which node.
    """

    original: ir.Function
    function: ir.Function
    calls: list[ir.Node] = field(default_factory=list)
    origins: dict[ir.Node, ir.Node] = field(default_factory=dict)
    references: dict[tuple[ir.Node, str], Reference] = field(default_factory=dict)
    constants: dict[ir.Node, tuple[ir.Attr, ...]] = field(default_factory=dict)
    reads: dict[tuple[ir.Node, int], int] = field(default_factory=dict)


class Specialisation:
    """The copies of a model's functions.

    Attributes:
        functions: The functions that are called, as the model has them, each behind all those that call it.
        copies: The copies of each, in the order of their first calls.
        arguments: The inputs of the copies that are constants.
        originals: Of which function each copy is one.
        labels: How a report names the nodes of the copies: by the call, and the node's own name.
        nodes: What stands in each function and in each copy before the fold.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.functions: list[ir.Function] = []
        self.copies: dict[ir.OperatorIdentifier, list[Copy]] = {}
        self.arguments: dict[ir.Value, ir.TensorProtocol] = {}
        self.originals: dict[ir.OperatorIdentifier, ir.Function] = {}
        self.labels: dict[ir.Node, str] = {}
        self.nodes: dict[ir.OperatorIdentifier, frozenset[ir.Node]] = {}

    def order(self, positions: Mapping[ir.Node, tuple[int, ...]]) -> dict[ir.Node, tuple[int, ...]]:
        """Where the nodes of the copies stand in a report: behind those of the original."""
        return {
            node: (*positions[origin], number)
            for copies in self.copies.values()
            for number, copy in enumerate(copies)
            for node, origin in copy.origins.items()
        }

    def undo(self) -> None:
        """Forget the copies, as if nothing had happened; nothing has, as long as nothing was folded."""
        for copies in self.copies.values():
            for copy in copies:
                for call in copy.calls:
                    call.op_type = copy.original.name
                del self.model.functions[copy.function.identifier()]


def specialise(model: ir.Model) -> Specialisation:
    """Let the calls of a model that hand in constants call copies of their own."""
    maker = _Maker(model)
    try:
        maker.run()
    except BaseException:  # a function that is not well-formed cannot be copied
        maker.made.undo()
        raise
    return maker.made


class _Maker:
    def __init__(self, model: ir.Model) -> None:
        self.made = Specialisation(model)
        self._model = model
        self._names = {function.identifier() for function in model.functions.values()}
        self._names |= {node.op_identifier() for graph in all_graphs(model) for node in graph}
        self._by_key: dict[Hashable, Copy] = {}
        self._tensors: dict[ir.Value, ir.TensorProtocol | None] = {}

    def run(self) -> None:
        functions = callers_first(self._model)
        promising = _promising(functions, self._model)
        self.made.functions = functions
        self._visit(self._model.graph.all_nodes(), promising)
        for function in functions:
            copies = self.made.copies.get(function.identifier(), [])
            for caller in (function, *(copy.function for copy in copies)):
                self._visit(caller.all_nodes(), promising)
        self.made.nodes = {name: frozenset(function.all_nodes()) for name, function in self._model.functions.items()}

    def _visit(self, nodes: Iterable[ir.Node], promising: set[ir.OperatorIdentifier]) -> None:
        for node in list(nodes):
            if node.op_identifier() in promising and len(self._by_key) < _MOST_COPIES:
                self._redirect(node, self._model.functions[node.op_identifier()])

    def _redirect(self, call: ir.Node, function: ir.Function) -> None:
        tensors = {slot: tensor for slot, value in enumerate(call.inputs) if (tensor := self._tensor(value))}
        attributes = dict(_given(call, function))
        if not tensors and not attributes:
            return
        constants = tuple((slot, id(tensor)) for slot, tensor in tensors.items())
        settings = tuple((name, attr and (attr.type, attr.value)) for name, attr in attributes.items())
        key = (function.identifier(), constants, settings)
        if key not in self._by_key:
            self._by_key[key] = self._copy(call, function, tensors, attributes)
        copy = self._by_key[key]
        copy.calls.append(call)
        call.op_type = copy.function.name

    def _tensor(self, value: ir.Value | None) -> ir.TensorProtocol | None:
        """The constant that an argument is, be it one of a copy that calls on."""
        if value is None or value in self.made.arguments:
            return self.made.arguments.get(value) if value is not None else None
        if value.is_graph_input():
            return None  # which the caller may replace
        if value not in self._tensors:  # one object for a value, since objects are compared
            self._tensors[value] = constant_tensor(value)
        return self._tensors[value]

    def _copy(
        self,
        call: ir.Node,
        function: ir.Function,
        tensors: dict[int, ir.TensorProtocol],
        attributes: dict[str, ir.Attr | None],
    ) -> Copy:
        twin = function.clone()
        twin.name = self._unique(function)
        copy = Copy(function, twin, origins=dict(zip(twin.all_nodes(), function.all_nodes(), strict=True)))
        self._model.functions[twin.identifier()] = twin
        self.made.originals[twin.identifier()] = function
        self.made.copies.setdefault(function.identifier(), []).append(copy)
        self.made.arguments |= {twin.inputs[slot]: tensor for slot, tensor in tensors.items()}
        copy.reads = {(use.node, use.idx): slot for slot, value in enumerate(twin.inputs) for use in value.uses()}
        where = self.made.labels.get(call) or label(call)
        self.made.labels |= {node: f"{where}/{label(node)}" for node in copy.origins}
        for node in copy.origins:
            _resolve(node, attributes, copy)
            if node.op_type == "Constant" and node.domain == "":
                copy.constants[node] = tuple(node.attributes.values())
        return copy

    def _unique(self, function: ir.Function) -> str:
        """A new name rather than an overload, which only IR version 10 has."""
        count = 1
        while (function.domain, f"{function.name}_{count}", function.overload) in self._names:
            count += 1
        name = f"{function.name}_{count}"
        self._names.add((function.domain, name, function.overload))
        return name


def _promising(functions: list[ir.Function], model: ir.Model) -> set[ir.OperatorIdentifier]:
    """The functions in which something may fold, or that call such a function."""
    found: set[ir.OperatorIdentifier] = set()
    for function in reversed(functions):
        nodes = list(function.all_nodes())
        ops = {node.op_type for node in nodes if node.domain == ""}
        folds = "BatchNormalization" in ops or (ops & _AFFINES and ops & _ABSORBERS)
        if folds or any(node.op_identifier() in found for node in nodes):
            found.add(function.identifier())
    return found & model.functions.keys()


def _given(call: ir.Node, function: ir.Function) -> Iterator[tuple[str, ir.Attr | None]]:
    """The attributes of a function as a call sets them, or their defaults; None where they are left out."""
    for name, default in function.attributes.items():
        attribute = call.attributes.get(name)
        if attribute is None and default.value is not None:
            attribute = default
        if attribute is None or (not attribute.is_ref() and attribute.type in _COMPARABLE):
            yield name, attribute


def _resolve(node: ir.Node, given: dict[str, ir.Attr | None], copy: Copy) -> None:
    for name, reference in list(node.attributes.items()):
        if not reference.is_ref() or reference.ref_attr_name not in given:
            continue
        attribute = given[reference.ref_attr_name]
        resolved = None if attribute is None else ir.Attr(name, attribute.type, attribute.value)
        copy.references[node, name] = Reference(reference, resolved, node.op_type)
        if resolved is None:
            del node.attributes[name]
        else:
            node.attributes[name] = resolved

"""What becomes of the copies of functions when the fold is over: see ``specialising.py``.

A copy in which no more has folded than in the original is dropped, and its calls go back. In the others the weights
that the fold has rewritten become inputs again, and arguments of the calls; copies that are the same then become one,
which takes the name of the original if nobody calls that any more. So a function that is called for twelve layers is
still one function afterwards, called twelve times.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.constants import constant_tensor
from bnfold.folding.nodes import graph_of, label
from bnfold.folding.shapes import callers_first
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bnfold.folding.result import Folded
    from bnfold.folding.rewriting import Rewriter
    from bnfold.folding.specialising import Copy, Specialisation

__all__ = ["Generalised", "generalise"]

_CONSTANT = ("", "Constant", "")
_NORM = ("", "BatchNormalization", "")


@dataclass
class Generalised:
    """What a report must know.

    Attributes:
        dropped: Nodes of functions that are gone, as if they had never been there.
        merged: Nodes of copies that became one with another copy: what folded in them has folded, what is left in them
            is left in that one.
        names: What the constants of the copies are called now.
    """

    dropped: set[ir.Node] = field(default_factory=set)
    merged: set[ir.Node] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def told(self, entry: Folded) -> Folded:
        """An entry of the report, with the names that constants have now."""
        into = (
            replace(absorption, constants=tuple(self.names.get(name, name) for name in absorption.constants))
            for absorption in entry.into
        )
        return replace(entry, into=tuple(into))


def generalise(made: Specialisation, rewriter: Rewriter, untouchable: Collection[ir.Node]) -> Generalised:
    """Leave no more copies than it takes.

    Args:
        made: The copies, folded.
        rewriter: What folded them.
        untouchable: The nodes that shall stay as they are; a call may be one.
    """
    generaliser = _Generaliser(made, rewriter)
    for function in reversed(made.functions):
        generaliser.settle(function, untouchable)
    return generaliser.finish()


@dataclass(frozen=True)
class _Signature:
    """How the inputs of a copy change.

    Attributes:
        replaced: Constants that become the argument in the place of an input.
        dropped: Inputs that nobody reads any more.
        added: Constants that become inputs of their own, behind the others.
    """

    replaced: dict[int, ir.Node]
    dropped: frozenset[int]
    added: tuple[ir.Node, ...]


class _Generaliser:
    def __init__(self, made: Specialisation, rewriter: Rewriter) -> None:
        self._made = made
        self._model = made.model
        self._functions = made.model.functions
        self._rewriter = rewriter
        self._result = Generalised()
        self._order = list(self._functions)
        self._left: dict[ir.OperatorIdentifier, list[Copy]] = {}
        self._sizes: dict[ir.OperatorIdentifier, tuple[int, int]] = {}
        self._main = {self._model.graph, *self._model.graph.subgraphs()}
        self._arguments: list[ir.Value] = []  # which nobody may read any more
        self._became: dict[ir.Value, ir.Value] = {}  # what the constants of copies are in the first call
        self._constants: dict[ir.Value, ir.Value] = {}  # new ones in callers, and which argument each was
        self._initializers: dict[ir.Value | ir.Node, list[ir.Value]] = {}  # new ones, by what they are in the place of
        self._names = (
            {value.name for graph in all_graphs(self._model) for value in _values(graph)} if made.copies else set()
        )

    def settle(self, function: ir.Function, untouchable: Collection[ir.Node]) -> None:
        """Look at the copies of a function, when those of the functions that it calls have been looked at."""
        name = function.identifier()
        for copy in self._made.copies.get(name, []):
            self._send_back(copy, [call for call in copy.calls if call in untouchable])
            if not copy.calls or self._size(copy.function) >= self._size(function):
                self._send_back(copy, copy.calls)
                self._drop(copy.function)
                continue
            self._lift(copy)
            self._left.setdefault(name, []).append(copy)
        self._merge(self._left.get(name, []))

    def finish(self) -> Generalised:
        """Tidy up what the calls leave behind."""
        for old, new in self._initializers.items():
            if isinstance(old, ir.Value) and old.is_initializer() and _is_unread(old):
                self._take_over(old, new[0])
        for value in self._arguments:
            _discard(value)
        called = {function.identifier() for function in callers_first(self._model)}
        ours = {copy.function.identifier() for copies in self._left.values() for copy in copies}
        ours |= {function.identifier() for function in self._made.functions}
        for name in ours & self._functions.keys() - called:
            self._drop(self._functions[name])
        for name, copies in self._left.items():
            left = [copy for copy in copies if copy.function.identifier() in self._functions]
            if left and name not in self._functions:
                self._rename(left[0], name)
        self._name_initializers()
        self._result.names = {value.name or "": self._now(value).name or "" for value in self._became}
        functions = dict(self._functions)
        self._functions.clear()
        self._functions.update({name: functions.pop(name) for name in self._order if name in functions} | functions)
        return self._result

    def _send_back(self, copy: Copy, calls: Sequence[ir.Node]) -> None:
        for call in calls:
            call.op_type = copy.original.name
        copy.calls = [call for call in copy.calls if call not in calls]

    def _drop(self, function: ir.Function) -> None:
        self._result.dropped |= self._made.nodes[function.identifier()]
        self._rewriter.forget(function.graph)
        del self._functions[function.identifier()]

    def _size(self, function: ir.Function) -> tuple[int, int]:
        """BatchNormalizations and nodes, with those of the functions that it calls."""
        name = function.identifier()
        if name not in self._sizes:
            self._sizes[name] = (0, 0)  # a function that calls itself is no valid one
            nodes = [node for node in function.all_nodes() if (node.domain, node.op_type) != ("", "Constant")]
            called = [
                self._size(self._functions[n.op_identifier()]) for n in nodes if n.op_identifier() in self._functions
            ]
            norms = sum((node.domain, node.op_type) == ("", "BatchNormalization") for node in nodes)
            self._sizes[name] = (norms + sum(size[0] for size in called), len(nodes) + sum(size[1] for size in called))
        return self._sizes[name]

    def _lift(self, copy: Copy) -> None:
        """Make inputs of the constants that are not those of the original, and leave the attributes to the caller."""
        new = [node for node in copy.function.all_nodes() if _is_new_constant(node, copy)]
        signature = self._signature(copy, new)
        tensors = {node: constant_tensor(node.outputs[0]) for node in new}
        for call in copy.calls:
            self._hand_in(call, copy, signature, tensors)
        inputs = list(copy.function.inputs)
        for slot, node in signature.replaced.items():
            _replace(node, inputs[slot])
        for node in signature.added:
            output = node.outputs[0]
            inputs.append(ir.Value(name=output.name, type=output.type, shape=output.shape))
            _replace(node, inputs[-1])
        copy.function.inputs.clear()
        copy.function.inputs.extend(value for slot, value in enumerate(inputs) if slot not in signature.dropped)
        _refer(copy)

    def _signature(self, copy: Copy, new: list[ir.Node]) -> _Signature:
        inputs = list(copy.function.inputs)
        read = set(copy.reads.values())
        free = {
            slot
            for slot, value in enumerate(inputs)
            if slot in read and value in self._made.arguments and _is_unread(value)
        }
        replaced: dict[int, ir.Node] = {}
        for node in new:
            slot = self._slot(node, copy, inputs)
            if slot in free and slot not in replaced:
                replaced[slot] = node
        added = tuple(node for node in new if node not in replaced.values())
        return _Signature(replaced, frozenset(free - replaced.keys()), added)

    def _slot(self, node: ir.Node, copy: Copy, inputs: list[ir.Value]) -> int | None:
        """The input in whose place a new constant stands."""
        output = node.outputs[0]
        if output in self._constants:
            argument = self._constants[output]
            return inputs.index(argument) if argument in inputs else None
        slots = (copy.reads.get((use.node, use.idx)) for use in output.uses())
        return next((slot for slot in slots if slot is not None), None)

    def _hand_in(
        self, call: ir.Node, copy: Copy, signature: _Signature, tensors: dict[ir.Node, ir.TensorProtocol | None]
    ) -> None:
        """Give a call the arguments that the copy wants now."""
        count = len(copy.function.inputs)
        arguments = [*call.inputs, *[None] * (count - len(call.inputs))]
        self._arguments += [value for value in arguments if value is not None]
        for slot, node in signature.replaced.items():
            arguments[slot] = self._argument(call, arguments[slot], node, tensors[node])
        arguments = [value for slot, value in enumerate(arguments) if slot not in signature.dropped]
        arguments += [self._argument(call, None, node, tensors[node]) for node in signature.added]
        while arguments and arguments[-1] is None:
            arguments.pop()
        call.resize_inputs(len(arguments))
        for slot, value in enumerate(arguments):
            call.replace_input_with(slot, value)

    def _argument(
        self, call: ir.Node, old: ir.Value | None, node: ir.Node, tensor: ir.TensorProtocol | None
    ) -> ir.Value:
        """A constant where a call stands: an initializer, or in functions, which have none, a Constant node."""
        if tensor is None:
            raise ValueError(f"'{node.outputs[0].name}' is no constant")
        inside = graph_of(call) not in self._main
        value = self._constant(call, old, node, tensor) if inside else self._initializer(call, old, node, tensor)
        self._became.setdefault(node.outputs[0], value)
        return value

    def _constant(self, call: ir.Node, old: ir.Value | None, node: ir.Node, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.Value(name=self._unique(node.outputs[0].name or "constant"))
        constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)], outputs=[value])
        graph_of(call).insert_before(call, constant)
        if old is not None:
            self._constants[value] = old
        return value

    def _initializer(self, call: ir.Node, old: ir.Value | None, node: ir.Node, tensor: ir.TensorProtocol) -> ir.Value:
        known = self._initializers.setdefault(old if old is not None else node, [])
        for value in known:
            if _is_same(value.const_value, tensor):
                return value
        wanted = old.name if old is not None else f"{label(call)}.{node.outputs[0].name}"
        known.append(ir.Value(name=self._unique(wanted or "constant")))
        _store(known[-1], tensor)
        self._model.graph.register_initializer(known[-1])
        return known[-1]

    def _merge(self, copies: list[Copy]) -> None:
        """Copies that differ in no more than names become the first of them."""
        first: dict[bytes, Copy] = {}
        for copy in list(copies):
            other = first.setdefault(_canonical(copy.function), copy)
            if other is copy:
                continue
            for call in copy.calls:
                call.op_type = other.function.name
            other.calls += copy.calls
            copies.remove(copy)
            self._result.merged |= self._made.nodes[copy.function.identifier()]
            del self._functions[copy.function.identifier()]

    def _take_over(self, old: ir.Value, new: ir.Value) -> None:
        """An initializer that nobody reads any more becomes the one that is in its place."""
        if new.const_value is None:
            return
        _store(old, new.const_value)
        for use in list(new.uses()):
            use.node.replace_input_with(use.idx, old)
        self._became[new] = old
        _discard(new)

    def _now(self, value: ir.Value) -> ir.Value:
        while value in self._became:
            value = self._became[value]
        return value

    def _rename(self, copy: Copy, name: ir.OperatorIdentifier) -> None:
        before = copy.function.identifier()
        copy.function.name = copy.original.name
        self._functions[name] = self._functions.pop(before)
        for graph in all_graphs(self._model):
            for node in graph:
                if node.op_identifier() == before:
                    node.op_type = copy.original.name

    def _name_initializers(self) -> None:
        """By what they are in the place of, or what the function calls them; the names in between are free by now."""
        fresh = {value: old for old, new in self._initializers.items() for value in new if value.is_initializer()}
        self._names = {v.name for graph in all_graphs(self._model) for v in _values(graph) if v not in fresh}
        for value, old in fresh.items():
            use = next(iter(value.uses()))
            function = self._functions[use.node.op_identifier()]
            inner = f"{label(use.node)}.{function.inputs[use.idx].name}"
            value.name = self._unique((isinstance(old, ir.Value) and old.name) or inner)

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._names:
            name, count = f"{wanted}_{count}", count + 1
        self._names.add(name)
        return name


def _is_new_constant(node: ir.Node, copy: Copy) -> bool:
    """Whether a Constant node was added or rewritten."""
    if (node.domain, node.op_type) != ("", "Constant") or constant_tensor(node.outputs[0]) is None:
        return False
    before, now = copy.constants.get(node, ()), tuple(node.attributes.values())
    return len(before) != len(now) or any(old is not new for old, new in zip(before, now, strict=True))


def _refer(copy: Copy) -> None:
    """Attributes that are as the caller set them refer to it again; those that are gone are set no more."""
    for (node, name), reference in copy.references.items():
        if node.op_type == reference.op_type and node.attributes.get(name) is reference.resolved:
            node.attributes[name] = reference.attribute
    attributes = (attribute for node in copy.function.all_nodes() for attribute in node.attributes.values())
    left = {attribute.ref_attr_name for attribute in attributes if attribute.is_ref()}
    were = {reference.attribute.ref_attr_name or "" for reference in copy.references.values()}
    for name in were - left:
        copy.function.attributes.pop(name, None)
        for call in copy.calls:
            call.attributes.pop(name, None)


def _replace(node: ir.Node, value: ir.Value) -> None:
    """A value in the place of what a Constant node writes."""
    output = node.outputs[0]
    if value.shape is not None:
        value.type, value.shape = output.type, output.shape
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, value)
    graph_of(node).remove(node)


def _canonical(function: ir.Function) -> bytes:
    """The function with names that say nothing, serialised."""
    twin = function.clone()
    twin.name = "function"
    values = (value for graph in (twin.graph, *twin.subgraphs()) for value in _values(graph))
    for number, value in enumerate(list(values)):
        value.name = f"~{number}"
    for node in twin.all_nodes():
        node.name = None
    text: bytes = ir.serde.serialize_function(twin).SerializeToString(deterministic=True)
    return text


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    yield from (value for node in graph for value in node.outputs)


def _is_unread(value: ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()


def _is_same(left: ir.TensorProtocol | None, right: ir.TensorProtocol) -> bool:
    return left is not None and left.dtype == right.dtype and np.array_equal(left.numpy(), right.numpy())


def _store(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
    value.dtype, value.shape = tensor.dtype, ir.Shape(tensor.shape.numpy())


def _discard(value: ir.Value) -> None:
    """Drop a constant if nobody reads it."""
    if not _is_unread(value) or value.is_graph_input():
        return
    producer = value.producer()
    if value.is_initializer() and value.graph is not None:
        del value.graph.initializers[value.name or ""]
    elif producer is not None and producer.graph is not None and constant_tensor(value) is not None:
        producer.graph.remove(producer)

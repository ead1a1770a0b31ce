"""The weights that a fold has rewritten in a copy of a function become arguments of the calls: see ``generalising.py``.

Functions have no initializers, so that the fold has put each new weight into a Constant node. Left there, it would
keep apart what differs in its weights only, and lie in the model's file even where the weights have one of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.constants import constant_tensor
from bnfold.folding.nodes import graph_of, label
from bnfold.modelfile import all_graphs, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.folding.specialising import Copy, Specialisation

__all__ = ["Lifter"]


@dataclass(frozen=True)
class _Constant:
    """A Constant node that becomes an input.

    Attributes:
        node: The node.
        tensor: What it holds.
        name: What the input is called, if it is a new one.
    """

    node: ir.Node
    tensor: ir.TensorProtocol
    name: str


@dataclass(frozen=True)
class _Signature:
    """How the inputs of a copy change.

    Attributes:
        replaced: Constants that become the argument in the place of an input.
        dropped: Inputs that nobody reads any more.
        added: Constants that become inputs of their own, behind the others.
    """

    replaced: dict[int, _Constant]
    dropped: frozenset[int]
    added: tuple[_Constant, ...]


class Lifter:
    """Lifts the constants of copies, those first that the others call."""

    def __init__(self, made: Specialisation) -> None:
        self._made = made
        self._model = made.model
        self._main = {self._model.graph, *self._model.graph.subgraphs()}
        self._names = {value.name for graph in all_graphs(self._model) for value in values_of(graph)}
        self._unread: list[ir.Value] = []  # arguments, but somebody else may still read them
        self._became: dict[ir.Value, ir.Value] = {}  # what constants of copies are in the first call
        self._homes: dict[ir.Value, ir.OperatorIdentifier] = {}  # and of which copies they were
        self._handed: dict[ir.Value, ir.Value | None] = {}  # new constants in callers, and which argument each was
        self._initializers: dict[ir.Value | ir.Node, list[ir.Value]] = {}  # new ones, by what they are in the place of

    def lift(self, copy: Copy) -> None:
        """Make inputs of the constants that the original has not, or has not like this."""
        signature = self._signature(copy)
        constants = (*signature.replaced.values(), *signature.added)
        self._homes |= {constant.node.outputs[0]: copy.function.identifier() for constant in constants}
        for call in copy.calls:
            self._hand_in(call, copy, signature)
        inputs = list(copy.function.inputs)
        for slot, constant in signature.replaced.items():
            _replace(constant.node, inputs[slot])
        for constant in signature.added:
            output = constant.node.outputs[0]
            inputs.append(ir.Value(name=constant.name, type=output.type, shape=output.shape))
            _replace(constant.node, inputs[-1])
        copy.function.inputs.clear()
        copy.function.inputs.extend(value for slot, value in enumerate(inputs) if slot not in signature.dropped)

    def finish(self) -> dict[tuple[ir.OperatorIdentifier, str | None], str]:
        """Drop the arguments that nobody reads any more; what the constants of each copy are called now."""
        for old, new in self._initializers.items():
            if isinstance(old, ir.Value) and old.is_initializer() and _is_unread(old):
                self._take_over(old, new[0])
        for value in self._unread:
            _discard(value)
        self._rename()
        return {(home, value.name): self._now(value).name or "" for value, home in self._homes.items()}

    def _signature(self, copy: Copy) -> _Signature:
        inputs = list(copy.function.inputs)
        read = set(copy.reads.values())
        free = {
            slot
            for slot, value in enumerate(inputs)
            if slot in read and value in self._made.arguments and _is_unread(value)
        }
        replaced: dict[int, _Constant] = {}
        added = []
        for constant in self._constants(copy):
            slot = self._slot(constant.node, copy, inputs)
            if slot is not None and slot in free - replaced.keys():
                replaced[slot] = constant
            else:
                added.append(constant)
        return _Signature(replaced, frozenset(free - replaced.keys()), tuple(added))

    def _constants(self, copy: Copy) -> list[_Constant]:
        function = copy.function
        nodes = {node: tensor for node in function.all_nodes() if (tensor := _new_tensor(node, copy)) is not None}
        values = {value for graph in (function.graph, *function.subgraphs()) for value in values_of(graph)}
        names = {value.name for value in values - {node.outputs[0] for node in nodes}}
        constants = []
        for node, tensor in nodes.items():
            # The fold kept names unique in the whole model; in a function less will do.
            name = _unique(re.sub(r"(_\d+)+$", "", node.outputs[0].name or "constant"), names)
            constants.append(_Constant(node, tensor, name))
        return constants

    def _slot(self, node: ir.Node, copy: Copy, inputs: Sequence[ir.Value]) -> int | None:
        """The input in whose place a new constant stands."""
        output = node.outputs[0]
        if output in self._handed:
            return next((slot for slot, value in enumerate(inputs) if value is self._handed[output]), None)
        slots = (copy.reads.get((use.node, use.idx)) for use in output.uses())
        return next((slot for slot in slots if slot is not None), None)

    def _hand_in(self, call: ir.Node, copy: Copy, signature: _Signature) -> None:
        """Give a call the arguments that the copy wants now."""
        missing = len(copy.function.inputs) - len(call.inputs)
        arguments = [*call.inputs, *[None] * missing]
        self._unread += [value for value in arguments if value is not None]
        for slot, constant in signature.replaced.items():
            arguments[slot] = self._argument(call, arguments[slot], constant)
        arguments = [value for slot, value in enumerate(arguments) if slot not in signature.dropped]
        arguments += [self._argument(call, None, constant) for constant in signature.added]
        while arguments and arguments[-1] is None:
            arguments.pop()
        call.resize_inputs(len(arguments))
        for slot, value in enumerate(arguments):
            call.replace_input_with(slot, value)

    def _argument(self, call: ir.Node, old: ir.Value | None, constant: _Constant) -> ir.Value:
        """A constant where a call stands: an initializer, or in functions, which have none, a Constant node."""
        wanted = old.name if old is not None and old.name else f"{label(call)}.{constant.name}"
        if graph_of(call) in self._main:
            value = self._initializer(wanted, old if old is not None else constant.node, constant.tensor)
        else:
            value = ir.Value(name=_unique(wanted, self._names))
            node = ir.Node("", "Constant", [], [ir.AttrTensor("value", constant.tensor)], outputs=[value])
            graph_of(call).insert_before(call, node)
            self._handed[value] = old
        self._became.setdefault(constant.node.outputs[0], value)
        return value

    def _initializer(self, wanted: str, place: ir.Value | ir.Node, tensor: ir.TensorProtocol) -> ir.Value:
        """One for each content: the calls of a copy that hand in the same go on handing in the same."""
        known = self._initializers.setdefault(place, [])
        for value in known:
            if _is_same(value.const_value, tensor):
                return value
        known.append(ir.Value(name=_unique(wanted, self._names)))
        _store(known[-1], tensor)
        self._model.graph.register_initializer(known[-1])
        return known[-1]

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

    def _rename(self) -> None:
        """By what they are in the place of, or what the function calls them; the names in between are free by now."""
        new = {value: old for old, values in self._initializers.items() for value in values if value.is_initializer()}
        names = {v.name for graph in all_graphs(self._model) for v in values_of(graph) if v not in new}
        for value, old in new.items():
            (node, slot), *_ = value.uses()
            inner = f"{label(node)}.{self._model.functions[node.op_identifier()].inputs[slot].name}"
            value.name = _unique((isinstance(old, ir.Value) and old.name) or inner, names)


def _new_tensor(node: ir.Node, copy: Copy) -> ir.TensorProtocol | None:
    """What a Constant node holds that was added or rewritten; None for every other node."""
    before, now = copy.constants.get(node, ()), tuple(node.attributes.values())
    if len(before) == len(now) and all(old is new for old, new in zip(before, now, strict=True)):
        return None
    return constant_tensor(node.outputs[0])


def _replace(node: ir.Node, value: ir.Value) -> None:
    """A value in the place of what a Constant node writes."""
    output = node.outputs[0]
    if value.shape is not None:
        value.type, value.shape = output.type, output.shape
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, value)
    graph_of(node).remove(node)


def _unique(wanted: str, names: set[str | None]) -> str:
    name, count = wanted, 1
    while name in names:
        name, count = f"{wanted}_{count}", count + 1
    names.add(name)
    return name


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

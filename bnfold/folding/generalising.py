"""What becomes of the copies of functions when the fold is over: see ``specialising.py``.

A copy in which no more has folded than in the original is dropped, and its calls go back. In the others the weights
that the fold has rewritten become arguments again (``lifting.py``); copies that are the same then become one, which
takes the name of the original if nobody calls that any more. So a function that is called for twelve layers is still
one function afterwards, called twelve times.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.folding.lifting import Lifter
from bnfold.folding.shapes import callers_first
from bnfold.modelfile import all_graphs, values_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bnfold.folding.result import Folded
    from bnfold.folding.rewriting import Rewriter
    from bnfold.folding.sites import Site
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
        names: What the constants of each copy are called now.
        homes: The copy in which each node stood.
    """

    dropped: set[ir.Node] = field(default_factory=set)
    merged: set[ir.Node] = field(default_factory=set)
    names: dict[tuple[ir.OperatorIdentifier, str | None], str] = field(default_factory=dict)
    homes: dict[ir.Node, ir.OperatorIdentifier] = field(default_factory=dict)

    def is_gone(self, site: Site) -> bool:
        """Whether a site stood in a function that is gone."""
        return site.nodes[0] in self.dropped

    def is_told_elsewhere(self, site: Site) -> bool:
        """Whether what is said of the same site of another copy says all."""
        return site.nodes[0] in self.dropped | self.merged

    def told(self, node: ir.Node, entry: Folded) -> Folded:
        """What a report says of a node, with the names that constants have now."""
        home = self.homes.get(node)
        if home is None:
            return entry
        into = (
            replace(absorption, constants=tuple(self.names.get((home, name), name) for name in absorption.constants))
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
    if not made.copies:
        return Generalised()
    generaliser = _Generaliser(made, rewriter)
    for function in reversed(made.functions):
        generaliser.settle(function, untouchable)
    return generaliser.finish()


class _Generaliser:
    def __init__(self, made: Specialisation, rewriter: Rewriter) -> None:
        self._made = made
        self._functions = made.model.functions
        self._rewriter = rewriter
        self._lifter = Lifter(made)
        copies = (copy.function.identifier() for copies in made.copies.values() for copy in copies)
        self._result = Generalised(homes={node: name for name in copies for node in made.nodes[name]})
        self._order = list(self._functions)
        self._left: dict[ir.OperatorIdentifier, list[Copy]] = {}
        self._sizes: dict[ir.OperatorIdentifier, tuple[int, int]] = {}

    def settle(self, function: ir.Function, untouchable: Collection[ir.Node]) -> None:
        """Look at the copies of a function, when those of the functions that it calls have been looked at."""
        name = function.identifier()
        for copy in self._made.copies.get(name, []):
            self._send_back(copy, [call for call in copy.calls if call in untouchable])
            if not copy.calls or self._size(copy.function) >= self._size(function):
                self._send_back(copy, copy.calls)
                self._drop(copy.function)
                continue
            self._lifter.lift(copy)
            _refer(copy)
            self._left.setdefault(name, []).append(copy)
        self._merge(self._left.get(name, []))

    def finish(self) -> Generalised:
        """Drop what nobody calls or reads any more, and find the names."""
        called = {function.identifier() for function in callers_first(self._made.model)}
        ours = {copy.function.identifier() for copies in self._left.values() for copy in copies}
        ours |= {function.identifier() for function in self._made.functions}
        for name in ours & self._functions.keys() - called:
            self._drop(self._functions[name])
        for name, copies in self._left.items():
            left = [copy for copy in copies if copy.function.identifier() in self._functions]
            if left and name not in self._functions:
                self._rename(left[0], name)
        functions = dict(self._functions)
        self._functions.clear()
        self._functions.update({name: functions.pop(name) for name in self._order if name in functions} | functions)
        self._result.names = self._lifter.finish()
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
            ops = [node.op_identifier() for node in function.all_nodes()]
            own = (ops.count(_NORM), len(ops) - ops.count(_CONSTANT))
            sizes = [own, *(self._size(self._functions[op]) for op in ops if op in self._functions)]
            self._sizes[name] = (sum(size[0] for size in sizes), sum(size[1] for size in sizes))
        return self._sizes[name]

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

    def _rename(self, copy: Copy, name: ir.OperatorIdentifier) -> None:
        before = copy.function.identifier()
        copy.function.name = copy.original.name
        self._functions[name] = self._functions.pop(before)
        for graph in all_graphs(self._made.model):
            for node in graph:
                if node.op_identifier() == before:
                    node.op_type = copy.original.name


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


def _canonical(function: ir.Function) -> bytes:
    """The function with names that say nothing, serialised."""
    twin = function.clone()
    twin.name = "function"
    values = [value for graph in (twin.graph, *twin.subgraphs()) for value in values_of(graph)]
    for number, value in enumerate(values):
        value.name = f"~{number}"
    for node in twin.all_nodes():
        node.name = None
    text: bytes = ir.serde.serialize_function(twin).SerializeToString(deterministic=True)
    return text

"""What is true of a model whatever is planned: its constants, shapes, versions, and what must stay as it is."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.folding.answers import Blocked
from bnfold.folding.constants import Constants
from bnfold.folding.evaluation import stated
from bnfold.folding.nodes import bodies_of, find_input, first_stacked_output, label, required_input
from bnfold.folding.shapes import Shapes
from bnfold.folding.specialising import Specialisation
from bnfold.modelfile import all_graphs, is_trained, with_bodies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import onnx_ir as ir

    from bnfold.folding.inference import Found

__all__ = ["Facts", "find_matching"]


class Facts:
    """One object a model, made once for all its plans."""

    def __init__(
        self, model: ir.Model, keep: Collection[str] = (), specialisation: Specialisation | None = None
    ) -> None:
        self.model = model
        self._opsets = dict(_opsets(model))
        # As they are before anything changes: a fold may rename what an unnamed node writes.
        self._labels = {node: label(node) for graph in all_graphs(model) for node in graph}
        copies = specialisation or Specialisation(model)
        self._labels |= copies.labels
        self._originals = copies.originals
        self.constants = Constants(model.ir_version, self.opset, self._known, copies.arguments)
        self._is_inferring = False
        self.untouchable = find_matching(model, keep)
        # What a node reads instead of an affine that is gone: the true reason, often, why it blocks another one.
        self.heirs: dict[ir.Node, tuple[ir.Value, str]] = {}
        self.added: set[ir.Node] = set()  # by the fold itself, which does not fold them
        self._owners = {body: node for graph in all_graphs(model) for node in graph for body in bodies_of(node)}
        self._functions = {  # a copy is told of by the name of the function that the caller knows
            function.graph: copies.originals.get(name, function).name for name, function in model.functions.items()
        }

    @cached_property
    def shapes(self) -> Shapes:
        """Inferred when the first affine is found: in a model without any, that would take longer than the rest."""
        self._is_inferring = True
        shapes = Shapes(self.model, self.constants, self._originals)
        self._is_inferring = False
        self.constants.forget_failures()
        return shapes

    def _known(self, value: ir.Value) -> Found:
        """What the file states of a tensor; and where that is not all, what is inferred."""
        dtype, shape = stated(value)
        is_all = dtype is not None and shape is not None and None not in shape
        return (dtype, shape) if is_all or self._is_inferring else self.shapes.known(value)

    def opset(self, node: ir.Node) -> int:
        """The version of the ONNX operators where the node stands."""
        return self._opsets.get(node.graph, 1) if node.graph is not None else 1

    def label(self, node: ir.Node) -> str:
        """How a report names a node, whatever has been folded meanwhile."""
        return self._labels.get(node) or label(node)

    def note_heirs(self, nodes: Iterable[ir.Node], value: ir.Value, gone: str) -> None:
        """Remember what nodes read since an affine went."""
        self.heirs.update(dict.fromkeys(nodes, (value, f" (it reads '{value.name}' since {gone} went)")))

    def op_type(self, node: ir.Node) -> str:
        """What a report calls the op of a node: a call of a copy of a function is one of the function."""
        original = self._originals.get(node.op_identifier())
        return node.op_type if original is None else original.name

    def is_call(self, node: ir.Node) -> bool:
        """Whether a node calls a function of the model."""
        return node.op_identifier() in self.model.functions

    def stored_dtype(self, node: ir.Node, slot: int, otherwise: int) -> ir.DataType:
        """The dtype in which a constant of a node is stored: that of what stands there, or else of another slot."""
        for place in (slot, otherwise):
            if (dtype := self.constants.dtype(find_input(node, place))) is not None:
                return dtype
        dtype = self.shapes.dtype(required_input(node, otherwise))
        if dtype is None:
            raise ValueError(f"{node.op_type} '{self.label(node)}' has no constant there")
        return dtype

    def why_not_constant(self, value: ir.Value) -> str:
        """What a value is that is not a floating-point constant."""
        if self.constants.dtype(value) is not None:
            return "not a floating-point tensor"
        if is_trained(value):
            return "a parameter that the model's training information names"
        if value.is_initializer():
            return "a graph input, which the caller may replace"
        return self._which_input(value) if value.is_graph_input() else "computed at run time"

    def owner(self, value: ir.Value) -> ir.Node | None:
        """The If, Loop or Scan that hands on a tensor as an output of its body; None for every other tensor."""
        return self._owners.get(value.graph) if value.is_graph_output() and value.graph is not None else None

    def why_pinned(self, value: ir.Value) -> str | None:
        """Why a tensor may never be re-expressed: what else it is, or None.

        Pinned are constants, the inputs and outputs of the graph and of functions, the inputs of bodies, and what a
        Loop or Scan carries from one iteration to the next. An output of a body is not: the If, Loop or Scan whose body
        it is has the last word.
        """
        if value.is_initializer():
            return "a constant" if self.constants.tensor(value) is not None else self.why_not_constant(value)
        if value.is_graph_input():
            return self._which_input(value)
        if not value.is_graph_output() or value.graph is None:
            return None
        if value.graph in self._functions:
            return f"an output of the function '{self._functions[value.graph]}'"
        node = self.owner(value)
        if node is None:
            return "a graph output"
        return "carried from one iteration to the next" if self._is_carried(value, node) else None

    def _which_input(self, value: ir.Value) -> str:
        if value.graph is None or value.graph is self.model.graph:
            return "a graph input"
        if value.graph in self._functions:
            return f"an input of the function '{self._functions[value.graph]}'"
        node = self._owners[value.graph]
        return f"an input of the body of {node.op_type} '{self.label(node)}'"

    def _is_carried(self, value: ir.Value, node: ir.Node) -> bool:
        """Whether the next iteration reads an output of a body; also where that cannot be told."""
        if node.op_type not in ("Loop", "Scan"):
            return False
        (body,) = bodies_of(node)
        try:
            first = first_stacked_output(node)
        except Blocked:
            return True
        return any(output is value for output in body.outputs[:first])


def _opsets(model: ir.Model) -> Iterator[tuple[ir.Graph, int]]:
    imports = [(model.graph, model.opset_imports)]
    imports += [(function.graph, function.opset_imports) for function in model.functions.values()]
    for outermost, versions in imports:
        version = versions.get("", versions.get("ai.onnx", 1))
        yield from ((graph, version) for graph in with_bodies(outermost))


def find_matching(model: ir.Model, patterns: Collection[str]) -> frozenset[ir.Node]:
    """The nodes of which a name, or the name of an output, matches a pattern.

    Raises:
        BnfoldError: A pattern matches none.
    """
    found: set[ir.Node] = set()
    nodes = [(node, list(_names(node))) for graph in all_graphs(model) for node in graph] if patterns else []
    for pattern in patterns:
        # Names such as "blocks[0]/bn" hold brackets: a name matches itself, whatever it means as a pattern.
        matches = [n for n, names in nodes if any(name == pattern or fnmatchcase(name, pattern) for name in names)]
        if not matches:
            raise BnfoldError(f"--keep {pattern}: no node has such a name, nor an output of such a name")
        found.update(matches)
    return frozenset(found)


def _names(node: ir.Node) -> Iterator[str]:
    yield from (name for name in (node.name, *(value.name for value in node.outputs)) if name)

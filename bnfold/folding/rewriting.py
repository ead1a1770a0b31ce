"""Commits a plan: the only code that changes a graph. It cannot fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from bnfold.folding.constants import constant_tensor
from bnfold.folding.evaluation import is_evaluable, reads_shape_only
from bnfold.folding.nodes import find_input, graph_of, label, required_input
from bnfold.folding.result import Absorption, Folded
from bnfold.folding.rounding import round_once
from bnfold.folding.scaling import Scaled
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bnfold.folding.answers import Padding, Rewrite
    from bnfold.folding.facts import Facts
    from bnfold.folding.merging import Merge
    from bnfold.folding.planning import Plan

__all__ = ["Rewriter"]


class Rewriter:
    """Commits plans to one model, and keeps its names unique."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._names = set(_all_names(facts.model))
        self._functions = {function.graph for function in facts.model.functions.values()}
        self._functions |= {inner for graph in self._functions for inner in graph.subgraphs()}
        self._flushed: dict[ir.Value, int] = {}
        self._copies: dict[ir.Value, list[ir.Value]] = {}  # what was made of a weight that others read as well

    @property
    def flushed_subnormals(self) -> int:
        """How many weights were set to 0 because they would have been subnormal."""
        return sum(self._flushed.values())

    def forget(self, graph: ir.Graph) -> None:
        """What was rewritten in a graph does not count: the model goes on without it."""
        for node in graph.all_nodes():
            for value in node.outputs:
                self._flushed.pop(value, None)

    def commit(self, plan: Plan) -> Folded:
        """Rewrite what the plan says, take the site out, and drop what nothing reads any more."""
        into = tuple(absorbed for rewrite in plan.rewrites if (absorbed := self._rewrite(rewrite)))
        for value in plan.widened:
            self._widen(value)
        site = plan.site
        folded = Folded(
            site.label(self._facts),
            site.op_type,
            plan.route,
            into,
            tuple(map(self._facts.label, plan.through)),
            plan.conditioning,
        )
        heirs = [use.node for use in site.output.uses()]
        self._facts.note_heirs(heirs, site.data, f"{site.op_type} '{folded.node}'")
        self._bypass(site.nodes, site.data, site.output)
        return folded

    def merge(self, merge: Merge) -> Absorption:
        """Take one branch of a sum into another: the sum loses an operand, or goes where only one is left."""
        node = merge.rewrite.node
        absorbed = self._rewrite(merge.rewrite) or Absorption(self._facts.label(node), node.op_type, ())
        parent, rest = merge.parent, [v for slot, v in enumerate(merge.parent.inputs) if slot != merge.slot]
        parent.replace_input_with(merge.slot, merge.data)  # which stays when the branch goes
        self._remove(merge.nodes, merge.data)
        if len(rest) == 1 and rest[0] is not None:
            self._bypass((parent,), rest[0], parent.outputs[0])
        else:
            for slot, value in enumerate(rest):
                parent.replace_input_with(slot, value)
            parent.resize_inputs(len(rest))
        return absorbed

    def _rewrite(self, rewrite: Rewrite) -> Absorption | None:
        node = rewrite.node
        changed = [
            self._set_constant(node, slot, array, self._facts.stored_dtype(node, slot, rewrite.dtype_slot))
            for slot, array in rewrite.constants.items()
            if not self._is_same(node, slot, array)
        ]
        if rewrite.op_type is not None:
            node.op_type = rewrite.op_type
        node.attributes.update(rewrite.attributes)
        changed += rewrite.attributes
        if rewrite.padding is not None:
            changed.append(self._pad_in_front(node, rewrite.padding, rewrite.dtype_slot))
        if rewrite.bias_behind is not None:
            changed.append(self._add_behind(node, rewrite.bias_behind, rewrite.dtype_slot))
        return Absorption(self._facts.label(node), node.op_type, tuple(changed)) if changed else None

    def _is_same(self, node: ir.Node, slot: int, array: NDArray[np.float64] | Scaled) -> bool:
        if isinstance(array, Scaled):
            known = self._facts.constants.scaled(required_input(node, slot))
            return known is not None and known.is_same(array)
        old = self._facts.constants.weight(find_input(node, slot))
        return old is not None and old.shape == array.shape and bool((old == array).all())

    def _set_constant(self, node: ir.Node, slot: int, array: NDArray[np.float64] | Scaled, dtype: ir.DataType) -> str:
        """Put a constant into a slot: in place where nothing else reads it, and as a new one otherwise."""
        value = find_input(node, slot)
        fresh = self._find_copy(node, value, array, dtype)
        if fresh is None and value is not None and self._is_private(value, array.shape):
            self._store(value, array, dtype)
            return value.name or ""
        if fresh is None:
            fresh = self._new_constant(node, value.name if value is not None else f"{label(node)}.bias")
            self._store(fresh, array, dtype)
            if value is not None:
                self._copies.setdefault(value, []).append(fresh)
        if slot >= len(node.inputs):
            node.resize_inputs(slot + 1)
        node.replace_input_with(slot, fresh)
        self._discard(value)
        return fresh.name or ""

    def _find_copy(
        self, node: ir.Node, value: ir.Value | None, array: NDArray[np.float64] | Scaled, dtype: ir.DataType
    ) -> ir.Value | None:
        """What another reader of a shared weight has made of it, if that is the same: siblings go on sharing it."""
        for copy in self._copies.get(value, ()) if value is not None else ():
            lives = copy.is_initializer() and copy.graph is graph_of(node) and copy.dtype is dtype
            if lives and self._is_known_as(copy, array):
                return copy
        return None

    def _is_known_as(self, value: ir.Value, array: NDArray[np.float64] | Scaled) -> bool:
        if isinstance(array, Scaled):
            known = self._facts.constants.scaled(value)
            return known is not None and known.is_same(array)
        weight = self._facts.constants.weight(value)
        return weight is not None and np.array_equal(weight, array)

    def _is_private(self, value: ir.Value, shape: tuple[int, ...]) -> bool:
        """Whether nobody but one reader sees a rewrite of this constant; readers of the shape alone see none."""
        tensor = constant_tensor(value)
        if tensor is None or value.is_graph_output():
            return False
        same_shape = tensor.shape.numpy() == shape
        readers = [use for use in value.uses() if not (same_shape and reads_shape_only(use.node))]
        return len(readers) == 1

    def _new_constant(self, node: ir.Node, wanted: str | None) -> ir.Value:
        """An initializer; a Constant node in functions, which have none.

        Before IR version 4 every initializer is listed as an input of its graph, which that of a body cannot be.
        """
        graph = graph_of(node)
        value = ir.Value(name=self._unique(wanted or "constant"))
        placeholder = ir.tensor(np.zeros(0, np.float32), name=value.name)
        before_4 = self._facts.model.ir_version < 4
        if graph in self._functions or (before_4 and graph is not self._facts.model.graph):
            constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", placeholder)], outputs=[value])
            graph.insert_before(node, constant)
            return value
        value.const_value = placeholder
        graph.register_initializer(value)
        if before_4:
            graph.inputs.append(value)
        return value

    def _store(self, value: ir.Value, array: NDArray[np.float64] | Scaled, dtype: ir.DataType) -> None:
        """Round once, from float64; what was stored before is forgotten, what it stood for is not."""
        self._facts.constants.set_exact(value, array)
        if isinstance(array, Scaled):
            self._flushed[value] = array.count_flushed(dtype)
            self._put(value, array.tensor(dtype, value.name))
            return
        rounded, self._flushed[value] = round_once(array, dtype)
        self._put(value, ir.Tensor(np.asarray(rounded, order="C"), dtype=dtype, name=value.name))

    def _put(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Make a tensor the value of a constant."""
        value.shape, value.dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
        producer = value.producer()
        if producer is None:
            value.const_value = tensor
        else:
            producer.attributes.clear()
            producer.attributes["value"] = ir.AttrTensor("value", tensor)

    def _widen(self, value: ir.Value) -> None:
        """A tensor has one channel more."""
        self._facts.shapes.widen(value)
        if value.shape is not None and isinstance(channels := value.shape[1], int):
            value.shape = ir.Shape([dim if axis != 1 else channels + 1 for axis, dim in enumerate(value.shape)])

    def _pad_in_front(self, node: ir.Node, padding: Padding, dtype_slot: int) -> str:
        """``data → node`` becomes ``data → Pad(value) → node``, and the node pads no more."""
        graph, data = graph_of(node), node.inputs[0]
        begin, end = ([cells[side] for cells in padding.pads] for side in (0, 1))
        pads, fill = (self._new_constant(node, f"{label(node)}.{name}") for name in ("pads", "padding"))
        self._put(pads, ir.tensor(np.array([0, 0, *begin, 0, 0, *end], np.int64)))
        self._store(fill, np.array(padding.value), self._facts.stored_dtype(node, dtype_slot, dtype_slot))
        padded = ir.Value(name=self._unique(f"{label(node)}.padded"))
        pad = ir.Node("", "Pad", [data, pads, fill], outputs=[padded], name=self._unique(f"{label(node)}.pad"))
        graph.insert_before(node, pad)
        self._facts.added.add(pad)
        node.replace_input_with(0, padded)
        node.attributes.pop("auto_pad", None)
        node.attributes["pads"] = ir.AttrInt64s("pads", [0] * 2 * len(begin))
        return fill.name or ""

    def _add_behind(self, node: ir.Node, array: NDArray[np.float64], dtype_slot: int) -> str:
        """``node → readers`` becomes ``node → Add(bias) → readers``; a graph output moves behind the Add."""
        if (reshape := self._find_merging_reshape(node, array)) is not None:
            return self._become_gemm(node, reshape, array, dtype_slot)
        graph, output = graph_of(node), node.outputs[0]
        bias = self._new_constant(node, f"{label(node)}.bias")
        self._store(bias, array, self._facts.stored_dtype(node, dtype_slot, dtype_slot))
        total = ir.Value(name=self._unique(f"{output.name}.biased"), type=output.type, shape=output.shape)
        readers = output.uses()
        if output.is_graph_output():
            self._take_over(total, output)
            output.name = self._unique(f"{total.name}.unbiased")
        add = ir.Node("", "Add", [output, bias], outputs=[total], name=self._unique(f"{label(node)}.add"))
        graph.insert_after(node, add)
        self._facts.added.add(add)
        for reader, slot in readers:
            reader.replace_input_with(slot, total)
        self._facts.shapes.copy(output, total)
        return bias.name or ""

    def _find_merging_reshape(self, node: ir.Node, bias: NDArray[np.float64]) -> ir.Node | None:
        """The Reshape that makes rows of what a MatMul writes, if nothing else reads that."""
        weight, output = self._facts.constants.weight(find_input(node, 1)), node.outputs[0]
        if node.op_type != "MatMul" or weight is None or weight.ndim != 2 or len(output.uses()) != 1:
            return None
        (use,) = output.uses()
        target = self._facts.constants.array(find_input(use.node, 1)) if use.node.op_type == "Reshape" else None
        is_alone = use.node.graph is node.graph and use.idx == 0 and not output.is_graph_output()
        is_merge = target is not None and list(target) == [-1, weight.shape[1]] and bias.size == weight.shape[1]
        return use.node if is_alone and is_merge and use.node not in self._facts.untouchable else None

    def _become_gemm(self, node: ir.Node, reshape: ir.Node, bias: NDArray[np.float64], dtype_slot: int) -> str:
        """``x → MatMul(W) → Reshape`` becomes ``x → Reshape → Gemm(W, bias)``: the bias costs no node then."""
        weight, old, output = required_input(node, 1), required_input(reshape, 1), node.outputs[0]
        inputs = self._facts.shapes[weight][0]  # type: ignore[index]  # a constant's is known
        term, rows = (self._new_constant(node, f"{label(node)}.{name}") for name in ("bias", "rows"))
        self._store(term, bias.reshape(-1), self._facts.stored_dtype(node, dtype_slot, dtype_slot))
        self._put(rows, ir.tensor(np.array([-1, inputs], np.int64)))
        node.replace_input_with(1, rows)
        reshape.replace_input_with(1, weight)
        reshape.resize_inputs(3)
        reshape.replace_input_with(2, term)
        node.op_type, reshape.op_type = "Reshape", "Gemm"
        node.attributes.clear()
        reshape.attributes.clear()
        self._facts.shapes.set(output, (None, inputs))
        output.shape = ir.Shape([None, inputs]) if output.type is not None else None
        self._discard(old)
        return term.name or ""

    def _bypass(self, nodes: Sequence[ir.Node], data: ir.Value, output: ir.Value) -> None:
        """Let the readers of ``output`` read ``data``, and take out the nodes in between."""
        if output.is_graph_output() and not self._can_take_name(data, output.graph):
            self._become_identity(nodes, data)
            return
        for reader, slot in output.uses():
            reader.replace_input_with(slot, data)
        if output.is_graph_output():
            self._take_over(data, output)
        self._remove(nodes, data)

    def _remove(self, nodes: Sequence[ir.Node], data: ir.Value) -> None:
        """Take the nodes behind ``data`` out of the graph, and the constants that only they read."""
        operands = [value for node in nodes for value in node.inputs if value is not data]
        for node in reversed(nodes):
            _detach(node)
            graph_of(node).remove(node)
        for value in operands:
            self._discard(value)

    def _can_take_name(self, data: ir.Value, graph: ir.Graph | None) -> bool:
        """Whether a tensor may become the output of a graph or of a body, in the place of what the node wrote."""
        pinned = data.is_graph_input() or data.is_graph_output() or data.is_initializer()
        return not pinned and data.graph is graph

    def _become_identity(self, nodes: Sequence[ir.Node], data: ir.Value) -> None:
        """The output must exist under its own name: an Identity copies it there."""
        node = nodes[-1]
        operands = [value for value in node.inputs if value is not data]
        _detach(node)
        self._remove(nodes[:-1], data)
        node.resize_inputs(1)
        node.resize_outputs(1)
        node.replace_input_with(0, data)
        node.op_type = "Identity"
        node.attributes.clear()
        for value in operands:
            self._discard(value)

    def _take_over(self, data: ir.Value, output: ir.Value) -> None:
        outputs = output.graph.outputs if output.graph is not None else []
        for index, value in enumerate(outputs):
            if value is output:
                outputs[index] = data
        name, output.name = output.name, None
        data.name, data.type, data.shape, data.doc_string = name, output.type, output.shape, output.doc_string
        data.metadata_props.clear()
        data.metadata_props.update(output.metadata_props)

    def _discard(self, unread: ir.Value | None) -> None:
        """Drop a constant that nothing reads any more, and the expression that computed it."""
        candidates = [unread]
        while candidates:
            value = candidates.pop()
            if value is None or value.uses() or value.is_graph_output() or value.graph is None:
                continue  # read, or gone already
            self._flushed.pop(value, None)
            self._facts.constants.forget(value)
            producer = value.producer()
            if value.is_initializer():
                self._drop_initializer(value)
            elif producer is not None and is_evaluable(producer) and len(producer.outputs) == 1:
                candidates += producer.inputs
                _detach(producer)
                graph_of(producer).remove(producer)

    def _drop_initializer(self, value: ir.Value) -> None:
        graph = value.graph
        if graph is None:
            return
        if value.is_graph_input():
            if self._facts.model.ir_version >= 4:
                return  # part of the interface
            graph.inputs.remove(value)
        del graph.initializers[value.name or ""]

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._names:
            name, count = f"{wanted}_{count}", count + 1
        self._names.add(name)
        return name


def _detach(node: ir.Node) -> None:
    """onnx-ir leaves a removed node among the readers of its inputs unless they are taken from it first."""
    for slot in range(len(node.inputs)):
        node.replace_input_with(slot, None)


def _all_names(model: ir.Model) -> list[str]:
    names: list[str | None] = []
    for graph in all_graphs(model):
        names += [value.name for value in (*graph.inputs, *graph.initializers.values())]
        for node in graph:
            names += [node.name, *(value.name for value in node.outputs)]
    return [name for name in names if name]

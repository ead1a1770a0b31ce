"""What stands around a BatchNormalization of an ONNX graph: the way in, the way out, and what one channel costs."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from bnfold.folding.answers import Blocked
from bnfold.folding.nodes import find_input, integer, number, required_input
from bnfold.folding.ops.constant_operand import find_constant_operand
from bnfold.linting.facts import Kind, Layer, Shrinkage
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from bnfold.folding import Folded
    from bnfold.folding.facts import Facts

__all__ = ["Neighbours"]

_WEIGHTS = frozenset({"Conv", "ConvTranspose", "DeformConv", "Gemm"})
_CURVES = frozenset(
    [
        *("Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu"),
        *("Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    ]
)
_SAME_CHANNELS = frozenset({"Cast", "Identity"})
_PASSING = _SAME_CHANNELS | {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
_CONSTANT_OPS = frozenset({"Add", "Div", "Mul", "Sub"})
_LONGEST_GATE = 8  # nodes between x and f(x) in x·f(x), as exporters write Swish, HardSwish, Mish and Gelu


class Neighbours:
    """Asks the graph; ``folded`` is where the planner moves each BatchNormalization, by the name of its node."""

    def __init__(self, facts: Facts, folded: Mapping[str, Folded]) -> None:
        self._facts = facts
        self._folded = folded
        self._upstream = _ancestors([node for node in _nodes(facts) if _is_batch_norm(node)])

    def before(self, norm: ir.Node) -> tuple[Layer, ...]:
        """The ops that lead in, the nearest first, up to one that has weights or more than one source."""
        layers: list[Layer] = []
        value, is_private = find_input(norm, 0), True
        while value is not None and (node := value.producer()) is not None:
            is_shared = not _has_one_reader(value)
            is_private = is_private and not is_shared
            layer = self._layer(node)
            is_bias = layer.kind is Kind.WEIGHTS and is_private and self._meets(norm, node, layers)
            biases = self._count_biases(node) if is_bias else 0
            layers.append(dataclasses.replace(layer, biases=biases, is_shared=is_shared))
            value = None if layer.kind in (Kind.WEIGHTS, Kind.OTHER) else self._source(node)
        return tuple(layers)

    def after(self, norm: ir.Node) -> tuple[Layer, ...]:
        """The ops that it leads to, the nearest first, as long as there is one, and up to one that has weights."""
        layers: list[Layer] = []
        node = self._reader(norm.outputs[0])
        while node is not None:
            layers.append(self._layer(node))
            node = None if layers[-1].kind in (Kind.WEIGHTS, Kind.OTHER) else self._reader(node.outputs[0])
        return tuple(layers)

    def shrinkage(self, norm: ir.Node, channels: int) -> Shrinkage | None:
        """What goes with one channel: a row of what writes it, and a column of each op that reads it.

        None when another op is in the way: a sum, say, whose other branch has that channel too.
        """
        writer = _only_writer(norm)
        while writer is not None and writer.op_type in _SAME_CHANNELS:
            writer = _only_writer(writer)
        readers = self._readers_of_channels(norm.outputs[0])
        if writer is None or self._kind(writer) is not Kind.WEIGHTS or not readers:
            return None
        sizes = [self._size_of_weight(node) for node in (writer, *readers)]
        if any(size == 0 or size % channels for size in sizes):
            return None
        numbers = sum(sizes) + self._count_biases(writer, zeros=True)
        layers = tuple(map(self._layer, (writer, *readers)))
        return Shrinkage(layers, numbers // channels + len(("scale", "bias", "mean", "var")))

    def _readers_of_channels(self, value: ir.Value) -> list[ir.Node] | None:
        """The ops with weights that read the channels of a tensor, past what keeps them apart; None if others do."""
        found: dict[ir.Node, None] = {}
        values = [value]
        for value in values:  # which grows meanwhile
            if value.is_graph_output():
                return None
            for reader in value.consumers():
                if self._kind(reader) is Kind.WEIGHTS and value is find_input(reader, 0):
                    found[reader] = None
                    if integer(reader, "group", 1) == 1:
                        continue
                    if not self._is_depthwise(reader):
                        return None
                elif not self._keeps_channels(reader):
                    return None
                if reader.outputs[0] not in values:
                    values.append(reader.outputs[0])
        return list(found)

    def _keeps_channels(self, node: ir.Node) -> bool:
        """Whether what an op writes has the channels of what it reads, as they are or one after another."""
        if node.op_type in ("Flatten", "Reshape"):
            data, output = required_input(node, 0), node.outputs[0]
            before, after = self._facts.shapes[data], self._facts.shapes[output]
            sizes = [dim for dim in (before or ())[1:] if isinstance(dim, int)]
            return after is not None and len(after) == 2 and after[1] == math.prod(sizes)
        return node.op_type in _CURVES | _SAME_CHANNELS | _POOLS | {"Dropout"} or self._is_gate(node)

    def _layer(self, node: ir.Node) -> Layer:
        kind = self._kind(node)
        return Layer(
            self._facts.label(node),
            self._facts.op_type(node),
            kind,
            rate=self._rate(node) if kind is Kind.DROPOUT else None,
            reaches_batch_norm=node in self._upstream,
        )

    def _kind(self, node: ir.Node) -> Kind:
        if node.domain != "":
            return Kind.OTHER
        if node.op_type in _WEIGHTS | {"MatMul"} or self._product_behind(node) is not None:
            return Kind.WEIGHTS
        if node.op_type in _CURVES or self._is_gate(node):
            return Kind.ACTIVATION
        if node.op_type == "Dropout":
            return Kind.DROPOUT
        return Kind.PASSING if node.op_type in _PASSING else Kind.OTHER

    def _product_behind(self, node: ir.Node) -> ir.Node | None:
        """The MatMul whose bias an Add is: what ``nn.Linear`` becomes on more than two axes."""
        if node.op_type != "Add":
            return None
        operand = find_constant_operand(node, self._facts.constants.weight)
        producer = operand.data.producer() if operand is not None else None
        return producer if producer is not None and producer.op_type == "MatMul" else None

    def _is_gate(self, node: ir.Node) -> bool:
        """Whether a Mul is an activation of one tensor, x·f(x), written as several nodes."""
        return node.op_type == "Mul" and self._gated(node) is not None

    def _gated(self, node: ir.Node) -> ir.Value | None:
        """What x is in such a Mul."""
        left, right = (self._path(find_input(node, slot)) for slot in range(2))
        for value in left:
            if value in right:
                way = [*left[: left.index(value)], *right[: right.index(value)]]
                makers = [step.producer() for step in way]
                return value if any(maker is not None and maker.op_type in _CURVES for maker in makers) else None
        return None

    def _path(self, value: ir.Value | None) -> list[ir.Value]:
        """A tensor, and those that it is computed from number by number, as long as it is from one."""
        path: list[ir.Value] = []
        while value is not None and len(path) < _LONGEST_GATE:
            path.append(value)
            node = value.producer()
            value = None
            if node is not None and node.op_type in _CURVES | _CONSTANT_OPS | _SAME_CHANNELS:
                inputs = [operand for operand in node.inputs if operand is not None]
                variable = [operand for operand in inputs if self._facts.constants.weight_shape(operand) is None]
                value = variable[0] if len(variable) == 1 else None
        return path

    def _source(self, node: ir.Node) -> ir.Value | None:
        """What an activation, a Dropout, or an op that moves numbers about, reads."""
        return self._gated(node) if node.op_type == "Mul" else find_input(node, 0)

    def _reader(self, value: ir.Value) -> ir.Node | None:
        """The only op that reads a tensor; several nodes that are one activation count as their last."""
        if value.is_graph_output():
            return None
        readers = list(dict.fromkeys(value.consumers()))
        if len(readers) == 1:
            return readers[0]
        return next(filter(self._is_gate, readers), None)

    def _meets(self, norm: ir.Node, node: ir.Node, between: list[Layer]) -> bool:
        """Whether the bias of an op is one number for each channel of the BatchNormalization.

        Nothing between the two moves the channels, or the planner has the affine go into that very op.
        """
        if any(layer.kind is not Kind.PASSING for layer in between):
            return False
        folded = self._folded.get(self._facts.label(norm))
        if folded is not None and self._varies(norm):
            product = self._product_behind(node)
            names = {self._facts.label(node), *([self._facts.label(product)] if product is not None else [])}
            return any(absorption.node in names for absorption in folded.into)
        rank = len(self._facts.shapes[norm.outputs[0]] or ())
        is_direct = all(layer.op_type in _SAME_CHANNELS for layer in between)
        return is_direct and (node.op_type in _WEIGHTS or rank == 2)

    def _varies(self, norm: ir.Node) -> bool:
        """Whether the affine is another one in each channel: one that is not goes anywhere, and tells no axis."""
        parameters = [self._facts.constants.weight(find_input(norm, slot)) for slot in range(1, 5)]
        return any(array is not None and (array != array[:1]).any() for array in parameters)

    def _count_biases(self, node: ir.Node, *, zeros: bool = False) -> int:
        """How many numbers the bias of an op has; of one that is 0 everywhere only where they are wanted."""
        if node.op_type == "Add":
            operand = find_constant_operand(node, self._facts.constants.weight)
            bias = operand.array if operand is not None else None
        else:
            slot = {"DeformConv": 3, "MatMul": len(node.inputs)}.get(node.op_type, 2)
            bias = self._facts.constants.weight(find_input(node, slot))
        return int(bias.size) if bias is not None and (zeros or bias.any()) else 0

    def _weight_shape(self, node: ir.Node) -> tuple[int, ...] | None:
        return self._facts.constants.weight_shape(find_input(node, 1))

    def _size_of_weight(self, node: ir.Node) -> int:
        """0 where it is not known, or is not one row or column for each channel: a MatMul of more than two axes."""
        product = self._product_behind(node) or node
        shape = self._weight_shape(product)
        is_apart = product.op_type != "MatMul" or len(self._facts.shapes[product.outputs[0]] or ()) == 2
        return int(np.prod(shape)) if shape is not None and is_apart else 0

    def _is_depthwise(self, node: ir.Node) -> bool:
        shape = self._weight_shape(node)
        return shape is not None and shape[:2] == (integer(node, "group", 1), 1)

    def _rate(self, node: ir.Node) -> float | None:
        try:
            if self._facts.opset(node) < 12:
                return number(node, "ratio", 0.5)
        except Blocked:  # the caller of a function says
            return None
        ratio = find_input(node, 1)
        if ratio is None:
            return 0.5
        value = self._facts.constants.weight(ratio)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _has_one_reader(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _only_writer(node: ir.Node) -> ir.Node | None:
    """What writes the first input of a node, if nobody else reads that."""
    data = required_input(node, 0)
    return data.producer() if _has_one_reader(data) else None


def _is_batch_norm(node: ir.Node) -> bool:
    return node.op_type == "BatchNormalization" and node.domain == ""


def _nodes(facts: Facts) -> list[ir.Node]:
    return [node for graph in all_graphs(facts.model) for node in graph]


def _ancestors(nodes: list[ir.Node]) -> set[ir.Node]:
    """The ops from which a way leads to one of these."""
    found: set[ir.Node] = set()
    waiting = list(nodes)
    while waiting:
        for value in waiting.pop().inputs:
            node = value.producer() if value is not None else None
            if node is not None and node not in found:
                found.add(node)
                waiting.append(node)
    return found

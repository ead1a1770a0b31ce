"""The shape of every tensor, as far as it can be known without running the model.

ONNX's own shape inference comes first, on the model and, since it does not enter them, on the body of each function.
What exporters compute from constants (the pads of a shortcut, the sizes of a Resize) it is told. It gives up on some
real files: what is still unknown is read off the weights, since a Conv says how many axes its tensors have, and how
many channels.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bnfold.folding.constants import constant_tensor
from bnfold.folding.nodes import find_input
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bnfold.folding.constants import Constants

__all__ = ["Dim", "Shape", "Shapes", "callers_first"]

Dim = int | str | None  # a number, a symbol, or unknown
Shape = tuple[Dim, ...]

# Ops whose first output has the shape of their first input.
_KEEP_SHAPE = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "DequantizeLinear",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Hardmax",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "Mish",
        "Neg",
        "PRelu",
        "QuantizeLinear",
        "RMSNormalization",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softmax",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    ]
)

_FEW = 64  # numbers in a constant that says something about shapes

# Ops of which an input other than the first is a list (of sizes, pads, axes …) that decides on the shape of the output.
_READ_LISTS = frozenset(
    ["Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze", "Upsample"]
)
_LONGEST_LIST = 64  # longer ones decide on no shape


class Shapes:
    """Shapes by value; found when the object is made, and valid as long as no tensor changes its shape."""

    def __init__(
        self,
        model: ir.Model,
        constants: Constants,
        originals: Mapping[ir.OperatorIdentifier, ir.Function] = MappingProxyType({}),
    ) -> None:
        """Find what can be found.

        Args:
            model: The model.
            constants: Its constants.
            originals: Of which function each specialised copy is one; a call of the copy tells the shapes of both.
        """
        self._constants = constants
        self._calls = _calls(model, originals)
        self._shapes: dict[ir.Value, Shape] = {}
        self._dtypes: dict[ir.Value, ir.DataType] = {}
        self._learn(model.graph, model.clone())
        for function in callers_first(model, originals):
            self._learn(function.graph, self._as_model(function, model))

    def __getitem__(self, value: ir.Value) -> Shape | None:
        """The shape of a tensor, or None when not even its number of axes is known."""
        if value not in self._shapes:
            tensor = self._constants.tensor(value)
            if tensor is not None:
                return tuple(tensor.shape.numpy())
            self._fill(value)
        return self._shapes.get(value)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a tensor, as far as it is known."""
        tensor = self._constants.tensor(value)
        return tensor.dtype if tensor is not None else self._dtypes.get(value)

    def widen(self, value: ir.Value) -> None:
        """A tensor gets one channel more."""
        shape = self[value]
        if shape is not None and isinstance(channels := shape[1], int):
            self._shapes[value] = (shape[0], channels + 1, *shape[2:])

    def copy(self, source: ir.Value, target: ir.Value) -> None:
        """A new tensor has the shape of a known one."""
        if source in self._shapes:
            self._shapes[target] = self._shapes[source]

    def _learn(self, graph: ir.Graph, copy: ir.Model) -> None:
        """Run ONNX's inference on a copy, so that the graph itself stays as it is, and take note of what it finds."""
        if copy.ir_version >= 4:  # what the caller may replace is no constant: see Constants
            for value in (value for value in copy.graph.inputs if value.name in copy.graph.initializers):
                del copy.graph.initializers[value.name or ""]
        ours, theirs = (graph, *graph.subgraphs()), (copy.graph, *copy.graph.subgraphs())
        originals, twins = (list(chain.from_iterable(map(_values, graphs))) for graphs in (ours, theirs))
        for original, twin in zip(ours, theirs, strict=True):
            self._spell_out(original, twin)
        self._tell_constants(graph, copy.graph)
        _tell_bodies(copy.graph)
        with _quiet():
            ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
        for value, inferred in zip(originals, twins, strict=True):
            if inferred.shape is not None:
                self._shapes[value] = tuple(_dim(dim) for dim in inferred.shape)
            if inferred.dtype is not None:
                self._dtypes[value] = inferred.dtype

    def _tell_constants(self, graph: ir.Graph, copy: ir.Graph) -> None:
        """Let inference know the constants that a function is specialised for: a list of sizes above all."""
        for original, twin in list(zip(graph.inputs, copy.inputs, strict=True)):
            tensor = self._constants.tensor(original)
            if tensor is not None and tensor.size <= _FEW and not twin.is_initializer():
                copy.inputs.remove(twin)
                twin.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype)  # which gets the name of its value
                copy.register_initializer(twin)

    def _spell_out(self, original: ir.Graph, twin: ir.Graph) -> None:
        """Write down what the lists that decide on shapes amount to: inference evaluates few of the ops they may be."""
        for node, same in zip(tuple(original), tuple(twin), strict=True):
            if node.op_type not in _READ_LISTS or node.domain != "":
                continue
            for slot, value in enumerate(node.inputs):
                producer = value.producer() if slot > 0 and value is not None else None
                if producer is None or producer.op_type == "Constant":
                    continue
                array = self._constants.array(value)
                if array is not None and array.size <= _LONGEST_LIST:
                    constant = ir.node("Constant", [], {"value": ir.tensor(array)})
                    twin.insert_before(same, constant)
                    same.replace_input_with(slot, constant.outputs[0])

    def _as_model(self, function: ir.Function, model: ir.Model) -> ir.Model:
        """The body of a function as a model of its own, with inputs of the type and shape that all callers agree on."""
        body = function.graph.clone()
        calls = self._calls[function.identifier()]
        for slot, value in enumerate(body.inputs):
            arguments = [find_input(call, slot) for call in calls]
            dtypes = {self.dtype(argument) if argument is not None else None for argument in arguments}
            shapes = [self[argument] if argument is not None else None for argument in arguments]
            if len(dtypes) == 1 and (dtype := dtypes.pop()) is not None:
                value.dtype = dtype
                if (shape := _common(shapes)) is not None:
                    value.shape = ir.Shape(shape)
        functions = [other.clone() for other in callers_first(model, top=function.graph)]
        body.opset_imports.update(function.opset_imports)
        return ir.Model(body, ir_version=model.ir_version, functions=functions)

    def _fill(self, value: ir.Value) -> None:
        """Walk up past ops that keep the shape, to what knows it (a loop: graphs are deeper than Python's stack)."""
        path: list[ir.Value] = []
        source: ir.Value | None = value
        known: Shape | None = None
        while source is not None and known is None:
            known = self._shapes.get(source) or self._written(source.producer()) or self._read(source)
            path.append(source)
            node = source.producer()
            source = find_input(node, 0) if node is not None and _keeps_shape(node) else None
        if known is not None:
            self._shapes.update(dict.fromkeys(path, known))

    def _written(self, node: ir.Node | None) -> Shape | None:
        """What the constants of an op say of its output."""
        if node is None or node.domain != "":
            return None
        constant = self._constants.tensor(find_input(node, 1))
        if node.op_type == "Gemm":
            return (None, None)
        if node.op_type == "Reshape" and constant is not None:
            # 0 and −1 stand for sizes that the constant does not tell.
            return tuple(size if size > 0 else None for size in constant.numpy().tolist())
        if node.op_type in ("Conv", "ConvTranspose", "DeformConv") and constant is not None:
            rank = len(constant.shape)
            channels = constant.shape.numpy()[0] if node.op_type != "ConvTranspose" else None
            return (None, channels, *[None] * (rank - 2))
        return None

    def _read(self, value: ir.Value) -> Shape | None:
        """What the readers of a tensor say of it."""
        for node, slot in value.uses():
            if slot != 0 or node.domain != "":
                continue
            if node.op_type == "Gemm":
                return (None, None)
            constant = self._constants.tensor(find_input(node, 1))
            if node.op_type in ("Conv", "ConvTranspose", "DeformConv") and constant is not None:
                return (None,) * len(constant.shape)
            if _keeps_shape(node) and node.outputs[0] in self._shapes:
                return self._shapes[node.outputs[0]]
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Where inference gives up it logs a traceback; for us that only means that less is known."""
    logger = logging.getLogger(ShapeInferencePass.__module__)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _keeps_shape(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in _KEEP_SHAPE


def _tell_bodies(graph: ir.Graph) -> None:
    """Let inference know the constants that bodies capture: it does not look for them in the graph around a body."""
    for body in graph.subgraphs():
        own: dict[ir.Value, ir.Value] = {}
        for node in body:
            for slot, value in enumerate(node.inputs):
                tensor = constant_tensor(value) if value is not None and value.graph is not body else None
                if value is None or tensor is None or tensor.size > _FEW:
                    continue
                if value not in own:
                    own[value] = ir.Value(name=f"{value.name}~{body.name}")
                    own[value].const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype)
                    body.register_initializer(own[value])
                node.replace_input_with(slot, own[value])


def _values(graph: ir.Graph) -> list[ir.Value]:
    outputs = (value for node in graph for value in node.outputs)
    return [*graph.inputs, *outputs]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return (node for graph in all_graphs(model) for node in graph)


def _calls(
    model: ir.Model, originals: Mapping[ir.OperatorIdentifier, ir.Function]
) -> dict[ir.OperatorIdentifier, list[ir.Node]]:
    """The calls of each function, those of its copies among them."""
    calls: dict[ir.OperatorIdentifier, list[ir.Node]] = {name: [] for name in model.functions}
    for node in _nodes(model):
        name = node.op_identifier()
        if name in calls:
            calls[name].append(node)
        if name in originals:
            calls[originals[name].identifier()].append(node)
    return calls


def callers_first(
    model: ir.Model,
    originals: Mapping[ir.OperatorIdentifier, ir.Function] = MappingProxyType({}),
    top: ir.Graph | None = None,
) -> list[ir.Function]:
    """The functions that are called, each behind all those that call it; a cycle, which is forbidden, is cut.

    Args:
        model: The model.
        originals: Of which function each specialised copy is one; whoever calls the copy calls that one, too.
        top: Where to begin, if not at the main graph.
    """
    order: list[ir.Function] = []
    seen: set[ir.OperatorIdentifier] = set()

    def visit(nodes: Iterable[ir.Node]) -> None:
        for node in nodes:
            for function in (model.functions.get(node.op_identifier()), originals.get(node.op_identifier())):
                if function is not None and function.identifier() not in seen:
                    seen.add(function.identifier())
                    visit(function.all_nodes())
                    order.insert(0, function)

    visit((top or model.graph).all_nodes())
    return order


def _common(shapes: list[Shape | None]) -> Shape | None:
    """What is true of all shapes: the number of axes, and the sizes that are the same."""
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) < len(shapes) or len({len(shape) for shape in known}) > 1:
        return None
    return tuple(dims[0] if len(set(dims)) == 1 else None for dims in zip(*known, strict=True))


def _dim(dim: int | ir.SymbolicDim) -> Dim:
    return dim if isinstance(dim, int) else dim.value

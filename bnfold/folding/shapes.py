"""The shape of every tensor, as far as it can be known without running the model.

ONNX's own shape inference comes first, on the model and, since it does not enter them, on the body of each function.
What exporters compute from constants (the pads of a shortcut, the sizes of a Resize) it is told. It gives up on some
real files: what is still unknown is read off the weights, since a Conv says how many axes its tensors have, and how
many channels.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bnfold.folding.inference import Dim, Found, Shape, infer, skeleton_of
from bnfold.folding.nodes import find_input
from bnfold.modelfile import all_graphs, is_trained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import onnx_ir as ir

    from bnfold.folding.constants import Constants

__all__ = ["Dim", "Shape", "Shapes", "callers_first"]

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
        functions = {name: skeleton_of(function) for name, function in model.functions.items()}
        graph, version = model.graph, model.ir_version
        found = infer(graph, constants, ir_version=version, opsets=model.opset_imports, functions=functions.values())
        self._learn(found)
        for function in callers_first(model, originals):
            callees = callers_first(model, top=function.graph)
            found = infer(
                function.graph,
                constants,
                ir_version=version,
                opsets=function.opset_imports,
                functions=[functions[callee.identifier()] for callee in callees],
                arguments=self._arguments(function),
            )
            self._learn(found)
        self._read_statistics(model)

    def __getitem__(self, value: ir.Value) -> Shape | None:
        """The shape of a tensor, or None when not even its number of axes is known."""
        if value not in self._shapes:
            tensor = self._tensor(value)
            if tensor is not None:
                return tuple(tensor.shape.numpy())
            self._fill(value)
            if value not in self._shapes and (array := self._constants.array(value)) is not None:
                self._shapes[value] = array.shape
        return self._shapes.get(value)

    def known(self, value: ir.Value) -> Found:
        """The type and shape of a tensor, unless its shape is known only by evaluating it."""
        tensor = self._tensor(value)
        if tensor is None and value not in self._shapes:
            self._fill(value)
        return self.dtype(value), tuple(tensor.shape.numpy()) if tensor is not None else self._shapes.get(value)

    def _tensor(self, value: ir.Value) -> ir.TensorProtocol | None:
        """A tensor whose shape and type are those of the value; one that is to be trained is, and is no constant."""
        return value.const_value if is_trained(value) else self._constants.tensor(value)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a tensor, as far as it is known."""
        tensor = self._tensor(value)
        return tensor.dtype if tensor is not None else self._dtypes.get(value)

    def widen(self, value: ir.Value) -> None:
        """A tensor gets one channel more."""
        shape = self[value]
        if shape is not None and isinstance(channels := shape[1], int):
            self._shapes[value] = (shape[0], channels + 1, *shape[2:])

    def set(self, value: ir.Value, shape: Shape) -> None:
        """A tensor has another shape now."""
        self._shapes[value] = shape

    def copy(self, source: ir.Value, target: ir.Value) -> None:
        """A new tensor has the shape of a known one."""
        if source in self._shapes:
            self._shapes[target] = self._shapes[source]

    def _learn(self, found: Iterable[tuple[ir.Value, Found]]) -> None:
        for value, (dtype, shape) in found:
            if shape is not None:
                self._shapes[value] = shape
            if dtype is not None:
                self._dtypes[value] = dtype

    def _read_statistics(self, model: ir.Model) -> None:
        """As many channels as a BatchNormalization has means: what makes up its scale at run time may ask for them."""
        for node in _nodes(model):
            if node.op_type != "BatchNormalization" or node.domain != "":
                continue
            mean = self._constants.tensor(find_input(node, 3))
            if mean is None or len(mean.shape) != 1:
                continue
            for value in (node.inputs[0], node.outputs[0]):
                shape = self[value] if value is not None else None
                if value is not None and shape is not None and len(shape) > 1 and not isinstance(shape[1], int):
                    self._shapes[value] = (shape[0], mean.shape.numpy()[0], *shape[2:])

    def _arguments(self, function: ir.Function) -> dict[ir.Value, Found]:
        """The type and shape of inputs of a function, as far as all callers agree on them."""
        agreed: dict[ir.Value, Found] = {}
        calls = self._calls[function.identifier()]
        for slot, value in enumerate(function.inputs):
            arguments = [find_input(call, slot) for call in calls]
            dtypes = {self.dtype(argument) if argument is not None else None for argument in arguments}
            shapes = [self[argument] if argument is not None else None for argument in arguments]
            if len(dtypes) == 1 and (dtype := dtypes.pop()) is not None:
                agreed[value] = dtype, _common(shapes)
        return agreed

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


def _keeps_shape(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in _KEEP_SHAPE


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

"""ONNX's own shape inference, run on what it reads of a model: the weights stay where they are.

What is known of a tensor is looked up by its name in what comes back. Nothing is copied or read again but that, since
a copy of the whole model would take longer than all of a fold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx
import onnx.numpy_helper
import onnx_ir as ir
from onnx_ir import serde

from bnfold.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np

    from bnfold.folding.constants import Constants

__all__ = ["Dim", "Found", "Shape", "infer", "skeleton_of"]

Dim = int | str | None  # a number, a symbol, or unknown
Shape = tuple[Dim, ...]
Found = tuple[ir.DataType | None, Shape | None]

_NOTHING: Found = (None, None)

# Sizes, axes and scales are read by the inference of the ops that they steer; no such list is longer.
_MOST_INTEGERS = 128
_MOST_FLOATS = 16


# Ops of which an input other than the first is a list (of sizes, pads, axes …) that decides on the shape of the output.
_READ_LISTS = frozenset(
    ["Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze", "Upsample"]
)


def infer(
    graph: ir.Graph,
    constants: Constants,
    *,
    ir_version: int,
    opsets: Mapping[str, int],
    functions: Iterable[onnx.FunctionProto],
    arguments: Mapping[ir.Value, Found] | None = None,
) -> Iterator[tuple[ir.Value, Found]]:
    """What is known of the inputs of a graph and of all that its nodes write, those in bodies included.

    Args:
        graph: The main graph, or the body of a function.
        constants: Those of the model.
        ir_version: That of the model.
        opsets: The versions of the operators, by domain.
        functions: What the nodes call: see ``skeleton_of``.
        arguments: The types and shapes of inputs, where the graph does not tell them.

    Raises:
        ModelError: Two tensors of one graph have the same name.
    """
    proto = onnx.ModelProto(
        ir_version=ir_version,
        opset_import=[onnx.OperatorSetIdProto(domain=domain, version=version) for domain, version in opsets.items()],
    )
    proto.functions.extend(functions)
    try:
        _write_graph(graph, proto.graph, constants)
        _write_outermost(graph, proto.graph, constants, ir_version, arguments or {})
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    except ModelError:
        raise
    except Exception:  # of many kinds, where it gives up; that only means that less is known
        inferred = onnx.ModelProto()
    yield from _read_graph(graph, inferred.graph)


def skeleton_of(function: ir.Function) -> onnx.FunctionProto:
    """A function without its weights."""
    proto = onnx.FunctionProto(domain=function.domain, name=function.name, overload=function.overload)
    for domain, version in function.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.input.extend(value.name or "" for value in function.inputs)
    proto.output.extend(value.name or "" for value in function.outputs)
    for attribute in function.attributes.values():
        if attribute.value is None:
            proto.attribute.append(attribute.name)
        else:
            serde.serialize_attribute_into(proto.attribute_proto.add(), attribute)
    for node in function:
        _write_node(node, proto.node.add(), None)
    return proto


def _write_graph(graph: ir.Graph, proto: onnx.GraphProto, constants: Constants | None) -> None:
    """The nodes of a graph, what is known of what they write already, and its outputs."""
    _check_names(graph)
    proto.name = graph.name or "graph"
    for node in graph:
        _write_node(node, proto.node.add(), constants)
        if constants is not None:
            _spell_out(node, graph, proto, constants)
        for value in node.outputs:
            if value.name and value.type is not None and not value.is_graph_output():
                serde.serialize_value_into(proto.value_info.add(), value)
    for value in graph.outputs:
        serde.serialize_value_into(proto.output.add(), value)


def _spell_out(node: ir.Node, graph: ir.Graph, proto: onnx.GraphProto, constants: Constants) -> None:
    """Write down what short lists amount to.

    Inference evaluates few of the ops that may compute one, and does not look for a constant outside of a body.
    """
    for slot, value in enumerate(node.inputs):
        if value is None or _is_written(value, graph):
            continue
        is_computed = value.graph is graph
        if is_computed and (node.op_type not in _READ_LISTS or slot == 0):
            continue
        array = constants.array(value) if is_computed else _small_array(constants.tensor(value))
        if array is not None and array.size <= _MOST_INTEGERS:
            name = f"{value.name}~{len(proto.node)}~{slot}"
            proto.initializer.append(onnx.numpy_helper.from_array(array, name))
            proto.node[-1].input[slot] = name


def _is_written(value: ir.Value, graph: ir.Graph) -> bool:
    """Whether inference sees the numbers of a constant where it is."""
    producer = value.producer()
    in_place = value.is_initializer() or value.is_graph_input() or (producer and producer.op_type == "Constant")
    return value.graph is graph and bool(in_place)


def _small_array(tensor: ir.TensorProtocol | None) -> np.ndarray | None:
    return tensor.numpy() if tensor is not None and _is_small(tensor) else None


def _check_names(graph: ir.Graph) -> None:
    """What is inferred is looked up by name."""
    names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for value in (value for node in graph for value in node.outputs if value.name):
        if value.name in names:
            raise ModelError(f"the model is malformed: two tensors of one graph have the name '{value.name}'")
        names.add(value.name)


def _write_outermost(
    graph: ir.Graph,
    proto: onnx.GraphProto,
    constants: Constants,
    ir_version: int,
    arguments: Mapping[ir.Value, Found],
) -> None:
    """Its inputs and initializers. Large ones become inputs, of which only the type and the shape are known."""
    for value in graph.inputs:
        given = None if value.is_initializer() else _small_array(constants.tensor(value))
        if given is not None:  # what a function is specialised for
            proto.initializer.append(onnx.numpy_helper.from_array(given, value.name))
            continue
        info = proto.input.add()
        serde.serialize_value_into(info, value)
        dtype, shape = arguments.get(value, _NOTHING)
        if dtype is not None:
            _write_type(info.type.tensor_type, dtype, shape)
    replaceable = {value.name for value in graph.inputs}
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if name in replaceable and ir_version >= 4:  # what the caller may replace is no constant: see Constants
            continue
        if tensor is not None and _is_small(tensor):
            serde.serialize_tensor_into(proto.initializer.add(), tensor)
            proto.initializer[-1].name = name
        if name not in replaceable and (tensor is None or not _is_small(tensor) or ir_version < 4):
            info = proto.input.add(name=name)
            if tensor is not None:
                _write_type(info.type.tensor_type, tensor.dtype, tensor.shape.numpy())
            else:
                serde.serialize_value_into(info, value)


def _write_node(node: ir.Node, proto: onnx.NodeProto, constants: Constants | None) -> None:
    proto.op_type, proto.domain, proto.overload = node.op_type, node.domain, node.overload
    proto.input.extend([value.name or "" if value is not None else "" for value in node.inputs])
    proto.output.extend([value.name or "" for value in node.outputs])
    for attribute in node.attributes.values():
        _write_attribute(attribute, proto.attribute.add(), constants)


def _write_attribute(attribute: ir.Attr, proto: onnx.AttributeProto, constants: Constants | None) -> None:
    if attribute.is_ref():
        serde.serialize_reference_attribute_into(proto, attribute)
    elif attribute.type is ir.AttributeType.TENSOR:
        proto.name, proto.type = attribute.name, onnx.AttributeProto.TENSOR
        _write_tensor(attribute.as_tensor(), proto.t)
    elif attribute.type is ir.AttributeType.GRAPH:
        proto.name, proto.type = attribute.name, onnx.AttributeProto.GRAPH
        _write_body(attribute.as_graph(), proto.g, constants)
    elif attribute.type is ir.AttributeType.GRAPHS:
        proto.name, proto.type = attribute.name, onnx.AttributeProto.GRAPHS
        for body in attribute.as_graphs():
            _write_body(body, proto.graphs.add(), constants)
    else:
        serde.serialize_attribute_into(proto, attribute)


def _write_body(graph: ir.Graph, proto: onnx.GraphProto, constants: Constants | None) -> None:
    _write_graph(graph, proto, constants)
    for value in graph.inputs:
        serde.serialize_value_into(proto.input.add(), value)
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            _write_tensor(value.const_value, proto.initializer.add())
            proto.initializer[-1].name = name


def _write_tensor(tensor: ir.TensorProtocol, proto: onnx.TensorProto) -> None:
    """A tensor, if need be without its numbers: where it may not become an input, its header has to do."""
    if _is_small(tensor):
        serde.serialize_tensor_into(proto, tensor)
    else:
        proto.data_type = tensor.dtype.value
        proto.dims.extend(tensor.shape.numpy())


def _is_small(tensor: ir.TensorProtocol) -> bool:
    return math.prod(tensor.shape.numpy()) <= (_MOST_FLOATS if tensor.dtype.is_floating_point() else _MOST_INTEGERS)


def _write_type(proto: onnx.TypeProto.Tensor, dtype: ir.DataType, shape: Iterable[Dim] | None) -> None:
    proto.elem_type = dtype.value
    if shape is None:
        return
    proto.shape.Clear()
    proto.shape.SetInParent()
    for dim in shape:
        if isinstance(dim, int):
            proto.shape.dim.add(dim_value=dim)
        elif dim is None:
            proto.shape.dim.add()
        else:
            proto.shape.dim.add(dim_param=dim)


def _read_graph(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Value, Found]]:
    """What was inferred; where nothing was, what the graph says itself."""
    types = {info.name: info.type for infos in (proto.value_info, proto.input, proto.output) for info in infos}
    for value in graph.inputs:
        yield value, _read_value(value, types)
    for index, node in enumerate(graph):
        for value in node.outputs:
            yield value, _read_value(value, types)
        for attribute in node.attributes.values():
            if attribute.type in _BODIES and not attribute.is_ref():
                inferred = proto.node[index] if index < len(proto.node) else onnx.NodeProto()
                yield from _read_bodies(attribute, inferred)


_BODIES = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def _read_bodies(attribute: ir.Attr, node: onnx.NodeProto) -> Iterator[tuple[ir.Value, Found]]:
    bodies = [attribute.as_graph()] if attribute.type is ir.AttributeType.GRAPH else attribute.as_graphs()
    found = next((proto for proto in node.attribute if proto.name == attribute.name), onnx.AttributeProto())
    protos = [found.g] if attribute.type is ir.AttributeType.GRAPH else list(found.graphs)
    for index, body in enumerate(bodies):
        yield from _read_graph(body, protos[index] if index < len(protos) else onnx.GraphProto())


def _read_value(value: ir.Value, types: Mapping[str, onnx.TypeProto]) -> Found:
    dtype, shape = value.dtype, tuple(map(_dim, value.shape)) if value.shape is not None else None
    proto = types.get(value.name or "")
    if proto is not None and proto.HasField("tensor_type"):
        tensor = proto.tensor_type
        dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else dtype
        if tensor.HasField("shape"):
            shape = tuple(_read_dim(dim) for dim in tensor.shape.dim)
    return dtype, shape


def _read_dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _dim(dim: int | ir.SymbolicDim) -> Dim:
    return dim if isinstance(dim, int) else dim.value

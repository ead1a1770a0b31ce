"""What onnx-ir drops of a model, kept beside it and put back when the model is saved.

These are fields that are newer than the installed onnx, training information, types of maps and of opaque things,
attributes that are sparse tensors, and statements about tensors that the graph does not have. Before onnx-ir reads a
model they are cut out of it (some it refuses), and stay with whatever they belong to, in its ``meta``, as serialised
messages that have nothing else in them: to put one back is to merge it into what onnx-ir writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from google.protobuf.message import Message

    GraphLike: TypeAlias = onnx.GraphProto | onnx.FunctionProto

__all__ = ["Cut", "cut_out", "is_trained", "kept_of", "put_back", "remember"]

_KEPT = "bnfold.kept"
_KEPT_OF_MODEL = "bnfold.kept_of_model"
_TRAINED = "bnfold.trained"

_VALUE_FIELDS = {
    getattr(onnx.AttributeProto, name): field
    for name, field in {
        "FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "TYPE_PROTO": "tp",
        "FLOATS": "floats", "INTS": "ints", "STRINGS": "strings", "TENSORS": "tensors", "GRAPHS": "graphs",
        "TYPE_PROTOS": "type_protos",
    }.items()
}  # fmt: skip
_REFUSED = frozenset({onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS})
_BODIES = frozenset({onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS})
_WITH_DEVICES = 11  # the first IR version with them; onnx-ir drops them from earlier ones
_LOCATION = frozenset({"location", "offset", "length"})

# What has an object of its own in onnx-ir, which keeps what it loses.
_OWN_OBJECTS = frozenset(
    [
        *("ModelProto.graph", "ModelProto.functions", "ModelProto.training_info", "NodeProto.attribute"),
        *("GraphProto.node", "GraphProto.input", "GraphProto.output", "GraphProto.value_info"),
        *("GraphProto.initializer", "GraphProto.sparse_initializer"),
        *("FunctionProto.node", "FunctionProto.value_info", "FunctionProto.attribute_proto"),
        *("AttributeProto.g", "AttributeProto.graphs", "AttributeProto.t", "AttributeProto.tensors"),
    ]
)


@dataclass
class Kept:
    """What onnx-ir drops of one message.

    Attributes:
        fields: The fields, as a serialised message.
        parts: The same of messages within, by field and place: a number, or a name where messages have one.
    """

    fields: bytes = b""
    parts: dict[tuple[str, int | str | None], Kept] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.fields or self.parts)

    def merge_into(self, message: Any) -> None:
        """Put it back."""
        if self.fields:
            message.MergeFromString(self.fields)
        for (name, place), kept in self.parts.items():
            inner = getattr(message, name)
            if place is not None:
                inner = dict(_placed(inner)).get(place)
            if inner is not None:
                kept.merge_into(inner)


@dataclass
class Cut:
    """What was cut out of a graph or function, and of what is in it."""

    own: Kept = field(default_factory=Kept)
    values: dict[str, Kept] = field(default_factory=dict)
    nodes: dict[int, Kept] = field(default_factory=dict)
    attributes: dict[tuple[int, str], Kept] = field(default_factory=dict)
    bodies: dict[tuple[int, str, int], Cut] = field(default_factory=dict)
    tensors: dict[str, Kept] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.own or self.values or self.nodes or self.attributes or self.bodies or self.tensors)


def cut_out(model: onnx.ModelProto) -> tuple[Kept, list[Cut]]:
    """Cut what onnx-ir drops or refuses out of a model: the model's own, and that of its graph and functions."""
    cutter = _Cutter(has_devices=model.ir_version >= _WITH_DEVICES, has_unknown=_has_unknown(model))
    rest = onnx.ModelProto()
    rest.training_info.extend(model.training_info)
    if not cutter.has_devices:
        rest.configuration.extend(model.configuration)
        model.ClearField("configuration")
    own = cutter.unknown(model)
    own.fields += rest.SerializeToString()
    return own, [cutter.graph(model.graph), *map(cutter.graph, model.functions)]


def remember(model: ir.Model, own: Kept, cuts: list[Cut]) -> None:
    """Attach what was cut out to what onnx-ir has made of the rest."""
    if own or any(cuts):
        model.graph.meta[_KEPT_OF_MODEL] = own
    for graph, cut in zip(_outermost(model), cuts, strict=True):
        if cut:
            _remember(graph, cut)
    if own.fields:
        named = _names_in(onnx.ModelProto.FromString(own.fields).training_info)
        for value in model.graph.initializers.values():
            if value.name in named:
                value.meta[_TRAINED] = True


def is_trained(value: ir.Value) -> bool:
    """Whether the training information of a model reads or updates an initializer."""
    return _TRAINED in value.meta


def kept_of(thing: ir.TensorProtocol) -> Kept | None:
    """What onnx-ir dropped of a tensor."""
    kept: Kept | None = thing.meta.get(_KEPT)
    return kept


def put_back(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Merge what was cut out of a model into what onnx-ir has written."""
    own = model.graph.meta.get(_KEPT_OF_MODEL)
    if own is None:
        return
    own.merge_into(proto)
    for graph, written in zip(_outermost(model), (proto.graph, *proto.functions), strict=True):
        _put_back(graph, written)


def _outermost(model: ir.Model) -> list[ir.Graph]:
    return [model.graph, *(function.graph for function in model.functions.values())]


class _Cutter:
    def __init__(self, *, has_devices: bool, has_unknown: bool) -> None:
        self.has_devices = has_devices
        self._has_unknown = has_unknown

    def unknown(self, message: Any) -> Kept:
        """The fields of a message, and of those within, that the installed onnx does not know."""
        kept = Kept()
        if not self._has_unknown:
            return kept
        for descriptor, content in message.ListFields():
            if descriptor.message_type is None or descriptor.full_name.removeprefix("onnx.") in _OWN_OBJECTS:
                continue
            inner = [(None, content)] if hasattr(content, "ListFields") else _placed(content)
            for place, part in inner:
                if found := self.unknown(part):
                    kept.parts[descriptor.name, place] = found
        kept.fields = _unknown_fields(message)
        return kept

    def graph(self, graph: GraphLike) -> Cut:
        cut = Cut(self.unknown(graph))
        infos = [graph.value_info]
        cut.own.fields += _stray(graph).SerializeToString()
        if isinstance(graph, onnx.GraphProto):
            infos += [graph.input, graph.output]
            for tensor in graph.initializer:
                if kept := self._tensor(tensor):
                    cut.tensors[tensor.name] = kept
        for info in (info for row in infos for info in row):
            if kept := self._value(info):
                cut.values[info.name] = kept
        for index, node in enumerate(graph.node):
            self._node(index, node, cut)
        return cut

    def _value(self, info: onnx.ValueInfoProto) -> Kept:
        kept = self.unknown(info)
        if info.HasField("type") and not _is_held(info.type):
            kept = Kept(kept.fields + onnx.ValueInfoProto(type=info.type).SerializeToString())
            info.ClearField("type")
        return kept

    def _node(self, index: int, node: onnx.NodeProto, cut: Cut) -> None:
        rest = onnx.NodeProto()
        if not self.has_devices and node.device_configurations:
            rest.device_configurations.extend(node.device_configurations)
            node.ClearField("device_configurations")
        kept = self.unknown(node)
        for attribute in node.attribute:
            if _is_refused(attribute):
                rest.attribute.append(attribute)
                continue
            _state_type(attribute)
            if attribute.type in _BODIES and not attribute.ref_attr_name:
                bodies = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
                for number, body in enumerate(bodies):
                    if inner := self.graph(body):
                        cut.bodies[index, attribute.name, number] = inner
            if found := self._attribute(attribute):
                cut.attributes[index, attribute.name] = found
        if rest.attribute:
            left = [attribute for attribute in node.attribute if not _is_refused(attribute)]
            node.ClearField("attribute")
            node.attribute.extend(left)
        kept.fields += rest.SerializeToString()
        if kept:
            cut.nodes[index] = kept

    def _attribute(self, attribute: onnx.AttributeProto) -> Kept:
        kept = self.unknown(attribute)
        used = "ref_attr_name" if attribute.ref_attr_name else _VALUE_FIELDS.get(attribute.type, "")
        present = [descriptor.name for descriptor, _ in attribute.ListFields()]
        surplus = {*present} - {"name", "type", "doc_string", used}
        if surplus:
            rest = onnx.AttributeProto()
            rest.CopyFrom(attribute)
            rest.DiscardUnknownFields()
            for name in set(present) - surplus:
                rest.ClearField(name)
            kept.fields += rest.SerializeToString()
        tensors = [(None, attribute.t)] if used == "t" else enumerate(attribute.tensors if used == "tensors" else ())
        for place, tensor in tensors:
            if found := self._tensor(tensor):
                kept.parts[used, place] = found
        return kept

    def _tensor(self, tensor: onnx.TensorProto) -> Kept:
        """Only of those that onnx-ir does not keep as they are."""
        is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not is_external and tensor.data_type != onnx.TensorProto.STRING:
            return Kept()
        kept = self.unknown(tensor)
        if is_external:
            more = [entry for entry in tensor.external_data if entry.key not in _LOCATION]
            kept.fields += onnx.TensorProto(external_data=more).SerializeToString()
        return kept


def _stray(graph: GraphLike) -> GraphLike:
    """Statements about values that onnx-ir does not look up, and initializers without a name."""
    stray = type(graph)()
    written = {name for node in graph.node for name in node.output} if graph.value_info else set()
    if isinstance(graph, onnx.FunctionProto):
        stray.value_info.extend(info for info in graph.value_info if info.name not in {*written, *graph.input})
        return stray
    stray.initializer.extend(tensor for tensor in graph.initializer if not tensor.name)
    if graph.value_info:
        initializers = {tensor.name for tensor in graph.initializer}
        stated = (written | initializers) - {info.name for info in (*graph.input, *graph.output)}
        stray.value_info.extend(info for info in graph.value_info if info.name not in stated)
    if graph.quantization_annotation:
        known = {name for node in graph.node for name in node.output}
        known |= {thing.name for thing in (*graph.initializer, *graph.input)}
        stray.quantization_annotation.extend(
            entry for entry in graph.quantization_annotation if entry.tensor_name not in known
        )
    return stray


def _is_refused(attribute: onnx.AttributeProto) -> bool:
    """Whether onnx-ir does not read a model that has such an attribute."""
    if attribute.ref_attr_name:
        return False
    if attribute.type == onnx.AttributeProto.STRINGS:
        return not all(map(_is_text, attribute.strings))
    types = [attribute.tp] if attribute.type == onnx.AttributeProto.TYPE_PROTO else attribute.type_protos
    return attribute.type in _REFUSED or not all(map(_is_held, types))


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_held(proto: onnx.TypeProto) -> bool:
    """Whether onnx-ir has a type for it."""
    kind = proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        is_stated: bool = getattr(proto, kind).HasField("elem_type")
        return is_stated
    if kind in ("sequence_type", "optional_type"):
        return _is_held(getattr(proto, kind).elem_type)
    return kind is None and not proto.denotation


def _state_type(attribute: onnx.AttributeProto) -> None:
    """Before IR version 2 attributes did not say of what type they are."""
    if attribute.type == onnx.AttributeProto.UNDEFINED and not attribute.ref_attr_name:
        present = {descriptor.name for descriptor, _ in attribute.ListFields()}
        types = [kind for kind, name in _VALUE_FIELDS.items() if name in present]
        if len(types) == 1:
            attribute.type = types[0]


def _has_unknown(message: Message) -> bool:
    """Whether there is a field somewhere that the installed onnx does not know."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())


def _unknown_fields(message: Message) -> bytes:
    rest = type(message)()
    rest.CopyFrom(message)
    for descriptor, _ in rest.ListFields():
        rest.ClearField(descriptor.name)
    return bytes(rest.SerializeToString())


def _placed(messages: Iterable[Any]) -> Iterator[tuple[int | str, Any]]:
    """Messages with their places: onnx-ir sorts those that have a key."""
    for index, message in enumerate(messages):
        names = (getattr(message, name, None) for name in ("key", "tensor_name", "domain"))
        yield next((name for name in names if isinstance(name, str)), index), message


def _names_in(infos: Iterable[onnx.TrainingInfoProto]) -> set[str]:
    """The names that training information may mean initializers by."""
    names: set[str] = set()
    for info in infos:
        for binding in (*info.initialization_binding, *info.update_binding):
            names |= {binding.key, binding.value}
        for graph in (info.initialization, info.algorithm):
            names |= set(_read_by(graph))
    return names


def _read_by(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (info.name for info in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _read_by(body)


def _remember(graph: ir.Graph, cut: Cut) -> None:
    if cut.own:
        graph.meta[_KEPT] = cut.own
    nodes = list(graph) if cut.nodes or cut.attributes or cut.bodies else []
    for index, kept in cut.nodes.items():
        nodes[index].meta[_KEPT] = kept
    for (index, name), kept in cut.attributes.items():
        attribute = nodes[index].attributes[name]
        for tensor, key in _tensors_in(attribute):
            if (inner := kept.parts.pop(key, None)) is not None:
                tensor.meta[_KEPT] = inner
        attribute.meta[_KEPT] = kept
    for (index, name, number), body in cut.bodies.items():
        attribute = nodes[index].attributes[name]
        bodies = [attribute.as_graph()] if attribute.type is ir.AttributeType.GRAPH else attribute.as_graphs()
        _remember(bodies[number], body)
    for name, kept in cut.tensors.items():
        if name in graph.initializers:
            graph.initializers[name].const_value.meta[_KEPT] = kept  # type: ignore[union-attr]  # it was read
    if cut.values:
        named = {value.name: value for value in _values(graph)}
        for name, kept in cut.values.items():
            if name in named:
                named[name].meta[_KEPT] = kept


def _tensors_in(attribute: ir.Attr) -> list[tuple[ir.TensorProtocol, tuple[str, int | None]]]:
    """The tensors of an attribute, each with its field and place."""
    if attribute.type is ir.AttributeType.TENSOR and not attribute.is_ref():
        return [(attribute.as_tensor(), ("t", None))]
    if attribute.type is ir.AttributeType.TENSORS and not attribute.is_ref():
        return [(tensor, ("tensors", place)) for place, tensor in enumerate(attribute.as_tensors())]
    return []


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _put_back(graph: ir.Graph, proto: GraphLike) -> None:
    for node, written in zip(graph, proto.node, strict=True):
        _put_back_node(node, written)
    infos = [proto.value_info, *([proto.input, proto.output] if isinstance(proto, onnx.GraphProto) else [])]
    written_infos = {info.name: info for row in infos for info in row}
    for value in _values(graph):
        if value.meta and _KEPT in value.meta and value.name:
            info = written_infos.get(value.name) or proto.value_info.add(name=value.name)
            value.meta[_KEPT].merge_into(info)
    own = graph.meta.get(_KEPT)
    if own is None:
        return
    stated, count = {info.name for info in proto.value_info}, len(proto.value_info)
    own.merge_into(proto)
    # A fold may have given a tensor such a name, or onnx-ir have written the same of a function.
    left = [info for index, info in enumerate(proto.value_info) if index < count or info.name not in stated]
    if len(left) < len(proto.value_info):
        del proto.value_info[:]
        proto.value_info.extend(left)


def _put_back_node(node: ir.Node, written: onnx.NodeProto) -> None:
    for name, proto in {proto.name: proto for proto in written.attribute}.items():
        attribute = node.attributes[name]
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) and not attribute.is_ref():
            is_one = attribute.type is ir.AttributeType.GRAPH
            bodies = [attribute.as_graph()] if is_one else attribute.as_graphs()
            for body, inner in zip(bodies, [proto.g] if is_one else proto.graphs, strict=True):
                _put_back(body, inner)
        if (kept := attribute.meta.get(_KEPT)) is not None:
            kept.merge_into(proto)
    if (own := node.meta.get(_KEPT)) is not None:
        own.merge_into(written)

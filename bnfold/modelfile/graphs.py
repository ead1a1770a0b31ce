"""The graphs of a model, and the places where they hold tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Place", "all_graphs", "bodies_of", "places", "put", "values_of", "with_bodies"]


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, the bodies of If, Loop and Scan, and the bodies of the model's own functions."""
    for outermost in (model.graph, *(function.graph for function in model.functions.values())):
        yield from list(with_bodies(outermost))  # a list, so that graphs may change meanwhile


def with_bodies(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph, and the bodies of If, Loop and Scan in it."""
    yield graph
    for node in graph:
        for body in bodies_of(node):
            yield from with_bodies(body)


def bodies_of(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of If, Loop and Scan."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH and not attribute.is_ref():
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from attribute.as_graphs()


def values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Each value that a graph itself defines: inputs, initializers, and what its nodes write."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    yield from (value for node in graph for value in node.outputs)


class Place(NamedTuple):
    """Where a graph holds a tensor.

    Attributes:
        tensor: What stands there.
        holder: The initializer, or the node that has it in an attribute.
        attribute: The name of that attribute.
        number: Which one of several tensors it is; None where an attribute is one tensor.
    """

    tensor: ir.TensorProtocol
    holder: ir.Value | ir.Node
    attribute: str = ""
    number: int | None = None


def places(graph: ir.Graph) -> Iterator[Place]:
    """The places of a graph itself, without those of the bodies in it; of what is malformed, too."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield Place(value.const_value, value)
    for node in graph:
        for name, attribute in node.attributes.items():
            if attribute.type is ir.AttributeType.TENSOR and not attribute.is_ref():
                yield Place(attribute.value, node, name)
            elif attribute.type is ir.AttributeType.TENSORS and not attribute.is_ref():
                for index, tensor in enumerate(attribute.value):
                    yield Place(tensor, node, name, index)


def put(place: Place, tensor: ir.TensorProtocol) -> None:
    """Let another tensor stand in a place."""
    if isinstance(place.holder, ir.Value):
        place.holder.const_value = tensor
        return
    attributes, name = place.holder.attributes, place.attribute
    old = attributes[name]
    tensors = [tensor]
    if place.number is not None:
        tensors = list(old.value)
        tensors[place.number] = tensor
    content = tensor if place.number is None else tensors
    attributes[name] = new = ir.Attr(name, old.type, content, doc_string=old.doc_string)
    new.meta.update(old.meta)

"""Parts of a model: the nodes between tensors that are given and one that is wanted, as a model of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Part", "Whole", "as_model"]


@dataclass(frozen=True)
class Part:
    """What computes one tensor from others.

    Attributes:
        target: The tensor that is wanted.
        nodes: The nodes, in the order of the graph.
        boundary: The tensors that are read and not computed here, sorted.
        constants: The initializers that are read, by name.
    """

    target: str
    nodes: tuple[onnx.NodeProto, ...]
    boundary: tuple[str, ...]
    constants: Mapping[str, onnx.TensorProto]

    def is_same(self, other: Part) -> bool:
        """Whether both compute the same: operators with their attributes, and constants, in the same order."""
        return len(self.nodes) == len(other.nodes) and self._content() == other._content()

    def _content(self) -> list[object]:
        constants = [self.constants[name] for node in self.nodes for name in node.input if name in self.constants]
        nodes = [
            (node.op_type, [one.SerializeToString(deterministic=True) for one in node.attribute]) for node in self.nodes
        ]
        return [
            *nodes,
            *((one.data_type, tuple(one.dims), onnx.numpy_helper.to_array(one).tobytes()) for one in constants),
        ]


class Whole:
    """A model, to take parts out of."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {one.name: one for one in model.graph.initializer}
        self.inputs = {one.name for one in model.graph.input} - set(self.constants)
        self._nodes = list(model.graph.node)
        self._writers = {name: index for index, node in enumerate(self._nodes) for name in node.output if name}

    def part(self, target: str, given: Collection[str]) -> Part:
        """What computes a tensor from the nearest ones that are given, and from inputs of the graph."""
        wanted, boundary, constants = {self._writers[target]}, set(), {}
        waiting = [self._writers[target]]
        while waiting:
            for name in _reads(self._nodes[waiting.pop()]):
                writer = self._writers.get(name)
                if name in self.constants:
                    constants[name] = self.constants[name]
                elif writer is None or name in given:
                    boundary.add(name)
                elif writer not in wanted:
                    wanted.add(writer)
                    waiting.append(writer)
        own = {name for node in self._nodes for name in _inner(node)}
        nodes = tuple(self._nodes[index] for index in sorted(wanted))
        return Part(target, nodes, tuple(sorted(boundary - own)), constants)

    def has(self, name: str) -> bool:
        """Whether a node writes a tensor of that name."""
        return name in self._writers


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its bodies included."""
    yield from filter(None, node.input)
    for graph in _bodies(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (one.name for one in graph.output)


def _inner(node: onnx.NodeProto) -> Iterator[str]:
    """What the bodies of a node define themselves."""
    for graph in _bodies(node):
        yield from (one.name for one in (*graph.input, *graph.initializer))
        for inner in graph.node:
            yield from inner.output
            yield from _inner(inner)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def as_model(
    part: Part, like: onnx.ModelProto, feeds: Mapping[str, Array], kind: np.dtype[Any], names: Mapping[str, str]
) -> onnx.ModelProto:
    """A part as a model whose inputs are ``feeds``.

    Args:
        part: The part.
        like: The model that it is of.
        feeds: What goes in, by the names of inputs; one that the part does not read is an input all the same.
        kind: The type of what comes out.
        names: What tensors of the boundary and the target are to be called, if otherwise than in the part.
    """
    taken = {*feeds, *names.values()}

    def renamed(name: str) -> str:
        """What is called like something of the other model, and is something else, gets another name."""
        return names[name] if name in names else f"own/{name}" if name in taken - {*part.boundary} else name

    nodes = []
    for node in part.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for field in (copy.input, copy.output):
            new = [renamed(name) for name in field]
            del field[:]
            field.extend(new)
        nodes.append(copy)
    constants = []
    for constant in part.constants.values():
        constants.append(onnx.TensorProto())
        constants[-1].CopyFrom(constant)
        constants[-1].name = renamed(constant.name)

    def described(name: str, kind: np.dtype[Any], shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(kind), shape)

    graph = onnx.helper.make_graph(
        nodes,
        "part",
        [described(name, array.dtype, array.shape) for name, array in feeds.items()],
        [described(names.get(part.target, part.target), kind, None)],
        initializer=constants,
    )
    return onnx.helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version)

"""Sparse initializers, which onnx-ir does not know: to it they are tensors like others, and dense when it asks.

Written back they are what they were. So a fold may read one, and what it makes of one is dense.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SparseTensor", "all_protos", "take_sparse"]


class SparseTensor(ir.LazyTensor):
    """A tensor of which only the elements that are not zero are stored."""

    def __init__(self, proto: onnx.SparseTensorProto) -> None:
        """The elements are read, for they are to be complete.

        Args:
            proto: Its name is that of the values.

        Raises:
            ValueError: There are more indices than values, or fewer, or some that lie outside.
        """
        self.proto = proto
        shape = tuple(proto.dims)
        super().__init__(
            self._dense, ir.DataType(proto.values.data_type), ir.Shape(shape), cache=False, name=proto.values.name
        )
        values, indices = (ir.serde.TensorProtoTensor(part).numpy() for part in (proto.values, proto.indices))
        if proto.indices.data_type != onnx.TensorProto.INT64 or values.ndim != 1 or min(shape, default=0) < 0:
            raise ValueError("no sparse tensor")
        limits = np.array([math.prod(shape)] if indices.ndim == 1 else shape)
        fits = indices.shape in ((values.size,), (values.size, len(shape)))
        if not fits or (indices < 0).any() or (indices >= limits).any():
            raise ValueError("indices that do not fit")

    def _dense(self) -> ir.TensorProtocol:
        values, indices = (ir.serde.TensorProtoTensor(part).numpy() for part in (self.proto.values, self.proto.indices))
        shape = self.shape.numpy()
        flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
        dense = np.zeros(math.prod(shape), values.dtype)
        dense[flat] = values
        return ir.Tensor(dense.reshape(shape), dtype=self.dtype, name=self.name)


def take_sparse(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, onnx.SparseTensorProto]]:
    """Take the sparse initializers out of a graph, and put dense ones without numbers in their places."""
    for sparse in graph.sparse_initializer:
        kept = onnx.SparseTensorProto()
        kept.CopyFrom(sparse)
        header = graph.initializer.add(name=sparse.values.name, data_type=sparse.values.data_type, dims=sparse.dims)
        yield header, kept
    graph.ClearField("sparse_initializer")


def all_protos(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graphs of a model that can have initializers: the main graph, and bodies there and in functions."""
    yield model.graph
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from _bodies(nodes)


def _bodies(nodes: object) -> Iterator[onnx.GraphProto]:
    for node in nodes:  # type: ignore[attr-defined]  # protobuf's own kind of sequence
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
                yield from _bodies(attribute.g.node)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                for graph in attribute.graphs:
                    yield graph
                    yield from _bodies(graph.node)

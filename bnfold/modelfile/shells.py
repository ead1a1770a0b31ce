"""A model with other tensors in it, to be serialised; the model itself is not touched, and others may use it meanwhile.

onnx-ir serialises whatever has the attributes of its own classes. So a shell has those of the thing that it is of, but
for the few that lead to a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["shell_of"]

_TENSORS = frozenset({ir.AttributeType.TENSOR, ir.AttributeType.TENSORS})
_BODIES = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def shell_of(model: ir.Model, exchange: Callable[[ir.TensorProtocol, bool], ir.TensorProtocol]) -> Any:
    """A model to serialise.

    Args:
        model: The model that it is of.
        exchange: Gives the tensor that takes the place of a tensor (it may be that one) and is asked once for each
            place, in a fixed order. The flag is True for initializers, False for tensors in attributes.
    """

    def graph(of: ir.Graph | ir.Function) -> Any:
        initializers = {} if isinstance(of, ir.Function) else of.initializers
        return _Nodes(
            of,
            initializers={name: initializer(value) for name, value in initializers.items()},
            nodes=[node(inner) for inner in of],
        )

    def initializer(of: ir.Value) -> Any:
        if of.const_value is None:
            return of
        return _Shell(of, const_value=exchange(of.const_value, True))

    def node(of: ir.Node) -> Any:
        changed = {name: attribute(inner) for name, inner in of.attributes.items() if _has_tensors(inner)}
        return _Shell(of, attributes={**of.attributes, **changed}) if changed else of

    def attribute(of: ir.Attr) -> Any:
        put = graph if of.type in _BODIES else lambda tensor: exchange(tensor, False)
        is_row = of.type in (ir.AttributeType.TENSORS, ir.AttributeType.GRAPHS)
        return _Shell(of, value=[put(part) for part in of.value] if is_row else put(of.value))

    functions = {key: graph(function) for key, function in model.functions.items()}
    return _Shell(model, graph=graph(model.graph), functions=functions)


def _has_tensors(attribute: ir.Attr) -> bool:
    return attribute.type in _TENSORS | _BODIES and not attribute.is_ref()


class _Shell:
    """Something of onnx-ir with other attributes."""

    def __init__(self, of: object, **others: object) -> None:
        self._of = of
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


class _Nodes(_Shell):
    """A graph or function with other initializers and nodes."""

    nodes: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

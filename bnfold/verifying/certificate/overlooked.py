"""Constants that changed, and that nothing else was said of: they are not certified, and that has to be said.

Nothing is known of them where nothing is known of what their node reads, and in the bodies of control flow, where the
certificate does not go; inputs that were made up may never go there either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.verifying.certificate.quantised import reader_of
from bnfold.verifying.certificate.reading import given, label_of
from bnfold.verifying.certificate.result import Finding, WeightCheck

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np

    from bnfold.verifying.certificate.pairing import Pairs
    from bnfold.verifying.certificate.reading import Constants

__all__ = ["bodies_of", "is_same", "overlooked"]

_Content = tuple[str, tuple[int, ...], bytes]


def is_same(old: np.ndarray | None, new: np.ndarray | None) -> bool:
    """Whether a constant has the same bytes in both models."""
    return old is not None and new is not None and old.shape == new.shape and old.tobytes() == new.tobytes()


def overlooked(pairs: Pairs, constants: Constants, others: Constants, told: Collection[str]) -> Iterator[WeightCheck]:
    """The checks of constants of the candidate that changed, and are not among those that were told of."""
    for node, other in pairs.nodes.items():
        for slot, value in enumerate(other.inputs):
            if value is None or _is_told(value, told) or not others.is_constant(value):
                continue
            new = others.array(value)
            if new is not None and not is_same(constants.array(given(node, slot)), new):
                reason = "nothing is known of what its node reads"
                reader = node if (maker := reader_of(other, value)) is other else maker
                yield WeightCheck(label_of(reader), reader.op_type, value.name or "", Finding.OPEN, reason=reason)
        for reader, name in _changed_in_bodies(node, other, constants, others):
            reason = "it is in a body, where the certificate does not go"
            yield WeightCheck(label_of(reader), reader.op_type, name, Finding.OPEN, reason=reason, is_in_body=True)


def _is_told(value: ir.Value, told: Collection[str]) -> bool:
    """Whether a constant was told of, or one that it is dequantised from."""
    node = value.producer()
    sources = node.inputs if node is not None and node.op_type == "DequantizeLinear" else ()
    return any(one is not None and one.name in told for one in (value, *sources))


def _changed_in_bodies(
    node: ir.Node, other: ir.Node, constants: Constants, others: Constants
) -> list[tuple[ir.Node, str]]:
    """The constants that the candidate's bodies have, and the reference's do not or elsewhere, each with its reader."""
    old, new = _read_in_bodies(node, constants), _read_in_bodies(other, others)
    if [content for _, _, content in old] == [content for _, _, content in new]:
        return []
    known = {content for _, _, content in old}
    unknown = [(reader, name) for reader, name, content in new if content not in known]
    return list(dict.fromkeys(unknown or [(reader, name) for reader, name, _ in new]))


def _read_in_bodies(node: ir.Node, constants: Constants) -> list[tuple[ir.Node, str, _Content]]:
    """Each constant that a node in a body reads, in order: the node, the name and the content."""
    found = []
    for body in bodies_of(node):
        for inner in body:
            for value in inner.inputs:
                array = None if value is None else constants.array(value)
                if value is not None and array is not None:
                    found.append((inner, value.name or "", (array.dtype.str, array.shape, array.tobytes())))
            found += _read_in_bodies(inner, constants)
    return found


def bodies_of(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that a node runs, in the order of its attributes."""
    for one in node.attributes.values():
        if one.is_ref():
            continue
        if one.type is ir.AttributeType.GRAPH:
            yield one.as_graph()
        elif one.type is ir.AttributeType.GRAPHS:
            yield from one.as_graphs()

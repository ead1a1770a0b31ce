"""The tensors that share one scale because they are added to each other: a residual stream.

A sum carries a scale only if all its operands have it. What stops a scale anywhere along a stream stops it everywhere,
and a walk along the sums finds that in a fraction of the time that it takes to ask all that reads and writes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from bnfold.folding.facts import Facts

__all__ = ["neighbours", "stream_of"]

_SUMS = frozenset({"Add", "Mean", "Sub", "Sum"})


def stream_of(value: ir.Value, facts: Facts) -> Iterator[tuple[ir.Value, ir.Node | None, list[ir.Node]]]:
    """A tensor and all that have its scale, nearest first, each with the sum that led there and with its neighbours."""
    seen: dict[ir.Value, ir.Node | None] = {value: None}
    sums: set[ir.Node] = set()
    waiting = [value]
    for tensor in waiting:
        around = neighbours(tensor, facts)
        yield tensor, seen[tensor], around
        for node in around:
            if node.op_type in _SUMS and node not in sums and _is_computed(node, facts):
                sums.add(node)
                new = [other for other in (*node.inputs, *node.outputs) if other is not None and other not in seen]
                seen.update(dict.fromkeys(new, node))
                waiting += new


def neighbours(value: ir.Value, facts: Facts) -> list[ir.Node]:
    """Whom a change of a tensor concerns: its writer, its readers, and the node of whose body it is an output."""
    around = dict.fromkeys([value.producer(), facts.owner(value), *(use.node for use in value.uses())])
    return [node for node in around if node is not None]


def _is_computed(node: ir.Node, facts: Facts) -> bool:
    """Whether all of a sum is computed at run time: a constant takes a scale in."""
    return node.domain == "" and all(
        value is not None and facts.constants.tensor(value) is None for value in node.inputs
    )

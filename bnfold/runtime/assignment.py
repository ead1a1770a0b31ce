"""Which operators really ran on an execution provider that was asked for: the policy, as a pure function.

onnxruntime gives what a provider does not take to the CPU, without a word. Shape arithmetic there is normal; a model
whose convolutions ran there was not checked on the provider at all. Fused operators count as what they are made of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Assigned", "elsewhere", "objection"]

_CARRY_THE_WEIGHT = ("Conv", "Gemm", "MatMul", "BatchNormalization")
_NAMED = 5  # in a message


@dataclass(frozen=True)
class Assigned:
    """One node of the graph as onnxruntime partitioned it.

    Attributes:
        provider: The execution provider that runs it, such as ``CUDAExecutionProvider``.
        op_type: Its operator, after onnxruntime's own fusions.
        name: Its name; empty for many.
    """

    provider: str
    op_type: str
    name: str = ""

    @property
    def is_heavy(self) -> bool:
        """Whether a provider that does not run this did not run the model.

        By substring, so that FusedConv, NhwcConv, ConvTranspose, QLinearMatMul, MatMulNBits and their like count.
        """
        return any(word in self.op_type for word in _CARRY_THE_WEIGHT)


def objection(provider: str, nodes: Sequence[Assigned]) -> str:
    """Why an assignment does not count as running on ``provider``; empty if it does.

    A Conv, ConvTranspose, Gemm, MatMul or BatchNormalization elsewhere is one, and a graph of which nothing ran
    there. A graph without any node, folded into a constant, is none.
    """
    astray = [node for node in nodes if node.is_heavy and node.provider != provider]
    if astray:
        named = ", ".join(_words(node) for node in astray[:_NAMED])
        more = f" and {len(astray) - _NAMED} more" if len(astray) > _NAMED else ""
        return f"{len(astray)} of {sum(node.is_heavy for node in nodes)} heavy operators ran elsewhere: {named}{more}"
    if nodes and all(node.provider != provider for node in nodes):
        return f"none of {len(nodes)} operators ran there"
    return ""


def elsewhere(provider: str, nodes: Iterable[Assigned]) -> str:
    """What else ran elsewhere, in words: ``Gather, 2 Shape (CPUExecutionProvider)``; empty if nothing did."""
    found = Counter((node.provider, node.op_type) for node in nodes if node.provider != provider)
    parts = [
        f"{', '.join(_counted(op, count) for (where, op), count in sorted(found.items()) if where == other)} ({other})"
        for other in sorted({where for where, _ in found})
    ]
    return "; ".join(parts)


def _counted(op_type: str, count: int) -> str:
    return op_type if count == 1 else f"{count} {op_type}"


def _words(node: Assigned) -> str:
    return f"{node.op_type} '{node.name}' ({node.provider})" if node.name else f"{node.op_type} ({node.provider})"

"""``FoldPass``: the fold as a pass of onnx_ir, to stand in a pipeline beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from onnx_ir.passes import InPlacePass, PassResult

from bnfold.errors import ModelError
from bnfold.folding import fold_in_place
from bnfold.modelfile import all_graphs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from bnfold.folding.result import FoldResult

__all__ = ["FoldPass"]


class _Options(TypedDict):
    keep: Sequence[str]
    merge_branches: bool | None
    repairs: bool


class FoldPass(InPlacePass):
    """Fold every BatchNormalization that can be folded exactly, in the given model itself.

        >>> import onnx_ir as ir
        >>> from onnx_ir.passes.common import RemoveUnusedNodesPass
        >>> folding = bnfold.FoldPass()
        >>> ir.passes.Sequential(folding, RemoveUnusedNodesPass())(model)
        >>> for kept in folding.result.kept:
        ...     print(kept.node, kept.reason)

    It does to the model what ``fold`` does to a copy of it, and reports ``modified`` when something was folded.
    ``onnx_ir.passes.functionalize(FoldPass())`` works on a copy.

    Attributes:
        result: The account of the last call, and None before the first. A pipeline hands on nothing but the model,
            so that it is kept here. It keeps that model alive; one pass object is for one thread at a time.
    """

    def __init__(self, *, keep: Sequence[str] = (), merge_branches: bool | None = None, repairs: bool = False) -> None:
        """Take the options of ``fold``.

        Args:
            keep: As for ``fold``.
            merge_branches: As for ``fold``.
            repairs: As for ``fold``.
        """
        self._options: _Options = {"keep": keep, "merge_branches": merge_branches, "repairs": repairs}
        self.result: FoldResult | None = None

    def call(self, model: ir.Model) -> PassResult:
        """Fold the model in place.

        Raises:
            ModelError: As ``fold``. The model still computes what it did: it is untouched, or the error says that
                what was folded before stays folded.
            BnfoldError: A pattern of ``keep`` matches no node; the model is untouched.
        """
        self.result = None
        before = _nodes(model)
        _release_lost_readers(before)
        try:
            self.result = fold_in_place(model, **self._options)
        except ModelError as error:
            if _nodes(model) == before:
                raise
            raise ModelError(f"{error} (what was folded before this was met stays folded, exactly)") from error
        return PassResult(model, modified=bool(self.result.folded or self.result.merged))


def _nodes(model: ir.Model) -> dict[ir.Node, str]:
    """All nodes, and what they are: each fold takes one out, or makes an Identity of it."""
    return {node: node.op_type for graph in all_graphs(model) for node in graph}


def _release_lost_readers(nodes: dict[ir.Node, str]) -> None:
    """Take the inputs from nodes that are in no graph of the model.

    A node that a pass before took out may still count as a reader of what it read; those in the body of a removed If
    always do. Asked what they make of a plan, they would block it. (A copy has none, which is why ``fold`` need not.)
    """
    read = dict.fromkeys(value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None)
    for value in read:
        for reader, slot in value.uses():
            if reader not in nodes:
                reader.replace_input_with(slot, None)

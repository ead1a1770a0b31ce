"""Which operator with weights a node is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.verifying.certificate.contraction import contraction_of
from bnfold.verifying.certificate.linear import product_of
from bnfold.verifying.certificate.recurrent import recurrent_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.verifying.certificate.linear import Linear
    from bnfold.verifying.certificate.reading import Constants

__all__ = ["linear_of"]


def linear_of(node: ir.Node, constants: Constants) -> Linear | None:
    """The linear operator that a node is; None if it is none, or its weights are no constants."""
    return product_of(node, constants) or contraction_of(node, constants) or recurrent_of(node, constants)

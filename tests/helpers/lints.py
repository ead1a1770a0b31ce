"""Models for lints: small networks whose numbers are said, and nothing is wrong with what is not said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import bnfold
from bnfold.linting import LINTS
from tests.helpers.models import DTYPES, model_of, set_constant

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.linting import Finding

# Conv → BatchNormalization → Relu → Conv: what a network should be like.
GOOD = """
    g (float[N,3,8,8] x, float[4,3,3,3] w, float[5,4,1,1] v, BN4) => (float[N,5,6,6] y) {
        c = Conv (x, w)
        n = BatchNormalization (c, scale, bias, mean, var)
        r = Relu (n)
        y = Conv (r, v)
    }
"""


def built(text: str = GOOD, *, dtype: str = "float", opset: int = 20, **arrays: object) -> ir.Model:
    """A ``model_of`` with constants that are given by name."""
    model = model_of(text, dtype=dtype, opset=opset)
    for name, array in arrays.items():
        value = model.graph.initializers.pop(name)
        set_constant(model, value, np.asarray(array, DTYPES[dtype]))
    return model


def found(code: str, model: ir.Model, **options: object) -> list[Finding]:
    """What one lint finds."""
    assert code in {lint.code for lint in LINTS}
    return bnfold.lint(model, select=[code], **options)


def the_finding(code: str, model: ir.Model, **options: object) -> Finding:
    """The only thing that one lint finds."""
    (finding,) = found(code, model, **options)
    assert finding.code == code
    assert finding.message
    assert finding.advice
    return finding

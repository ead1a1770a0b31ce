"""BN205."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import BnfoldError
from tests.helpers.lints import GOOD, built, found, the_finding

CODE = "BN205"
STRONG = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 1e-7> (")
SCALE = {"scale": [300, 1, 1, 1], "var": [1e-8, 1, 1, 1], "mean": [0, 0, 0, 0]}


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_a_scale_overflows_float16(dtype) -> None:
    arrays = {**SCALE, "var": [0, 1, 1, 1]} if dtype == "float16" else SCALE
    options = {} if dtype == "float16" else {"export_dtype": "float16"}
    finding = found(CODE, built(STRONG, dtype=dtype, w=np.full((4, 3, 3, 3), 1e-4), **arrays), **options)[0]
    assert "its scale / √(var + epsilon) overflows float16 in 1 of 4 channels (0)" in finding.message
    assert "ends at 6.55e4" in finding.message
    assert finding.figures["largest"] > 65504


def test_a_shift_overflows_float16() -> None:
    finding = the_finding(
        CODE, built(mean=[0, 7e4, 0, 0], var=[1, 1, 1, 1], scale=[1, 1, 1, 1]), export_dtype="float16"
    )
    assert "its shift overflows float16 in 1 of 4 channels (1)" in finding.message


def test_a_folded_weight_overflows_float16() -> None:
    finding = the_finding(CODE, built(scale=[40000, 1, 1, 1], w=np.full((4, 3, 3, 3), 3.0)), export_dtype="float16")
    assert (finding.node, finding.op_type) == ("c", "Conv")
    assert "27 weights of 'w' would overflow float16" in finding.message


def test_is_silent_in_the_dtype_that_has_room() -> None:
    model = built(STRONG, **SCALE)
    assert not found(CODE, model)
    assert not found(CODE, model, export_dtype="bfloat16")
    assert not found(CODE, built(), export_dtype="float16")


def test_an_unknown_dtype_is_an_error() -> None:
    with pytest.raises(BnfoldError, match="'int8' is no dtype of an export"):
        found(CODE, built(), export_dtype="int8")

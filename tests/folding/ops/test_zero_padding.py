"""The zeros beyond the border, when the weights of the Conv are not known."""

from __future__ import annotations

import pytest

import bnfold
from tests.helpers.models import model_of, serialised

AT_RUN_TIME = """
    g (float[4,3,K,K] x, BN3) => (float[4,4,P,Q] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        y = Conv <ATTRIBUTES> (n, x)
    }
"""


@pytest.mark.parametrize("attributes", ["pads = [1,1,1,1]", 'auto_pad = "SAME_UPPER"', 'auto_pad = "SAME_LOWER"'])
@pytest.mark.parametrize("repairs", [False, True])
def test_a_kernel_of_unknown_size_may_reach_beyond_the_border(attributes, repairs) -> None:
    model = model_of(AT_RUN_TIME.replace("ATTRIBUTES", attributes))
    result = bnfold.fold(model, repairs=repairs)
    reason = "has a weight 'x' that is known at run time only, behind a shift" if repairs else "pads with zeros ("
    assert reason in result.kept[0].reason
    assert serialised(result.model) == serialised(model)

"""Add and Sub of a constant: what it must be like."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from tests.helpers.models import model_of, serialised, set_constant


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("call", ["Add (h, c)", "Sub (c, h)"])
def test_a_constant_that_is_not_finite_stays_where_it_is(number, call) -> None:
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,1] w, float[3,1] c, BN3) => (float[N,3,5] y) {{
            h = Conv (x, w)
            a = {call}
            y = BatchNormalization (a, scale, bias, mean, var)
        }}
    """)
    set_constant(model, model.graph.initializers["c"], np.array([[number], [1.0], [2.0]]))
    result = bnfold.fold(model)
    assert "'a' adds a constant that is not finite" in result.kept[0].reason
    assert serialised(result.model) == serialised(model)

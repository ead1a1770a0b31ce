"""BatchNormalization: when it is no affine. The other conditions are in tests/folding/test_conditions.py."""

from __future__ import annotations

import bnfold
from tests.helpers.models import model_of, serialised


def test_an_attribute_that_an_unknown_caller_sets_is_not_guessed() -> None:
    """Nobody calls the function: no copy of it has a number instead."""
    model = model_of(
        """
        g (float[N,3,5] x) => (float[N,3,5] y) { y = Relu (x) }
        <domain: "local", opset_import: ["": 20]>
        f <e> (x, w, scale, bias, mean, var) => (y) {
            h = Conv (x, w)
            y = BatchNormalization <epsilon: float = @e> (h, scale, bias, mean, var)
        }
        """,
        dtype="float",
    )
    result = bnfold.fold(model)
    assert result.kept[0].reason == "the caller of the function sets one of its attributes"
    assert serialised(result.model) == serialised(model)

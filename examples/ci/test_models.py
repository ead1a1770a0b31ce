"""The same in the tests of a repository: pytest finds the fixture where bnfold is installed."""

from __future__ import annotations

import bnfold


def test_the_optimised_model_computes_what_the_model_computes(assert_equivalent):
    assert_equivalent("model.onnx", "optimised.onnx")


def test_the_model_folds_without_a_rest():
    result = bnfold.check("model.onnx", strict=True, bench=False)
    assert result, result.checks

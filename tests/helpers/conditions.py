"""What a broken condition must lead to: the affine stays, the reason says why, and nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, model_of, serialised

if TYPE_CHECKING:
    import onnx_ir as ir


def assert_folds(model: ir.Model) -> bnfold.FoldResult:
    """Every BatchNormalization goes, and the result is exact."""
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept, [kept.reason for kept in result.kept]
    assert affines(result.model) == 0
    return result


def assert_kept(text: str, reason: str, **options: object) -> None:
    """Every BatchNormalization of the model stays, and ``reason`` is part of what is said of one of them."""
    model = model_of(text, **options)
    result = bnfold.fold(model)
    assert affines(result.model) == affines(model)
    assert any(reason in kept.reason for kept in result.kept), [kept.reason for kept in result.kept]
    assert serialised(result.model) == serialised(model)

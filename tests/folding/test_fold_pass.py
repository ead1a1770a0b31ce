"""``FoldPass`` does to a model what ``fold`` does to a copy, alone and in a pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import PassError, PassManager, Sequential, functionalize
from onnx_ir.passes.common import (
    CheckerPass,
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    InlinePass,
    LiftConstantsToInitializersPass,
    NameFixPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
    TopologicalSortPass,
)

import bnfold
from bnfold.folding.ops import RULES
from tests.helpers import oracle
from tests.helpers.models import affines, example, model_of, serialised, set_constant

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"

TWO = """
    g (float[N,2,6,6] x, float[3,2,3,3] w, float[3,3,1,1] v, BN3) => (float[N,3,4,4] y) {
        h = Conv (x, w)
        n = BatchNormalization (h, scale, bias, mean, var)
        t = Tanh (n)
        i = Identity (t)
        k = Conv (i, v)
        y = BatchNormalization (k, scale, bias, mean, var)
    }
"""


def test_changes_the_model_itself_as_fold_changes_a_copy() -> None:
    model = model_of(TWO)
    folded = bnfold.fold(model)
    conv = next(iter(model.graph))
    fold_pass = bnfold.FoldPass()
    result = fold_pass(model)
    assert result.model is model
    assert result.modified
    assert serialised(model) == serialised(folded.model)
    assert conv.graph is model.graph  # the nodes that stay are the same objects
    assert fold_pass.result.model is model
    assert (fold_pass.result.folded, fold_pass.result.kept) == (folded.folded, folded.kept)


@pytest.mark.parametrize("text", [text for rule in RULES for text in rule.examples])
def test_in_place_is_the_same_as_on_a_copy(text) -> None:
    model = example(text)
    folded = bnfold.fold(model).model
    assert bnfold.FoldPass()(model).modified
    assert serialised(model) == serialised(folded)


def test_says_that_nothing_was_modified() -> None:
    model = model_of("g (float[N,2,5] x, BN2) => (float[N,2,5] y) {y = BatchNormalization (x, scale, bias, mean, var)}")
    before = serialised(model)
    fold_pass = bnfold.FoldPass()
    assert not fold_pass(model).modified
    assert serialised(model) == before
    assert len(fold_pass.result.kept) == 1


def test_is_the_same_again_for_another_model() -> None:
    fold_pass = bnfold.FoldPass(keep=["y"])
    assert fold_pass.result is None
    for _ in range(2):
        model = model_of(TWO)
        assert fold_pass(model).modified
        assert affines(model) == 1
        assert [kept.reason for kept in fold_pass.result.kept] == ["asked to stay"]
        assert not fold_pass(model).modified


def test_functionalize_makes_it_work_on_a_copy() -> None:
    model = model_of(TWO)
    before = serialised(model)
    result = functionalize(bnfold.FoldPass())(model)
    assert (affines(result.model), serialised(model)) == (0, before)


def test_stands_between_other_passes() -> None:
    """Without the one that takes out what nobody needs, the Relu would keep the second one where it is."""
    model = model_of(TWO.replace("y = Batch", "unneeded = Relu (k)\n        y = Batch"))
    original = model.clone()
    fold_pass = bnfold.FoldPass()
    pipeline = Sequential(
        InlinePass(),
        LiftConstantsToInitializersPass(),
        CommonSubexpressionEliminationPass(),
        ShapeInferencePass(),
        RemoveUnusedNodesPass(),
        fold_pass,
        IdentityEliminationPass(),
        DeduplicateInitializersPass(),
        TopologicalSortPass(),
        NameFixPass(),
        CheckerPass(),
    )
    result = pipeline(model)
    assert result.modified
    assert result.model is model
    assert [node.op_type for node in model.graph] == ["Conv", "Tanh", "Conv"]
    assert len(fold_pass.result.folded) == 2
    oracle.assert_equal(original, model)


def test_stops_a_pipeline_that_repeats_until_nothing_changes() -> None:
    model = model_of(TWO)
    fold_pass = bnfold.FoldPass()
    PassManager([fold_pass, RemoveUnusedNodesPass()], steps=10)(model)
    assert affines(model) == 0
    assert fold_pass.result.folded == ()  # of the last call


def test_folds_a_file_that_was_loaded_by_onnx_ir() -> None:
    model = ir.load(DIGITS)
    assert bnfold.FoldPass()(model).modified
    assert serialised(model) == serialised(bnfold.fold(DIGITS).model)


def test_a_reader_that_was_left_over_from_another_pass_does_not_count() -> None:
    model = model_of("""
        g (float[N,2,5] x, bool c, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            lost = If (c) <then_branch = a () => (float[N,3,3] p) { p = Tanh (h) },
                           else_branch = b () => (float[N,3,3] q) { q = Relu (h) }>
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    RemoveUnusedNodesPass()(model)
    conv = next(iter(model.graph))
    assert any(use.node.op_type == "Tanh" for use in conv.outputs[0].uses()), "onnx_ir cleans up by itself now"
    assert bnfold.FoldPass()(model).modified
    assert affines(model) == 0


def test_a_pattern_that_matches_nothing_leaves_the_model_untouched() -> None:
    model = model_of(TWO)
    before = serialised(model)
    with pytest.raises(bnfold.BnfoldError, match="no node has such a name"):
        bnfold.FoldPass(keep=["typo"])(model)
    with pytest.raises(PassError) as raised:
        Sequential(bnfold.FoldPass(keep=["typo"]))(model)
    assert isinstance(raised.value.__cause__, bnfold.BnfoldError)
    with pytest.raises(TypeError, match="not a string"):
        bnfold.FoldPass(keep="typo")(model)
    assert serialised(model) == before


def test_parameters_that_do_not_fit_leave_the_model_untouched() -> None:
    model = model_of(TWO)
    set_constant(model, model.graph.initializers["var"], np.ones(4))
    before = serialised(model)
    fold_pass = bnfold.FoldPass()
    with pytest.raises(bnfold.ModelError, match="do not fit") as raised:
        fold_pass(model)
    assert "stays folded" not in str(raised.value)
    assert serialised(model) == before
    assert fold_pass.result is None


def test_an_error_that_comes_late_says_that_the_model_has_changed() -> None:
    """What is malformed may be met only when what stood before it is gone."""
    model = model_of("""
        g (float[N,2,6,6] x, float[3,2,3,3] w, float[4,3,1,1] v, BN3) => (float[N,3,4,4] y, float[N,4,4,4] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            t = Tanh (y)
            n = BatchNormalization (t, scale, bias, mean, var)
            z = Conv (n, v)
        }
    """)
    original = model.clone()
    *_, conv = model.graph
    conv.attributes["group"] = ir.AttrString("group", "malformed")
    with pytest.raises(bnfold.ModelError, match=r"Conv 'z' is malformed") as raised:
        bnfold.fold(model)
    assert "stays folded" not in str(raised.value)
    assert affines(model) == 2
    with pytest.raises(bnfold.ModelError, match=r"Conv 'z' is malformed: .*\(what was folded before .* stays folded"):
        bnfold.FoldPass()(model)
    assert affines(model) == 1
    del conv.attributes["group"]
    oracle.assert_equal(original, model)

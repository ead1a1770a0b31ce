"""What may fold is looked for in one walk; whatever that overlooked would never be tried."""

from __future__ import annotations

import pytest

import bnfold
from bnfold.folding.candidates import has_candidates
from tests.helpers import oracle
from tests.helpers.models import example

# Models without a BatchNormalization in which something folds.
FOLDABLE = {
    "a constant of a function that its caller gives": """
        g (float[N,3,5] x, float[3,1] s, float[4,3,1] w) => (float[N,4,5] y) {
            y = own.scaled (x, s, w)
        }
        <domain: "own", opset_import: ["": 20]>
        scaled (x, s, w) => (y) {
            h = Mul (x, s)
            y = Conv (h, w)
        }
    """,
    "a divisor computed from a shape": """
        g (float[N,3] x, float[3,4] w) => (float[N,4] y) {
            size = Shape <start = 1, end = 2> (x)
            number = CastLike (size, x)
            h = Div (x, number)
            y = MatMul (h, w)
        }
    """,
    "branches that are one convolution": """
        g (float[N,3,5] x, float[4,3,1] w, float[4,3,3] v) => (float[N,4,5] y) {
            a = Conv (x, w)
            b = Conv <pads = [1, 1]> (x, v)
            y = Add (a, b)
        }
    """,
}

FINISHED = """
    g (float[N,3,5] x, float[3,3,3] w) => (float[N,3,5] y) {
        c = Conv <pads = [1, 1]> (x, w)
        r = Relu (c)
        a = Add (r, x)
        size = Shape (a)
        y = Reshape (a, size)
    }
"""


@pytest.mark.parametrize("text", FOLDABLE.values(), ids=FOLDABLE)
def test_a_model_in_which_something_folds_has_candidates(text: str) -> None:
    model = example(text)
    result = bnfold.fold(model)
    assert result.folded or result.merged
    oracle.assert_equal(model, result.model)


def test_a_model_without_any_is_not_looked_at_further(monkeypatch) -> None:
    monkeypatch.delattr("bnfold.folding.Facts")
    model = example(FINISHED)
    assert not has_candidates(model)
    result = bnfold.fold(model)
    assert (result.folded, result.kept, result.merged) == ((), (), ())
    assert result.nodes_before == result.nodes_after == 5


def test_a_pattern_that_matches_nothing_is_told_of_even_where_nothing_folds() -> None:
    with pytest.raises(bnfold.BnfoldError, match="no node has such a name"):
        bnfold.fold(example(FINISHED), keep=["nothing*"])

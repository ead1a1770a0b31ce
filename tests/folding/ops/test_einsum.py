"""Einsum of data and a constant."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from bnfold.folding.facts import Facts
from bnfold.folding.planning import find_plan
from bnfold.folding.sites import find_sites
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import constant, model_of, serialised

_BEHIND = """
    g (float[2,4,4] x, float[4,4] w, BN4) => (float[a,b,c] y) {
        h = Einsum <equation = "EQUATION"> (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""
_IN_FRONT = """
    g (float[2,4,4] x, float[4,4] w, BN4) => (float[a,b,c] y) {
        n = BatchNormalization (x, scale, bias, mean, var)
        y = Einsum <equation = "EQUATION"> (n, w)
    }
"""

# name: (what makes the model, part of the reason)
BROKEN = {
    "two_runtime_tensors": (  # condition 1
        """
        g (float[2,4,4] x, BN4) => (float[2,4,4] y) {
            t = Tanh (x)
            h = Einsum <equation = "bij,bjk->bik"> (x, t)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "multiplies two tensors that are both computed at run time",
    ),
    "one_operand": (  # condition 1
        """
        g (float[2,4,4] x, BN4) => (float[2,4,4] y) {
            h = Einsum <equation = "bij->bji"> (x)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has 1 operands",
    ),
    "three_operands": (  # condition 1
        """
        g (float[2,4,4] x, float[4] w, float[4] v, BN4) => (float[2,4,4] y) {
            h = Einsum <equation = "bij,i,j->bij"> (x, w, v)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "has 3 operands",
    ),
    "an_ellipsis": (_BEHIND.replace("EQUATION", "...ij,jk->...ik"), "has an ellipsis in its equation ...ij,jk->...ik"),
    "a_diagonal": (_BEHIND.replace("EQUATION", "bii,ij->bij"), "has a label twice in one operand"),
    "a_scale_behind_along_the_data": (  # condition 2
        _BEHIND.replace("EQUATION", "bij,jk->bik"),
        "has a constant that does not vary along i, as the affine does",
    ),
    "a_scale_in_front_along_the_data": (  # condition 2
        _IN_FRONT.replace("EQUATION", "bij,jk->bik"),
        "has a constant that does not vary along i, as the affine does",
    ),
    "a_constant_that_is_broadcast": (  # condition 2
        _BEHIND.replace("EQUATION", "bij,ik->bij").replace("[4,4] w", "[1,4] w"),
        "has a constant that does not vary along i, as the affine does",
    ),
    "a_shift_summed_without_weights": (  # condition 3
        _IN_FRONT.replace("EQUATION", "bij,ik->bik"),
        "sums over j, along which its constant does not vary: carries no shift",
    ),
    "a_shift_that_nobody_takes": (  # condition 4: each would get an Add, for one node that goes
        """
        g (float[2,4,4] x, float[4,4] w, BN4) => (float[2,4,4] y, float[2,4,4] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Einsum <equation = "bij,ik->bkj"> (n, w)
            z = Einsum <equation = "bij,ik->bkj"> (n, w)
        }
        """,
        "would be replaced by 2 new nodes",
    ),
    "another_reader_of_what_changes": (  # condition 4
        """
        g (float[2,4,4] x, float[4,4] w, BN4) => (float[2,4,4] y, float[2,4,4] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            h = Einsum <equation = "bij,ik->bkj"> (n, w)
            y = Sigmoid (h)
            z = Sigmoid (n)
        }
        """,
        "Sigmoid 'z'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


@pytest.mark.parametrize(
    ("text", "equation"),
    [
        (_BEHIND, "bij,ik->bkj"),
        (_BEHIND, "bij,kj->bki"),
        (_BEHIND, "b i j , j k -> b k i"),
        (_BEHIND, "Aij,jk->Aki"),
        (_BEHIND, "bci,ij"),  # implicit: bcj
        (_BEHIND, "bij,ij->bij"),
        (_BEHIND, "bij,ki->bkj"),
        (_BEHIND, "bij,kj->bk"),
        (_IN_FRONT, "bij,ik->bkj"),
        (_IN_FRONT, "bij,ki->jbk"),
        (_IN_FRONT, "bij,ij->bj"),
        (_IN_FRONT, "bij,ij->b"),
        (_IN_FRONT, "bij,ij->bij"),
        (_IN_FRONT, "bij,ik->bij"),
    ],
)
def test_every_place_of_a_label(text, equation) -> None:
    rank = len((equation.partition("->")[2] or "bcj").replace(" ", ""))
    if rank == 2 and text is _BEHIND:
        text = text.replace("[2,4,4] x", "[4,4,4] x")
    if equation == "bci,ij":
        text = text.replace("h = Ein", "g1 = Ein").replace("y = Batch", "h = Transpose <perm=[0,2,1]> (g1)\n y = Batch")
    shape = ",".join("abc"[:rank])
    model = model_of(text.replace("EQUATION", equation).replace("[a,b,c] y", f"[{shape}] y"))
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert not result.kept, result.kept[0].reason
    assert result.nodes_after <= result.nodes_before
    oracle.assert_equal(model, result.model)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)


def test_no_add_is_made_before_plans_may_make_one() -> None:
    facts = Facts(model_of(_BEHIND.replace("EQUATION", "bij,ik->bkj")))
    (site,), _ = find_sites(facts)
    attempts = find_plan(site, facts, new_nodes_allowed=False)
    assert "has no bias that could take the shift in" in attempts[0].reason
    assert find_plan(site, facts, new_nodes_allowed=True).cost[0] == 1


def test_a_quantised_constant_keeps_its_integers() -> None:
    model = model_of("""
        g (float[2,4,4] x, int8[4,5] q, float[] positive_step, float[5] positive_scale, float[5] bias, float[5] mean,
           float[5] var) => (float[2,5,4] y) {
            w = DequantizeLinear (q, positive_step)
            h = Einsum <equation = "bij,ik->bkj"> (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    np.testing.assert_array_equal(constant(result.model, "q"), constant(model, "q"))

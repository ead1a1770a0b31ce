"""The search itself: its order, its bounds, and how it names what it found."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from bnfold.folding import planning
from tests.helpers import oracle
from tests.helpers.models import example, model_of, set_constant


def test_a_plan_without_new_nodes_comes_first() -> None:
    """Back would turn the MatMul into a Gemm; forward, the bias behind the second one takes the shift in."""
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4,3] v, float[3] b, BN4) => (float[N,3] y) {
            h = MatMul (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            m = MatMul (n, v)
            y = Add (m, b)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["MatMul", "MatMul", "Add"]


def test_a_batch_normalization_without_its_inputs_is_an_error() -> None:
    model = model_of("""
        g (float[N,3] x, float[3] scale, float[3] bias, float[3] mean) => (float[N,3] y) {
            y = BatchNormalization (x, scale, bias, mean)
        }
    """)
    with pytest.raises(bnfold.ModelError, match="does not have its five inputs"):
        bnfold.fold(model)


def test_the_search_is_bounded() -> None:
    identities = "\n".join(f"i{k + 1} = Identity (i{k})" for k in range(600))
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {{
            i0 = Conv (x, w)
            {identities}
            y = BatchNormalization (i600, scale, bias, mean, var)
        }}
    """)
    (kept,) = bnfold.fold(model).kept
    assert "is reached after 512 tensors" in kept.reason


def second_reader(dtype: str, scale: float):
    """A Conv read by a BatchNormalization and by another Conv, which would have to undo the affine."""
    model = example(
        """
        g (float[N,2,5] x, float[3,2,3] w, float[4,3,1] v, float[3] positive_scale, float[3] bias, float[3] mean,
           float[3] var) => (float[N,3,3] y, float[N,4,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, positive_scale, bias, mean, var)
            z = Conv (h, v)
        }
        """,
        dtype=dtype,
    )
    value = model.graph.initializers["positive_scale"]
    set_constant(model, value, np.full(3, scale, value.const_value.numpy().dtype))
    return model


@pytest.mark.parametrize(
    ("dtype", "scale", "folds"),
    [
        ("float", 0.1, True),
        ("float", 1e-4, False),
        ("float16", 1.0, True),
        ("float16", 0.1, False),
        ("double", 1e-4, True),
    ],
)
def test_no_reader_takes_off_a_shift_that_costs_it_its_bits(dtype, scale, folds) -> None:
    result = bnfold.fold(second_reader(dtype, scale))
    if folds:
        assert not result.kept
    else:
        assert "would lose bits taking off a shift of" in result.kept[0].reason


def test_an_inverse_that_overflows_is_none() -> None:
    (kept,) = bnfold.fold(second_reader("double", 1e-320)).kept
    assert "of which the fold leaves only a constant" in kept.reason or "would lose bits" in kept.reason


def test_a_malformed_node_is_an_error_that_names_it() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            h = Conv <group = 2> (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    with pytest.raises(bnfold.ModelError, match="Conv 'h' is malformed"):
        bnfold.fold(model)


def test_graphs_may_be_deeper_than_the_stack_of_python() -> None:
    adds = "\n".join(f"a{k + 1} = Add (a{k}, x)" for k in range(1500))
    model = model_of(f"""
        g (float[N,3,5] x, BN3) => (float[N,3,5] y) {{
            a0 = Identity (x)
            {adds}
            n = BatchNormalization (a1500, scale, bias, mean, var)
            y = Tanh (n)
        }}
    """)
    assert "would change 'x', which is a graph input" in bnfold.fold(model).kept[0].reason
    identities = "\n".join(f"w{k + 1} = Identity (w{k})" for k in range(1500))
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,3] w0, BN3) => (float[N,3,3] y) {{
            {identities}
            h = Conv (x, w1500)
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    assert [node.op_type for node in bnfold.fold(model).model.graph] == ["Conv"]


def test_a_node_is_reported_by_one_name_throughout() -> None:
    """Unnamed nodes go by what they write, which a fold may rename."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            t = Conv (x, w)
            h = BatchNormalization (t, scale, bias, mean, var)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    assert [entry.node for entry in result.folded] == ["h", "y"]
    assert {absorption.node for entry in result.folded for absorption in entry.into} <= {"t", "y"}


def test_no_crafted_expression_asks_for_all_the_memory() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[1] s, BN2) => (float[N,2,5] y) {
            huge = Constant <value_ints = [1000000000000]> ()
            e = Expand (s, huge)
            y = BatchNormalization (x, e, bias, mean, var)
        }
    """)
    assert "is computed at run time" in bnfold.fold(model).kept[0].reason


def test_re_expressions_agree_when_they_say_the_same() -> None:
    from bnfold.affine import Affine
    from bnfold.folding.reexpression import Reexpression

    one, two = (Affine.per_channel([scale, 1.0], [0.0, 1.0], rank=2) for scale in (1.0, 2.0))
    dead = Affine.per_channel([0.0, 1.0], [5.0, 1.0], rank=2)
    assert Reexpression.from_read(one).agrees(Reexpression.from_write(one.inverse()))
    assert not Reexpression.from_read(one).agrees(Reexpression.from_read(two))
    assert Reexpression.from_write(dead).agrees(Reexpression.from_write(dead))
    assert not Reexpression.from_write(dead).agrees(Reexpression.from_read(dead))


def test_a_sum_chooses_the_branch_that_nobody_else_reads() -> None:
    """The other branch has a second reader, which would have to undo the affine."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,2,1] v, BN3) => (float[N,3,5] y, float[N,3,5] z) {
            a = Conv (x, w)
            b = Conv (x, v)
            s = Add (a, b)
            y = BatchNormalization <epsilon = 0.0> (s, scale, bias, mean, var)
            z = Tanh (a)
        }
    """)
    for name in ("scale", "var"):
        set_constant(model, model.graph.initializers[name], np.ones(3))
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    (entry,) = result.folded
    assert [absorption.node for absorption in entry.into] == ["b"]


def test_only_the_product_without_a_bias_gets_a_new_one() -> None:
    """Queries and keys with a bias, values without: one node goes, and one comes."""
    model = model_of("""
        g (float[N,5,7] x, float[5,4] w, float[5,4] v, float[4] b, BN5) => (float[N,7,4] y, float[N,7,4] z) {
            n = BatchNormalization (x, scale, bias, mean, var)
            t = Transpose <perm = [0,2,1]> (n)
            y = MatMul (t, w)
            m = MatMul (t, v)
            z = Add (m, b)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept
    assert sorted(node.op_type for node in result.model.graph) == ["Add", "Add", "MatMul", "MatMul", "Transpose"]


def test_no_way_goes_further_than_another_needs_to() -> None:
    """Back there are 100 tensors, which a search of all ways to their end would ask about; forward there is a Conv."""
    from bnfold.folding.facts import Facts
    from bnfold.folding.planning import Plan, find_plan
    from bnfold.folding.sites import find_sites
    from bnfold.folding.view import Footprint

    identities = "\n".join(f"i{k + 1} = Identity (i{k})" for k in range(100))
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,3] w, float[4,3,1] v, BN3) => (float[N,4,3] y) {{
            i0 = Conv (x, w)
            {identities}
            n = BatchNormalization (i100, scale, bias, mean, var)
            y = Conv (n, v)
        }}
    """)
    facts, footprint = Facts(model), Footprint()
    ((site,), _) = find_sites(facts)
    plan = find_plan(site, facts, new_nodes_allowed=False, footprint=footprint)
    assert isinstance(plan, Plan)
    assert (plan.route, plan.cost) == ("forward", (0, 1))
    assert len(footprint.nodes) < 25


def test_what_is_blocked_is_not_searched_again_until_something_near_it_changes(monkeypatch) -> None:
    """The second fold is far from the first affine, which stays; that they share their parameters does not matter."""
    from bnfold.folding import loop

    searched = []
    find_plan = loop.find_plan

    def count(site, facts, **options):
        searched.append(site.label(facts))
        return find_plan(site, facts, **options)

    monkeypatch.setattr(loop, "find_plan", count)
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            first = BatchNormalization (x, scale, bias, mean, var)
            t = Tanh (first)
            h = Conv (t, w)
            r = Sigmoid (h)
            a = Conv (r, w)
            second = BatchNormalization (a, scale, bias, mean, var)
            y = Tanh (second)
        }
    """)
    result = bnfold.fold(model)
    assert [entry.node for entry in result.kept] == ["first"]
    assert searched == ["first", "second"]


def test_a_choice_is_not_tried_again_where_the_scale_alone_is_blocked(monkeypatch) -> None:
    """A pre-activation ResNet with scales of both signs: each Add is a choice, and most of the affines stay."""
    blocks, asked = 40, 0
    ask = planning._Search._ask

    def count(*args, **options):
        nonlocal asked
        asked += 1
        return ask(*args, **options)

    monkeypatch.setattr(planning._Search, "_ask", count)
    result = bnfold.fold(preactivation_tower(blocks))
    assert len(result.kept) >= blocks / 2
    assert "carries no negative scale" in result.kept[0].reason
    assert asked < 420 * blocks  # 1300 if every choice is tried, 480 if the stream is searched once for each affine


def preactivation_tower(blocks: int):
    parameters = ["float[4,3,1,1] w", "float[4,10] w_last"]
    lines = ["s0 = Conv (x, w)"]
    for i in range(blocks):
        parameters += [f"float[4] {name}_{i}" for name in ("scale", "bias", "mean", "var")]
        parameters += [f"float[4] {name}_{i}" for name in ("positive", "bias2", "mean2", "var2")]
        parameters += [f"float[4,4,3,3] {name}_{i}" for name in ("w1", "w2")]
        lines += [
            f"a{i} = BatchNormalization (s{i}, scale_{i}, bias_{i}, mean_{i}, var_{i})",
            f"b{i} = Relu (a{i})",
            f"c{i} = Conv <pads = [1, 1, 1, 1]> (b{i}, w1_{i})",
            f"d{i} = BatchNormalization (c{i}, positive_{i}, bias2_{i}, mean2_{i}, var2_{i})",
            f"e{i} = Relu (d{i})",
            f"f{i} = Conv <pads = [1, 1, 1, 1]> (e{i}, w2_{i})",
            f"s{i + 1} = Add (s{i}, f{i})",
        ]
    lines += [f"p = GlobalAveragePool (s{blocks})", "q = Flatten (p)", "y = MatMul (q, w_last)"]
    body = "\n".join(lines)
    return example(f"tower (float[N,3,H,W] x, {', '.join(parameters)}) => (float[N,10] y) {{ {body} }}")

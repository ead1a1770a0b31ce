"""If, Loop and Scan: what crosses the borders of their bodies, and what does not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.conditions import assert_kept
from tests.helpers.models import affines, constant, model_of, parse, serialised

CONDITION = """
    m = ReduceMean <keepdims = 0> (x)
    condition = Greater (m, t)
"""

# name: (what makes the model, part of the reason, options)
BROKEN = {
    "if_with_a_branch_of_another_size": (
        f"""
        g (float[N,2,5] x, float[1] t, float[2,2,1] w, float[1,2,1] w2, BN2) => (float[N,M,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[N,2,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[N,1,5] v) {{ v = Conv (x, w2) }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
        """,
        "If 'h' has a branch whose output 'v' has another shape",
        {},
    ),
    "if_with_a_branch_of_another_rank": (
        f"""
        g (float[2,3] x, float[2,3,5] z, float[1] t, float[2,3] w, BN3) => (float[3] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[2,3,5] u) {{
                    s = Tanh (z)
                    u = BatchNormalization (s, scale, bias, mean, var)
                }},
                else_branch = b () => (float[2,3] v) {{ v = Add (x, w) }}
            >
            y = Identity (h)
        }}
        """,
        "If 'h' has a branch whose output 'v' has another shape",
        {},
    ),
    "if_of_which_one_branch_cannot_follow": (
        f"""
        g (float[N,2,5] x, float[1] t, float[2,2,1] w, BN2) => (float[N,2,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[N,2,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[N,2,5] v) {{ v = Tanh (x) }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
        """,
        "back: Tanh 'v' ",
        {},
    ),
    "if_that_hands_on_one_tensor_in_two_forms": (
        f"""
        g (float[N,2,5] x, float[1] t, float[2,2,1] w, BN4) => (float[N,4,5] y) {{
            {CONDITION}
            h, k = If (condition) <
                then_branch = a () => (float[N,2,5] u, float[N,2,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[N,2,5] v, float[N,2,5] v2) {{ v = Conv (x, w) v2 = Conv (x, w) }}
            >
            c = Concat <axis = 1> (h, k)
            y = BatchNormalization (c, scale, bias, mean, var)
        }}
        """,
        "If 'h' hands on 'u' twice, and would need it in two forms",
        {},
    ),
    "if_that_does_not_hand_on_all_that_its_branches_write": (
        f"""
        g (float[N,2,5] x, float[1] t, float[2,2,1] w, BN2) => (float[N,2,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[N,2,5] u, float[N,2,5] u2) {{ u = Conv (x, w) u2 = Conv (x, w) }},
                else_branch = b () => (float[N,2,5] v, float[N,2,5] v2) {{ v = Conv (x, w) v2 = Conv (x, w) }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
        """,
        "If 'h' has branches that do not write as many tensors as it does",
        {},
    ),
    "if_without_a_branch": (
        f"""
        g (float[N,2,5] x, float[1] t, float[2,2,1] w, BN2) => (float[N,2,5] y) {{
            {CONDITION}
            h = If (condition) < then_branch = a () => (float[N,2,5] u) {{ u = Conv (x, w) }} >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
        """,
        "If 'h' lacks its attribute else_branch",
        {},
    ),
    "if_whose_condition_would_change": (
        """
        g (float[1,1] x, float[1,1] w, BN1) => (float[1,1] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = If (n) <
                then_branch = a () => (float[1,1] u) { u = MatMul (x, w) },
                else_branch = b () => (float[1,1] v) { v = MatMul (x, w) }
            >
        }
        """,
        "reads 'n' as its input 0, where no fold can follow",
        {},
    ),
    "loop_whose_iterations_become_channels": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN4) => (float[N,4,3,5] y) {
            times = Constant <value_int = 4> ()
            s = Loop (times, "") <
                body = b (int64 i, bool going) => (bool again, float[N,3,5] u) {
                    again = Identity (going)
                    u = Conv (x, w)
                }
            >
            p = Transpose <perm = [1,0,2,3]> (s)
            y = BatchNormalization (p, scale, bias, mean, var)
        }
        """,
        "Loop 's' stacks its iterations along axis 0, along which the affine varies",
        {},
    ),
    "scan_whose_iterations_become_channels": (
        """
        g (float[4,N,2,5] x, float[3,2,1] w, BN4) => (float[N,4,3,5] y) {
            s = Scan <num_scan_inputs = 1, scan_output_axes = [-3],
                body = b (float[N,2,5] i) => (float[N,3,5] u) { u = Conv (i, w) }
            > (x)
            y = BatchNormalization (s, scale, bias, mean, var)
        }
        """,
        "Scan 's' stacks its iterations along axis 1, along which the affine varies",
        {},
    ),
    "loop_that_reads_it_in_the_next_iteration": (
        """
        g (float[N,2,5] x, float[2,2,1] w, BN2) => (float[N,2,5] y) {
            times = Constant <value_int = 4> ()
            h = Loop (times, "", x) <
                body = b (int64 i, bool going, float[N,2,5] s) => (bool again, float[N,2,5] u) {
                    again = Identity (going)
                    u = Conv (s, w)
                }
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Loop 'h' carries what becomes 'h' from one iteration to the next",
        {},
    ),
    "loop_that_reads_it_in_the_next_iteration_and_stacks_it": (
        """
        g (float[3,2,5] x, float[2,2,1] w, BN2) => (float[12,2,5] y) {
            times = Constant <value_int = 4> ()
            last, s = Loop (times, "", x) <
                body = b (int64 i, bool going, float[3,2,5] before) => (bool again, float[3,2,5] u, float[3,2,5] u) {
                    again = Identity (going)
                    u = Conv (before, w)
                }
            >
            shape = Constant <value_ints = [12, 2, 5]> ()
            h = Reshape (s, shape)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Loop 'last' would change 'u', which is carried from one iteration to the next",
        {},
    ),
    "loop_that_hands_it_into_its_body": (
        """
        g (float[N,2,5] x, float[2,2,1] w, BN2) => (float[N,2,5] y) {
            times = Constant <value_int = 4> ()
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Loop (times, "", n) <
                body = b (int64 i, bool going, float[N,2,5] s) => (bool again, float[N,2,5] u) {
                    again = Identity (going)
                    u = Conv (s, w)
                }
            >
        }
        """,
        "Loop 'y' reads 'n' as its input 2, where no fold can follow",
        {},
    ),
    "loop_whose_body_reads_what_comes_in": (
        """
        g (float[N,2,5] x, BN2) => (float[N,2,5] y) {
            times = Constant <value_int = 4> ()
            y = Loop (times, "", x) <
                body = b (int64 i, bool going, float[N,2,5] s) => (bool again, float[N,2,5] u) {
                    again = Identity (going)
                    n = BatchNormalization (s, scale, bias, mean, var)
                    u = Tanh (n)
                }
            >
        }
        """,
        "would change 's', which is an input of the body of Loop 'y'",
        {},
    ),
    "scan_of_opset_8": (
        """
        g (float[1,4,6,2,5] x, float[3,2,1] w, BN3) => (float[24,3,5] y) {
            s = Scan <num_scan_inputs = 1, body = b (float[6,2,5] i) => (float[6,3,5] u) { u = Conv (i, w) }> ("", x)
            shape = Constant <value = int64[3] {24, 3, 5}> ()
            h = Reshape (s, shape)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
        """,
        "Scan 's' is of opset 8, where its tensors have a batch axis of their own",
        {"opset": 8},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine(name: str) -> None:
    text, reason, options = BROKEN[name]
    assert_kept(text, reason, **options)


def fold_exactly(model: ir.Model, *, left: int = 0) -> bnfold.FoldResult:
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert affines(result.model) == len(result.kept) == left
    oracle.assert_equal(model, result.model)
    return result


def test_a_tensor_of_the_outer_graph_that_a_body_reads() -> None:
    """The normalization outside goes forward into the Conv inside, whose weight somebody outside reads as well."""
    model = model_of(f"""
        g (float[N,2,5] x, float[1] t, float[3,2,1] w, BN2) => (float[N,3,5] y, float[3,2,1] z) {{
            {CONDITION}
            f = Tanh (x)
            n = BatchNormalization (f, scale, bias, mean, var)
            y = If (condition) <
                then_branch = a () => (float[N,3,5] u) {{ u = Conv (n, w) }},
                else_branch = b () => (float[N,3,5] v) {{ v = Conv (x, w) }}
            >
            z = Identity (w)
        }}
    """)
    result = fold_exactly(model)
    assert (constant(result.model, "w") == constant(model, "w")).all()
    inside, _ = result.model.graph.subgraphs()
    assert set(inside.initializers) == {"w_1", "u.bias"}


def test_both_branches_share_one_weight() -> None:
    model = model_of(f"""
        g (float[N,2,5] x, float[1] t, float[3,2,1] w, BN3) => (float[N,3,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[N,3,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[N,3,5] u) {{ f = Tanh (x) u = Conv (f, w) }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    (folded,) = fold_exactly(model).folded
    assert folded.through == ("h",)
    assert [absorption.op_type for absorption in folded.into] == ["Conv", "Conv"]


def test_an_if_in_an_if_in_a_loop() -> None:
    model = model_of("""
        g (float[3,2,5] x, float[3,2,1] w, float[3,2,1] w2, float[3,2,1] w3, BN3) => (float[12,3,5] y) {
            times = Constant <value_int = 4> ()
            s = Loop (times, "") <
                body = b (int64 i, bool going) => (bool again, float[3,3,5] h) {
                    again = Identity (going)
                    two = Constant <value_int = 2> ()
                    one = Constant <value_int = 1> ()
                    early = Less (i, two)
                    first = Less (i, one)
                    h = If (early) <
                        then_branch = c () => (float[3,3,5] u) {
                            k = If (first) <
                                then_branch = e () => (float[3,3,5] p) { p = Conv (x, w) },
                                else_branch = f () => (float[3,3,5] q) { q = Conv (x, w2) }
                            >
                            u = Identity (k)
                        },
                        else_branch = d () => (float[3,3,5] v) { v = Conv (x, w3) }
                    >
                }
            >
            shape = Constant <value_ints = [12, 3, 5]> ()
            j = Reshape (s, shape)
            y = BatchNormalization (j, scale, bias, mean, var)
        }
    """)
    (folded,) = fold_exactly(model).folded
    assert set(folded.through) == {"j", "s", "h", "u", "k"}
    assert {absorption.node for absorption in folded.into} == {"p", "q", "v"}


def test_a_tensor_that_is_an_output_twice_changes_in_both_places() -> None:
    model = model_of(f"""
        g (float[N,2,5] x, float[1] t, float[3,2,1] w, float[3,2,1] w2, float[1,3,1] w3, BN3)
                => (float[N,3,5] y, float[N,1,5] z) {{
            {CONDITION}
            h, k = If (condition) <
                then_branch = a () => (float[N,3,5] u, float[N,3,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[N,3,5] v, float[N,3,5] v2) {{ v = Conv (x, w) v2 = Conv (x, w2) }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Conv (k, w3)
        }}
    """)
    (folded,) = fold_exactly(model).folded
    assert {absorption.node for absorption in folded.into} == {"u", "v", "v2", "z"}


@pytest.mark.parametrize("output", ["Constant <value = double[1,3,5] {" + "1.0," * 14 + "1.0}> ()", "Identity (c)"])
def test_an_output_of_a_body_that_is_a_constant(output: str) -> None:
    model = model_of(f"""
        g (float[1,2,5] x, float[1] t, float[3,2,1] w, float[1,3,5] c, BN3) => (float[1,3,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[1,3,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[1,3,5] v) {{ v = {output} }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    fold_exactly(model, left=1)


def test_an_initializer_of_a_body_that_is_its_output() -> None:
    model = model_of(f"""
        g (float[1,2,5] x, float[1] t, float[3,2,1] w, BN3) => (float[1,3,5] y) {{
            {CONDITION}
            h = If (condition) <
                then_branch = a () => (float[1,3,5] u) {{ u = Conv (x, w) }},
                else_branch = b () => (float[1,3,5] v) {{ v = RandomNormal <shape = [1,3,5], dtype = 11> () }}
            >
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    _, other = model.graph.subgraphs()
    weight = ir.Value(name="inside", const_value=ir.tensor(np.ones((1, 3, 5)), name="inside"))
    weight.type, weight.shape = ir.TensorType(ir.DataType.DOUBLE), ir.Shape((1, 3, 5))
    other.register_initializer(weight)
    other.outputs[0] = weight
    result = fold_exactly(model, left=1)
    assert "would change 'inside', which is a constant" in result.kept[0].reason


def test_a_tensor_of_the_outer_graph_that_is_itself_an_output_of_a_body() -> None:
    """No file may hold that, but a model in memory can; the outer graph must not lose the tensor."""
    model = model_of(f"""
        g (float[N,2,5] x, float[1] t, float[3,2,1] w, float[3,2,1] w2, BN3) => (float[N,3,5] y) {{
            {CONDITION}
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = If (condition) <
                then_branch = a () => (float[N,3,5] u) {{ u = Identity (n) }},
                else_branch = b () => (float[N,3,5] v) {{ v = Conv (x, w2) }}
            >
        }}
    """)
    direct = model.clone()
    inside, _ = direct.graph.subgraphs()
    (copy,) = inside
    inside.outputs[0] = copy.inputs[0]
    inside.remove(copy, safe=True)
    result = bnfold.fold(direct)
    assert affines(result.model) == 0
    oracle.assert_equal(model, result.model)


def test_a_scan_of_which_the_caller_of_the_function_says_what_is_carried() -> None:
    model = parse("""
        g (double[4,3,2,5] x) => (double[4,3,2,5] y) { y = local.f <number = 1> (x) }
        <domain: "local", opset_import: ["": 20]>
        f <number> (x) => (y) {
            p = Constant <value = double[3] {1.0, 2.0, 3.0}> ()
            w = Constant <value = double[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            y = Scan <num_scan_inputs: int = @number,
                body = b (double[3,2,5] i) => (double[3,2,5] v) {
                    u = Tanh (i)
                    q = Constant <value = double[2] {1.0, 2.0}> ()
                    v = BatchNormalization (u, q, q, q, q)
                }
            > (x)
        }
    """)
    result = fold_exactly(model, left=1)
    assert "would change 'v', which is carried from one iteration to the next" in result.kept[0].reason


def test_the_interface_of_a_function_stays() -> None:
    model = parse("""
        g (double[N,2,5] x) => (double[N,2,5] y) { f = Tanh (x) h = local.f (f) y = Tanh (h) }
        <domain: "local", opset_import: ["": 20]>
        f (x) => (y) {
            p = Constant <value = double[2] {1.0, 2.0}> ()
            y = BatchNormalization (x, p, p, p, p)
        }
    """)
    (kept,) = fold_exactly(model, left=1).kept
    assert "would change 'x', which is an input of the function 'f'" in kept.reason
    assert "would change 'y', which is an output of the function 'f'" in kept.reason

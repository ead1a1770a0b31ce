"""Which constants that are added or multiplied are affines, and which are not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, example, model_of, serialised, set_constant


def op_types(model) -> list[str]:
    return [node.op_type for node in model.graph]


ROW = """
    g (float[N,2,4,3] x, float[3,2,1,1] w, float[3,3,1,1] v, float[3,1,1] c, float[3,1,1] d, float[3] e,
       float[3,4,1] f, float[3,3] q) => (float[N,3,4,3] yMORE) {
        h = Conv (x, w)
        BODY
    }
"""


def row_of(body: str, more: str = "", **options: object):
    return example(ROW.replace("BODY", body).replace("MORE", more), **options)


def test_a_row_goes_as_one() -> None:
    model = row_of("m = Mul (h, c) a = Add (d, m) y = Tanh (a)")
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == ["Conv", "Tanh"]
    assert [entry.op_type for entry in result.folded] == ["Mul → Add"]


def test_what_varies_along_two_axes_ends_a_row() -> None:
    """The two in front of it are still one affine."""
    model = row_of("m = Mul (h, c) a = Add (m, d) p = Mul (a, f) y = Tanh (p)")
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [entry.op_type for entry in result.folded] == ["Mul → Add"]
    assert op_types(result.model) == ["Conv", "Mul", "Tanh"]


def test_an_output_in_the_middle_ends_a_row() -> None:
    model = row_of("m = Mul (h, c) a = Add (m, d) y = Tanh (a)", ", float[N,3,4,3] m")
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == ["Conv", "Add", "Tanh"]


def test_a_reader_in_the_middle_ends_a_row() -> None:
    model = row_of("m = Mul (h, c) a = Add (m, d) y = Tanh (a) z = Sigmoid (m)", ", float[N,3,4,3] z")
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == ["Conv", "Add", "Tanh", "Sigmoid"]


@pytest.mark.parametrize(("kept", "left"), [("m", ["Conv", "Mul", "Conv"]), ("a", ["Conv", "Add", "Conv"])])
def test_a_node_that_was_asked_to_stay_ends_a_row(kept, left) -> None:
    model = row_of("m = Mul (h, c) a = Add (m, d) y = Conv (a, v)")
    result = bnfold.fold(model, keep=[kept])
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == left


# Of as many places as there are channels, and yet along the last axis.
@pytest.mark.parametrize("call", ["Mul (h, e)", "Add (h, e)", "Div (h, e)", "Sub (e, h)"])
def test_numbers_along_the_width_are_not_taken_for_channels(call) -> None:
    model = row_of(f"m = {call} y = Tanh (m)")
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert serialised(result.model) == serialised(model)


def test_before_opset_7_an_attribute_says_along_which_axis() -> None:
    model = row_of("m = Mul <broadcast = 1, axis = 1> (h, e) y = MatMul (m, q)", opset=6, ir_version=8)
    assert serialised(bnfold.fold(model).model) == serialised(model)


NO_SITES = {
    "a_rank_that_is_not_known": "u = other.op (h) m = Mul (u, c) y = Tanh (m)",
    "one_operand": "k = Mul (h, e) m = Add (k) y = Tanh (m)",
    "three_operands": "m = Mul (h, c, d) y = Tanh (m)",
    "an_operand_that_is_absent": 'k = Mul (h, e) m = Mul (k, "") y = Tanh (m)',
}


@pytest.mark.parametrize("name", NO_SITES)
def test_leaves_alone(name) -> None:
    model = row_of(NO_SITES[name])
    assert serialised(bnfold.fold(model).model) == serialised(model)


@pytest.mark.parametrize(("call", "goes"), [("Add (m, e)", False), ("Sub (e, m)", False), ("Mul (e, m)", True)])
def test_what_is_added_behind_a_product_is_its_bias(call, goes) -> None:
    """A runtime computes the two at once: neither a Gemm in their place nor a bias further on is better."""
    text = f"""
        g (float[N,4] x, float[4,3] w, float[3] e, float[3,5] v) => (float[N,5] y) {{
            m = MatMul (x, w)
            a = {call}
            y = MatMul (a, v)
        }}
    """
    model = example(text)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == (["MatMul", "MatMul"] if goes else op_types(model))


# name: (the call that writes y, part of the reason)
KEPT = {
    "asked_to_stay": ("BatchNormalization (h, scale, bias, mean, var)", "asked to stay"),
    "in_training": ("BatchNormalization <training_mode = 1> (h, scale, bias, mean, var)", "training mode"),
    "a_scale_computed_at_run_time": ("BatchNormalization (h, r, bias, mean, var)", "its scale 'r' is"),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_batch_norm_that_is_no_affine_says_why(name) -> None:
    call, reason = KEPT[name]
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {{
            h = Conv (x, w)
            t = ReduceMax <keepdims = 0> (x)
            r = Mul (scale, t)
            y = {call}
        }}
    """)
    result = bnfold.fold(model, keep=["y"] if name == "asked_to_stay" else [])
    assert reason in result.kept[0].reason
    assert serialised(result.model) == serialised(model)


def test_a_rank_that_is_not_known_keeps_only_the_batch_norm_that_reads_it() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y, float[N,3,5] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            u = other.op (x)
            n = BatchNormalization (u, scale, bias, mean, var)
            z = other.op (n)
        }
    """)
    result = bnfold.fold(model)
    assert [entry.node for entry in result.folded] == ["y"]
    assert "the number of axes of its input 'u' is not known" in result.kept[0].reason
    assert affines(result.model) == 1


# (shape of the constant, whether it is an affine that a Conv in front can take in)
SHAPES = [
    ("", True),
    ("1", True),
    ("1,1,1", True),
    ("3,1,1", True),
    ("1,3,1,1", True),
    ("1,1,1,1", True),
    ("3", False),
    ("4,1", False),
    ("3,4,3", False),
    ("1,1,3,1,1", False),
    ("1,3,1,1,1", False),
]
CALLS = ["Mul (h, k)", "Mul (k, h)", "Add (h, k)", "Add (k, h)", "Sub (h, k)", "Sub (k, h)", "Div (h, k)", "Div (k, h)"]


@pytest.mark.parametrize("opset", [7, 13, 22])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("shape", "goes"), SHAPES)
def test_constants_of_every_shape(shape, goes, call, opset) -> None:
    out = "float[A,N,3,4,3]" if shape.count(",") == 4 else "float[N,3,4,3]"
    model = example(
        f"""
        g (float[N,2,4,3] x, float[3,2,1,1] w, float[{shape}] k) => ({out} y) {{
            h = Conv (x, w)
            m = {call}
            y = Tanh (m)
        }}
        """,
        opset=opset,
    )
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    goes = goes and call != "Div (k, h)"
    assert op_types(result.model) == (["Conv", "Tanh"] if goes else op_types(model))


@pytest.mark.parametrize("call", ["Mul (t, k)", "Add (k, t)", "Sub (k, t)", "Div (t, k)"])
def test_channels_that_are_last_behind_a_transpose(call) -> None:
    model = example(f"""
        g (float[N,2,4,3] x, float[3,2,1,1] w, float[3] k) => (float[N,4,3,3] y) {{
            h = Conv (x, w)
            t = Transpose <perm = [0,2,3,1]> (h)
            m = {call}
            y = Tanh (m)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert op_types(result.model) == ["Conv", "Transpose", "Tanh"]


def test_integers_are_left_alone() -> None:
    model = example("""
        g (int64[N,3,5] x, int64[3,1] k) => (int64[N,3,5] y) {
            m = Mul (x, k)
            a = Add (m, k)
            y = Neg (a)
        }
    """)
    assert serialised(bnfold.fold(model).model) == serialised(model)


@pytest.mark.parametrize("call", ["Mul (t, one)", "Add (zero, t)", "Sub (t, zero)", "Div (t, one)"])
def test_what_changes_nothing_goes_wherever_it_stands(call) -> None:
    model = example(f"""
        g (float[N,3,5] x) => (float[N,3,5] y) {{
            one = Constant <value = double {{1.0}}> ()
            zero = Constant <value = double[3,1] {{0.0, 0.0, 0.0}}> ()
            t = Tanh (x)
            m = {call}
            y = Sigmoid (m)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [op for op in op_types(result.model) if op != "Constant"] == ["Tanh", "Sigmoid"]


def test_statistics_spelt_out() -> None:
    model = example("""
        g (float[N,2,5] x, float[3,2,1] w, float[3,1] mean, float[3,1] var, float[3,1] scale, float[3,1] bias)
                => (float[N,3,5] y) {
            h = Conv (x, w)
            centred = Sub (h, mean)
            epsilon = Constant <value = double {0.001}> ()
            spread = Add (var, epsilon)
            deviation = Sqrt (spread)
            normal = Div (centred, deviation)
            scaled = Mul (normal, scale)
            n = Add (scaled, bias)
            y = Relu (n)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [entry.op_type for entry in result.folded] == ["Sub → Div → Mul → Add"]
    assert [op for op in op_types(result.model) if op in ("Sub", "Div", "Mul", "Relu")] == ["Relu"]


def test_zero_divisors_are_left_alone() -> None:
    model = row_of("m = Div (h, d) y = Tanh (m)")
    set_constant(model, model.graph.initializers["d"], np.zeros((3, 1, 1)))
    assert serialised(bnfold.fold(model).model) == serialised(model)


def test_what_the_fold_adds_itself_is_no_affine() -> None:
    """A repair adds an image behind a Conv; here it varies along one axis only."""
    model = model_of("""
        g (float[N,3,6] x, float[1,3,3] w, BN3) => (float[N,1,6] y) {
            r = Sigmoid (x)
            n = BatchNormalization (r, scale, bias, mean, var)
            c = Conv <pads = [1,1]> (n, w)
            y = Sigmoid (c)
        }
    """)
    result = bnfold.fold(model, repairs=True)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["Sigmoid", "Conv", "Add", "Sigmoid"]
    assert not result.kept


def test_a_large_table_is_not_read_to_see_whether_it_is_an_affine() -> None:
    """It would be one only if it were the same along all axes but one; a small one is read."""
    reads = []

    def compute() -> ir.Tensor:
        reads.append(1)
        return ir.tensor(np.ones((3, 4, 1)))

    model = row_of("a = Add (h, f) y = Tanh (a)")
    model.graph.initializers["f"].const_value = ir.LazyTensor(compute, ir.DataType.DOUBLE, ir.Shape([3, 4, 1]))
    assert len(bnfold.fold(model).folded) == 1
    assert reads
    reads.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnfold.folding.sites._LARGE", 11)
        assert not bnfold.fold(model).folded
    assert not reads

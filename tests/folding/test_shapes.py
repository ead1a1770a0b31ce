"""What is known of shapes, what is not, and what must not be trusted."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold.folding.facts import Facts
from tests.helpers import oracle
from tests.helpers.models import affines, constant, model_of, parse, set_constant


def test_the_rank_of_a_constant_is_kept() -> None:
    """A bias of one axis stays one: an Add of [1, 4] to a tensor that has no other axis would change its rank."""
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    assert constant(bnfold.fold(model).model, "b").shape == (4,)


def test_a_linear_whose_length_equals_its_width_is_folded_along_the_right_axis() -> None:
    """BatchNorm1d on (N, L, C) normalises L; with L = C a fold along the last axis would fit, and be wrong."""
    model = model_of("""
        g (float[N,4,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4,4] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 1


def test_a_tensor_of_unknown_rank_blocks() -> None:
    model = model_of("""
        g (float[N,5] x, BN3) => (float[2,3,4] y) {
            u = other.Op (x)
            to = Constant <value_ints = [2, 3, 4]> ()
            r = Reshape (u, to)
            y = BatchNormalization (r, scale, bias, mean, var)
        }
    """)
    model.opset_imports["other"] = 1
    (kept,) = bnfold.fold(model).kept
    assert "touches 'u', whose number of axes is not known" in kept.reason


def test_a_batch_normalization_of_unknown_rank_stays() -> None:
    model = model_of("""
        g (float[N,5] x, BN3) => (float y) {
            u = other.Op (x)
            n = BatchNormalization (u, scale, bias, mean, var)
            y = other.Op (n)
        }
    """)
    model.opset_imports["other"] = 1
    (kept,) = bnfold.fold(model).kept
    assert "the number of axes of its input 'u' is not known" in kept.reason


def test_shapes_behind_an_op_that_nobody_knows_are_read_off_the_weights() -> None:
    model = model_of("""
        g (float[N,5] x, float[3,2,3] w, float[3,4,2] v, BN3) => (float y) {
            u = other.Op (x)
            h = Conv (u, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            r = Relu (n)
            m = BatchNormalization (r, scale, bias, mean, var)
            t = ConvTranspose (m, v)
            y = other.Op (t)
        }
    """)
    model.opset_imports["other"] = 1
    result = bnfold.fold(model)
    assert [entry.node for entry in result.folded] == ["n"]
    assert "Relu 'r' carries no shift" in result.kept[0].reason


def test_a_shape_that_the_caller_may_replace_is_not_trusted() -> None:
    model = model_of(
        """
        g (float[1,2,6] x, float[2,2,1] w, BN2) => (float[A,B,C] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            r = Reshape (n, to)
            y = Conv (r, w)
        }
    """.replace("float[2,2,1] w", "int64[3] to, float[2,2,1] w")
    )
    value = next(node for node in model.graph if node.op_type == "Reshape").inputs[1]
    set_constant(model, value, np.array([1, 2, 6]))
    assert not bnfold.fold(model).kept
    model.graph.inputs.append(value)
    assert bnfold.fold(model).kept


def test_one_unknown_size_follows_from_the_others() -> None:
    """What TorchScript makes of ``x.view(x.size(0), -1)``."""
    model = model_of("""
        g (float[N,3,2,2] x, float[12,4] w, BN3) => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            size = Shape <start = 0, end = 1> (x)
            rest = Constant <value_ints = [-1]> ()
            to = Concat <axis = 0> (size, rest)
            f = Reshape (n, to)
            y = Gemm (f, w)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("shape", ["N,0,5", "N,3,0"])
def test_sizes_of_zero_are_no_bug(shape) -> None:
    size = int(shape.split(",")[1])
    model = model_of(f"""
        g (float[{shape}] x, float[{size * int(shape.split(",")[2])},4] w, float[{size}] scale, float[{size}] bias,
           float[{size}] mean, float[{size}] var) => (float[N,4] y) {{
            n = BatchNormalization (x, scale, bias, mean, var)
            f = Flatten (n)
            y = Gemm (f, w)
        }}
    """)
    bnfold.fold(model)


def test_axes_of_unknown_size_are_not_taken_for_equal() -> None:
    from bnfold.folding.ops.reshape import _Group, _groups

    assert _groups((None, 6, None), (None, 3, None)) == [_Group((None, 6, None), (None, 3, None))]
    assert _groups(("N", 6, "L"), ("N", 2, 3, "L"))[1] == _Group((6,), (2, 3))


def test_who_reads_the_shape_of_a_constant_sees_no_other_shape() -> None:
    model = model_of("""
        g (float[N,5] x, float[5,4] w, float[1] c, BN4) => (float[N,4] y, int64[1] s) {
            h = Gemm (x, w, c)
            s = Shape (c)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_a_vector_has_no_channel_axis() -> None:
    model = model_of("g (float[1] x, BN1) => (float[1] y) { y = BatchNormalization (x, scale, bias, mean, var) }")
    assert "is below 2" in bnfold.fold(model).kept[0].reason


def test_a_body_reads_its_sizes_from_the_graph_around_it() -> None:
    """ONNX's own inference does not look there."""
    model = model_of("""
        g (float[N,6,4] x, float[3,4,1] w, BN3) => (float[N,3,M] y) {
            shape = Constant <value_ints = [-1, 4, 3, 2]> ()
            axes = Constant <value_ints = [3]> ()
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (float[N,3,M] u) {
                    r = Reshape (x, shape)
                    m = ReduceL2 <keepdims = 0> (r, axes)
                    s = Sum (m, m)
                    c = Conv (s, w)
                    t = Sum (c, c)
                    n = BatchNormalization (t, scale, bias, mean, var)
                    u = Tanh (n)
                },
                else_branch = b () => (float[N,3,M] v) { v = RandomNormal <shape = [1,3,3], dtype = 11> () }
            >
        }
    """)
    body, _ = model.graph.subgraphs()
    shapes = Facts(model).shapes
    assert [shapes[node.outputs[0]][1:] for node in body][:3] == [(4, 3, 2), (4, 3), (4, 3)]


# name: (what the exporter writes, around an Add of a shortcut and of a Conv with more channels or a larger size)
COMPUTED_LISTS = {
    "pads_as_torch_orders_them": """
        last_axis_first = Constant <value_ints = [0, 0, 0, 1]> ()
        length = Shape (last_axis_first)
        two_each = Constant <value_ints = [6]> ()
        missing = Sub (two_each, length)
        zeros = ConstantOfShape <value = int64[1] {0}> (missing)
        all = Concat <axis = 0> (last_axis_first, zeros)
        pairs = Constant <value_ints = [-1, 2]> ()
        table = Reshape (all, pairs)
        from = Constant <value_ints = [-1]> ()
        to = Constant <value_ints = [-9223372036854775807]> ()
        axis = Constant <value_ints = [0]> ()
        reversed = Slice (table, from, to, axis, from)
        turned = Transpose <perm = [1,0]> (reversed)
        flat = Constant <value_ints = [-1]> ()
        pads = Reshape (turned, flat)
        s = Pad (h, pads)
        a = Conv (x, w4)
    """,
    "scales_of_a_resize": """
        one = Constant <value_floats = [1.0, 1.0]> ()
        two = Constant <value_floats = [1.0]> ()
        scales = Concat <axis = 0> (one, two)
        s0 = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric"> (h, , scales)
        pads = Constant <value_ints = [0, 0, 0, 0, 1, 0]> ()
        s = Pad (s0, pads)
        a = Conv (x, w4)
    """,
}


@pytest.mark.parametrize("name", COMPUTED_LISTS)
def test_lists_that_are_computed_from_constants_count(name) -> None:
    """Without the shape of the shortcut nobody knows along which axes the Add broadcasts it."""
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,1] w3, float[4,2,1] w4, BN4) => (float[N,4,5] y) {{
            h = Conv (x, w3)
            {COMPUTED_LISTS[name]}
            t = Add (a, s)
            y = BatchNormalization (t, scale, bias, mean, var)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


@pytest.mark.parametrize("ends", ["start = 1, end = 2", "start = -2, end = -1"])
def test_the_number_of_channels_is_a_constant_whatever_the_batch(ends) -> None:
    """How torch writes a BatchNormalization without parameters of its own (affine=False)."""
    model = model_of(f"""
        g (float[N,2,5] x, float[3,2,1] w, float[3] mean, float[3] var) => (float[N,3,5] y)
        <float[N,3,5] h> {{
            h = Conv (x, w)
            channels = Shape <{ends}> (h)
            one = Constant <value_floats = [1.0]> ()
            one_like = CastLike (one, h)
            scale = Expand (one_like, channels)
            zero = Constant <value_floats = [0.0]> ()
            zero_like = CastLike (zero, h)
            bias = Expand (zero_like, channels)
            y = BatchNormalization (h, scale, bias, mean, var)
        }}
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_means_say_how_many_channels_there_are_where_every_axis_is_open() -> None:
    model = model_of("""
        g (float[N,C,L] x, float[3] mean, float[3] var, float[2,3,1] w) => (float[N,2,L] y) {
            channels = Shape <start = 1, end = 2> (x)
            one = Constant <value_floats = [1.0]> ()
            one_like = CastLike (one, x)
            scale = Expand (one_like, channels)
            zero = Constant <value_floats = [0.0]> ()
            zero_like = CastLike (zero, x)
            bias = Expand (zero_like, channels)
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv (n, w)
        }
    """)
    result = bnfold.fold(model)
    assert not result.kept
    assert len(result.model.graph) == 1


def test_the_size_of_the_batch_is_no_constant() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[1] scale, float[3] bias, float[3] mean, float[3] var) => (float[N,3,5] y) {
            batch = Shape <end = 1> (x)
            e = Expand (scale, batch)
            y = BatchNormalization (x, e, bias, mean, var)
        }
    """)
    assert "its scale 'e' is computed at run time" in bnfold.fold(model).kept[0].reason


def test_shapes_are_inferred_without_the_weights() -> None:
    """Of a large constant only the type and the shape are read, wherever it stands; of a short list, the numbers."""
    from bnfold.folding.facts import Facts

    model = parse("""
        g (float[N,2,5] x, bool condition) => (y) {
            f = local.f (x)
            y = If (condition) <
                then_branch = a () => (u) { u = Conv (f, f) },
                else_branch = b () => (w) { w = Tanh (f) }
            >
        }
        <domain: "local", opset_import: ["": 20]>
        f (x) => (y) {
            w = Constant <value = float[1] {1.0}> ()
            to = Constant <value = int64[3] {0, 4, -1}> ()
            h = Conv (x, w)
            y = Reshape (h, to)
        }
    """)
    (function,) = model.functions.values()
    large = ir.tensor(np.zeros((64, 2, 1), np.float32))
    next(node for node in function if node.outputs[0].name == "w").attributes["value"] = ir.AttrTensor("value", large)
    body = next(graph for graph in model.graph.subgraphs() if graph.name == "a")
    (conv,) = body
    weight = ir.Value(name="v", const_value=ir.tensor(np.zeros((64, 4, 1), np.float32)))
    body.register_initializer(weight)
    conv.replace_input_with(1, weight)
    shapes = Facts(model).shapes
    assert shapes[function.outputs[0]] == ("N", 4, 80)
    assert shapes[function.graph.node(2).outputs[0]] == ("N", 64, 5)
    assert shapes[conv.outputs[0]][:2] == ("N", 64)


def test_two_tensors_of_one_name_are_not_mixed_up() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    next(iter(model.graph)).outputs[0].name = "x"
    with pytest.raises(bnfold.ModelError, match="two tensors of one graph have the name 'x'"):
        bnfold.fold(model)


def test_nothing_is_inferred_where_there_is_nothing_to_fold(monkeypatch) -> None:
    from bnfold.folding import facts

    monkeypatch.setattr(facts, "Shapes", None)
    model = model_of("g (float[N,2,5] x, float[3,2,1] w) => (float[N,3,5] y) { h = Conv (x, w) y = Add (h, h) }")
    assert not bnfold.fold(model, keep=["y"]).kept
    with pytest.raises(bnfold.BnfoldError, match="no node has such a name"):
        bnfold.fold(model, keep=["z"])


def test_channels_are_split_whatever_the_sizes_behind_them() -> None:
    """A channel shuffle that flattens height and width, both of them dynamic."""
    model = model_of("""
        g (float[N,4,H,W] x, float[4,4,1,1] w, BN4) => (float[N,4,P,1] y) {
            h = Conv (x, w)
            apart = Constant <value_ints = [0, 2, 2, -1]> ()
            a = Reshape (h, apart)
            b = Transpose <perm = [0,2,1,3]> (a)
            together = Constant <value_ints = [0, 4, -1, 1]> ()
            c = Reshape (b, together)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert not result.kept


def test_the_shape_of_a_tensor_is_a_constant_wherever_it_can_be_inferred() -> None:
    """It must be one from the start: what a fold leaves has shapes stated, and would fold once more."""
    model = model_of("""
        g (float[2,3] x, float[3] s, float[3,3] w) => (float[2,3] y) {
            h = Mul (x, s)
            size = Shape (h)
            zeros = ConstantOfShape (size)
            none = CastLike (zeros, h)
            m = MatMul (h, w)
            r = Relu (m)
            a = Add (r, none)
            y = Softmax (a)
        }
    """)
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.type = value.shape = None
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [node.op_type for node in result.model.graph] == ["MatMul", "Relu", "Softmax"]
    assert not bnfold.fold(result.model).folded


def test_what_is_computed_from_an_inferred_shape_is_a_constant_and_no_affine() -> None:
    """The scale of an attention, 1/√(head size): found to be one before anything is planned."""
    model = model_of("""
        g (float[2,3] x, float[3,4] w, float factor, float[4] scale) => (float[2,4] y) {
            m = MatMul (x, w)
            size = Shape <start = 1, end = 2> (m)
            number = CastLike (size, m)
            root = Sqrt (number)
            more = Mul (root, factor)
            scaled = Div (m, more)
            n = Mul (scaled, scale)
            y = Tanh (n)
        }
    """)
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.type = value.shape = None
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert [entry.node for entry in result.folded] == ["scaled → n"]
    assert [node.op_type for node in result.model.graph] == ["MatMul", "Tanh"]

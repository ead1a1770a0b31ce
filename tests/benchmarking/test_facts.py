"""What can be said of a model without running it."""

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.benchmarking import benchmark
from bnfold.benchmarking.facts import facts
from bnfold.benchmarking.work import work
from bnfold.runtime.sources import opened
from tests.helpers.models import model_of
from tests.verifying.networks import random_network


def model(text, **options):
    return model_of(text, **{"dtype": "float", "opset": 17, "ir_version": 8} | options)


def fed(*shape):
    return {"x": np.zeros(shape, np.float32)}


CONV = """g (float[N, 3, H, W] x, float[8, 3, 3, 3] w, BN8) => (float[N, 8, A, B] y) {
    c = Conv(x, w)
    y = BatchNormalization(c, scale, bias, mean, var)
}"""


def test_a_batch_norm_costs_two_operations_an_element_and_a_pass_over_the_tensor():
    for batch in (1, 5):
        result = work(model(CONV), fed(batch, 3, 10, 10))
        elements = batch * 8 * 8 * 8
        assert result.inputs == (f"x {batch}×3×10×10",)
        assert result.operations == 2 * elements * 27
        assert (result.affines, result.unknown) == (1, 0)
        assert result.affine_operations == 2 * elements
        assert result.affine_bytes == (2 * elements + 4 * 8) * 4


@pytest.mark.parametrize(("nodes", "affines"), [
    ("y = Mul(x, k)", 1),
    ("y = Sub(k, x)", 1),
    ("y = Mul(x, x)", 0),
    ("a = Mul(k, k) y = Sub(x, a)", 1),  # the first is a constant expression
    ("a = MatMul(x, w) y = Add(a, k)", 1),  # the bias that a fold leaves counts, as what it replaced did
    ("y = local.Mul(x, k)", 0),
])  # fmt: skip
def test_what_is_added_or_multiplied_by_a_constant_counts(nodes, affines):
    text = f"g (float[N, 4] x, float[4] k, float[4, 4] w) => (float[N, 4] y) {{ {nodes} }}"
    result = work(model(text), fed(3, 4))
    assert result.affines == affines
    assert result.affine_operations == 12 * affines
    assert result.affine_bytes == (12 + 12 + 4) * 4 * affines


def test_half_as_wide_numbers_are_half_the_bytes():
    text = "g (float[N, 4] x, float[4] k) => (float[N, 4] y) { y = Mul(x, k) }"
    assert work(model(text, dtype="float16"), fed(3, 4)).affine_bytes == (12 + 12 + 4) * 2


def test_a_function_counts_once_a_call():
    text = """g (float[N, 4] x, BN4) => (float[N, 4] y) {
        a = local.f(x, scale, bias, mean, var)
        y = local.f(a, scale, bias, mean, var)
    }
    <domain: "local", opset_import: ["": 17]>
    f (x, s, b, m, v) => (y) { r = Sigmoid(x) y = BatchNormalization(r, s, b, m, v) }"""
    assert work(model(text), fed(3, 4)).affine_operations == 2 * 2 * 12


def test_what_has_no_known_shape_is_counted_apart():
    text = """g (float[N, 4] x, float[4] k) => (float[M, 4] y) {
        n = NonZero(x)
        t = Transpose(n)
        f = Cast<to = 1>(t)
        s = ReduceSum<keepdims = 0>(f)
        m = Mul(f, s)
        y = Mul(m, k)
    }"""
    result = work(model(text), fed(3, 4))
    assert (result.affines, result.unknown, result.affine_operations) == (0, 1, 0.0)


def test_the_model_is_left_as_it_is():
    given = model(CONV)
    before = ir.to_proto(given).SerializeToString(deterministic=True)
    work(given, fed(2, 3, 10, 10))
    assert ir.to_proto(given).SerializeToString(deterministic=True) == before


def test_nodes_are_counted_by_type_in_bodies_and_functions_too(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 4] y) {
        c = Constant<value = bool {1}>()
        a = If(c) <
            then_branch = one () => (float[N, 4] q) { q = Relu(x) },
            else_branch = two () => (float[N, 4] q) { q = local.f(x) }
        >
        y = local.f(a)
    }
    <domain: "local", opset_import: ["": 17]>
    f (x) => (y) { y = Relu(x) }"""
    found = facts(opened(model(text), tmp_path / "a.onnx"), [])
    assert found.op_types == {"Constant": 1, "If": 1, "Relu": 2, "local.f": 2}
    assert found.nodes == 6
    assert found.work == ()


def test_a_benchmark_has_the_work_of_both_at_the_batch_that_was_timed():
    network = random_network(5, operator="Conv", layers=2, widths=(4, 8), batch="N")
    result = benchmark(network.reference(), network.folded(), levels=["disabled"], pairs=2, batches=[3])
    (reference,), (candidate,) = result.reference.work, result.candidate.work
    assert reference.inputs == result.cells[0].inputs == ("x 3×7×6×6",)
    assert reference.operations == candidate.operations > 0
    assert (reference.affines, candidate.affines) == (2, 0)
    assert result.reference.op_types["BatchNormalization"] == 2
    assert sum(result.reference.op_types.values()) == result.reference.nodes

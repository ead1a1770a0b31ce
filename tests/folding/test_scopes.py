"""Functions, bodies of control flow, and what their callers may set."""

from __future__ import annotations

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, model_of, parse


def test_a_new_constant_in_a_body_before_ir_version_4() -> None:
    """Every initializer must be listed as an input there, and a body has no inputs of its own."""
    from tests.folding.ops.test_contract import in_a_branch

    model = model_of(
        """
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y, float[N,3,3] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Conv (x, w)
        }
        """,
        opset=9,
        ir_version=3,
    )
    folded = bnfold.fold(in_a_branch(model)).model
    assert affines(folded) == 0
    assert {name for graph in folded.graph.subgraphs() for name in graph.initializers} == set()


def test_a_body_that_only_normalises_a_tensor_of_the_outer_graph() -> None:
    """The Conv outside takes it in; the output of the body must still be written inside it."""
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            t = Identity (h)
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (double[N,3,3] u) { u = BatchNormalization (t, scale, bias, mean, var) },
                else_branch = b () => (double[N,3,3] v) { v = BatchNormalization (t, scale, bias, mean, var) }
            >
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (double[N,3,3] u) { u = BatchNormalization (h, scale, bias, mean, var) },
                else_branch = b () => (double[N,3,3] v) { v = RandomNormal <shape = [1,3,3], dtype = 11> () }
            >
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    (body, _) = result.model.graph.subgraphs()
    assert [node.op_type for node in body] == ["Identity"]


def test_new_constants_in_a_body_of_a_function_are_nodes() -> None:
    model = parse("""
        g (double[N,2,5] x) => (double[N,2,5] y, double[N,2,5] z) { y, z = local.f (x) }
        <domain: "local", opset_import: ["": 20]>
        f (x) => (y, z) {
            w = Constant <value = double[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            p = Constant <value = double[2] {1.0, 2.0}> ()
            condition = Constant <value = bool {1}> ()
            y = If (condition) <
                then_branch = a () => (u) { h = Conv (x, w)  u = BatchNormalization (h, p, p, p, p) },
                else_branch = b () => (v) { v = Identity (x) }
            >
            z = Conv (x, w)
        }
    """)
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model)
    assert affines(result.model) == 0
    (function,) = result.model.functions.values()
    assert not any(graph.initializers for graph in function.subgraphs())


def test_a_default_that_only_lends_its_shape_stays_an_input() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3] d, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            k = Shape (d)
            zero = Constant <value = double {0.0}> ()
            b = Expand (zero, k)
            h = Conv (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    model.graph.inputs.append(model.graph.initializers["d"])
    result = bnfold.fold(model)
    assert not result.kept
    assert "d" in result.model.graph.initializers
    assert [value.name for value in result.model.graph.inputs] == ["x", "d"]


def test_the_long_name_of_the_standard_domain_is_the_standard_domain() -> None:
    model = model_of("""
        g (float[N,2,5] x, float[3,2,3] w, BN3) => (float[N,3,3] y) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """)
    del model.opset_imports[""]
    model.opset_imports["ai.onnx"] = 20
    assert not bnfold.fold(model).kept

"""Functions whose weights come from their callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bnfold
from tests.folding.ops.test_contract import EXAMPLES, remaining
from tests.folding.test_random_graphs import random_model
from tests.helpers import oracle
from tests.helpers.models import affines, constant, example, model_of, parse, serialised

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = """
    <domain: "local", opset_import: ["": 20]>
    block (x, w, b, scale, bias, mean, var) => (y) {
        c = Conv (x, w, b)
        n = BatchNormalization (c, scale, bias, mean, var)
        y = Relu (n)
    }
"""
WEIGHTS = "float[3,3,1] w, float[3,3,1] w2, float[3] b, float[3] b2"


def fold_checked(model: ir.Model, *, left: int = 0, **options: object) -> bnfold.FoldResult:
    """Fold, and require that nothing but the weights has changed, and that what is left is accounted for."""
    before = serialised(model)
    result = bnfold.fold(model, **options)
    assert serialised(model) == before
    assert affines(result.model) == len(result.kept) == left
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    oracle.assert_equal(model, result.model)
    assert serialised(bnfold.fold(result.model, **options).model) == serialised(result.model)
    return result


def functions(result: bnfold.FoldResult) -> dict[str, list[str]]:
    """The inputs of each function."""
    return {function.name: [v.name for v in function.inputs] for function in result.model.functions.values()}


def calls(model: ir.Model) -> list[tuple[str, list[str]]]:
    nodes = (node for node in model.graph.all_nodes() if node.domain == "local")
    return [(node.op_type, [value.name if value is not None else "" for value in node.inputs]) for node in nodes]


def test_a_function_that_is_called_for_two_layers_is_one_function_afterwards() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, {WEIGHTS}, float[3] var2, BN3) => (float[N,3,5] y) {{
            h = local.block (x, w, b, scale, bias, mean, var)
            y = local.block (h, w2, b2, scale, bias, mean, var2)
        }}
        {BLOCK}
    """)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "w", "b"]}
    assert calls(result.model) == [("block", ["x", "w", "b"]), ("block", ["h", "w2", "b2"])]
    assert list(result.model.graph.initializers) == ["w", "w2", "b", "b2"]
    assert [entry.node for entry in result.folded] == ["h/n", "y/n"]
    assert [entry.into[0].node for entry in result.folded] == ["h/c", "y/c"]
    assert [entry.into[0].constants for entry in result.folded] == [("w", "b"), ("w2", "b2")]


def test_calls_that_agree_share_their_weights_afterwards() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y) {{
            h = local.block (x, w, b, scale, bias, mean, var)
            y = local.block (h, w, b, scale, bias, mean, var)
        }}
        {BLOCK}
    """)
    result = fold_checked(model)
    assert calls(result.model) == [("block", ["x", "w", "b"]), ("block", ["h", "w", "b"])]
    assert list(result.model.graph.initializers) == ["w", "b"]
    assert len(result.folded) == 1


def test_weights_that_are_used_with_different_normalizations() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, float[3] scale2, BN3) => (float[N,3,5] y) {{
            h = local.block (x, w, b, scale, bias, mean, var)
            y = local.block (h, w, b, scale2, bias, mean, var)
        }}
        {BLOCK}
    """)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "w", "b"]}
    assert set(result.model.graph.initializers) == {"w", "b", "w_1", "b_1"}


def test_a_weight_that_the_graph_around_the_call_reads_as_well() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y, float[3,3,1] z) {{
            c = Conv (x, w)
            h = BatchNormalization (c, scale, bias, mean, var)
            y = local.block (h, w, b, scale, bias, mean, var)
            z = Identity (w)
        }}
        {BLOCK}
    """)
    result = fold_checked(model)
    assert (constant(result.model, "w") == constant(model, "w")).all()


def test_a_weight_that_is_also_a_graph_output() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y) {{
            y = local.block (x, w, b, scale, bias, mean, var)
        }}
        {BLOCK}
    """)
    model.graph.outputs.append(model.graph.initializers["w"])
    result = fold_checked(model)
    assert (constant(result.model, "w") == constant(model, "w")).all()


def test_a_bias_that_was_not_there_becomes_an_argument() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, BN3) => (float[N,3,5] y) {
            h = local.block (x, w, scale, bias, mean, var)
            y = local.block (h, w2, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, w, scale, bias, mean, var) => (y) {
            c = Conv (x, w)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "w", "c.bias"]}
    assert list(result.model.graph.initializers) == ["w", "w2", "h.c.bias", "y.c.bias"]


def test_a_weight_inside_the_function_that_each_call_needs_in_its_own_form() -> None:
    model = model_of("""
        g (float[N,1,5] x, float[2] scale2, BN2) => (float[N,2,5] y, float[N,2,5] z) {
            y = local.block (x, scale, bias, mean, var)
            z = local.block (x, scale2, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, scale, bias, mean, var) => (y) {
            w = Constant <value = double[2,1,1] {1.0, -2.0}> ()
            c = Conv (x, w)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "w", "c.bias"]}


def test_a_call_that_hands_in_what_is_known_at_run_time_only() -> None:
    """It keeps the function as it is; the others get one of another name, which must be a new one."""
    model = model_of(f"""
        g (float[N,3,5] x, {WEIGHTS}, BN3) => (float[N,3,5] y) {{
            v = local.block_1 (b)
            h = local.block (x, w, v, scale, bias, mean, var)
            k = local.block (h, w, b, scale, bias, mean, b2)
            y = local.block (k, w2, b2, scale, bias, v, var)
        }}
        {BLOCK}
        <domain: "local", opset_import: ["": 20]>
        block_1 (x) => (y) {{ y = Abs (x) }}
    """)
    set_positive(model, "b2")
    result = fold_checked(model, left=1)
    assert [name for name, _ in calls(result.model)] == ["block_1", "block", "block_3", "block"]
    assert [kept.reason for kept in result.kept] == ["its scale 'scale' is an input of the function 'block'"]
    assert functions(result)["block"] == ["x", "w", "b", "scale", "bias", "mean", "var"]
    assert [entry.node for entry in result.folded] == ["k/n"]


def set_positive(model: ir.Model, name: str) -> None:
    value = model.graph.initializers[name]
    value.const_value = ir.tensor(np.abs(value.const_value.numpy()) + 0.1, name=name)


def test_a_weight_that_the_caller_of_the_model_may_replace_is_none() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y) {{
            y = local.block (x, w, b, scale, bias, mean, var)
        }}
        {BLOCK}
    """)
    model.graph.inputs.append(model.graph.initializers["w"])
    before = serialised(model)
    result = fold_checked(model, left=1)
    assert serialised(result.model) == before


def test_a_reason_inside_a_function_names_the_function_that_the_file_has() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {
            y = local.block (x, w, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, w, scale, bias, mean, var) => (y) {
            c = Conv (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            t = Tanh (n)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
    """)
    (kept,) = fold_checked(model, left=1).kept
    assert kept.node == "y/y"
    assert "would change 'y', which is an output of the function 'block'" in kept.reason


NEVER = """
    <domain: "local", opset_import: ["": 20]>
    block (x, scale, bias, mean, var) => (y) {
        t = Tanh (x)
        n = BatchNormalization <epsilon: float = @e> (t, scale, bias, mean, var)
        y = Tanh (n)
    }
"""


def test_where_nothing_folds_nothing_changes(tmp_path: Path) -> None:
    text = NEVER.replace("block (x", "block <e> (x")
    model = model_of(f"""
        g (float[N,3,5] x, float[3] unused, BN3) => (float[N,3,5] y) {{
            h = local.block <e = 0.1> (x, scale, bias, mean, var)
            y = local.block <e = 0.2> (h, scale, bias, mean, var)
        }}
        {text}
    """)
    result = fold_checked(model, left=1)
    assert serialised(result.model) == serialised(model)
    assert [kept.node for kept in result.kept] == ["n"]
    (tmp_path / "model.onnx").write_bytes(serialised(model))
    result = bnfold.fold(tmp_path / "model.onnx")
    result.save(tmp_path / "folded.onnx")
    assert (tmp_path / "folded.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_one_call_folds_and_the_other_one_cannot() -> None:
    """A shift in front of a padded Conv stays; a scale goes."""
    model = model_of("""
        g (float[N,3,5] x, float[3,3,3] w, float[3] zero_bias, float[3] zero_mean, BN3) => (float[N,3,5] y) {
            h = local.block (x, w, scale, bias, mean, var)
            y = local.block (h, w, scale, zero_bias, zero_mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, w, scale, bias, mean, var) => (y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv <pads = [1, 1]> (n, w)
        }
    """)
    result = fold_checked(model, left=1)
    assert functions(result) == {"block": ["x", "w", "scale", "bias", "mean", "var"], "block_2": ["x", "w"]}
    assert [entry.node for entry in result.folded] == ["y/n"]
    assert [kept.node for kept in result.kept] == ["n"]


def test_functions_that_call_functions() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[3,3,1] w, float[3,3,1] w2, float[3,3,1] w3, float[3,3,1] w4, BN3) => (float[N,3,5] y) {
            h = local.stage (x, w, w2, scale, bias, mean, var)
            y = local.stage (h, w3, w4, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20, "local": 1]>
        stage (x, v, w, scale, bias, mean, var) => (y) {
            a = local.layer (x, v, scale, bias, mean, var)
            b = local.layer (a, w, scale, bias, mean, var)
            y = Add (a, b)
        }
        <domain: "local", opset_import: ["": 20]>
        layer (x, w, scale, bias, mean, var) => (y) {
            c = Conv (x, w)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Relu (n)
        }
    """)
    result = fold_checked(model)
    assert functions(result)["layer"] == ["x", "w", "c.bias"]
    assert functions(result)["stage"][:3] == ["x", "v", "w"]
    assert list(functions(result)) == ["stage", "layer"]
    assert len(functions(result)["stage"]) == 5
    assert [entry.node for entry in result.folded] == ["h/a/n", "h/b/n", "y/a/n", "y/b/n"]
    assert list(result.model.graph.initializers)[:4] == ["w", "w2", "w3", "w4"]
    constants = {name for entry in result.folded for absorption in entry.into for name in absorption.constants}
    assert constants == set(result.model.graph.initializers)


def test_a_function_with_weights_of_its_own_that_calls_one() -> None:
    model = model_of("""
        g (float[N,2,5] x) => (float[N,2,5] y) { y = local.outer (x) }
        <domain: "local", opset_import: ["": 20, "local": 1]>
        outer (x) => (y) {
            w = Constant <value = double[2,2,1] {1.0, 2.0, 3.0, 4.0}> ()
            p = Constant <value = double[2] {1.0, 2.0}> ()
            h = local.layer (x, w, p)
            y = local.layer (h, w, p)
        }
        <domain: "local", opset_import: ["": 20]>
        layer (x, w, p) => (y) {
            c = Conv (x, w)
            y = BatchNormalization (c, p, p, p, p)
        }
    """)
    result = fold_checked(model)
    assert functions(result) == {"outer": ["x"], "layer": ["x", "w", "c.bias"]}
    (outer,) = (function for function in result.model.functions.values() if function.name == "outer")
    assert [node.op_type for node in outer].count("Constant") == 4  # the two calls have constants of their own


ATTRIBUTES = """
    <domain: "local", opset_import: ["": 20]>
    block <e, g, s: float = 0.5> (x, w, scale, bias, mean, var) => (y) {
        c = Conv <group: int = @g> (x, w)
        n = BatchNormalization <epsilon: float = @e> (c, scale, bias, mean, var)
        y = LeakyRelu <alpha: float = @s> (n)
    }
"""


def test_attributes_of_the_caller() -> None:
    """What the fold leaves of them, the caller still sets; that epsilon differs makes no difference any more."""
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {{
            h = local.block <e = 0.1, g = 1> (x, w, scale, bias, mean, var)
            k = local.block <g = 1, s = 0.2> (h, w, scale, bias, mean, var)
            y = local.block <e = 0.3, g = 1, s = 0.1> (k, w, scale, bias, mean, var)
        }}
        {ATTRIBUTES}
    """)
    result = fold_checked(model)
    (function,) = result.model.functions.values()
    assert set(function.attributes) == {"g", "s"}
    assert [{a.ref_attr_name for a in node.attributes.values()} for node in function] == [{"g"}, {"s"}]
    assert [set(node.attributes) for node in result.model.graph] == [{"g"}, {"g", "s"}, {"g", "s"}]
    assert len(result.model.graph.initializers) == 6


def test_an_attribute_that_a_function_hands_on() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, BN3) => (float[N,3,5] y) {{
            y = local.outer <f = 0.1> (x, w, scale, bias, mean, var)
        }}
        <domain: "local", opset_import: ["": 20, "local": 1]>
        outer <f> (x, w, scale, bias, mean, var) => (y) {{
            y = local.block <e: float = @f, g = 1> (x, w, scale, bias, mean, var)
        }}
        {ATTRIBUTES}
    """)
    result = fold_checked(model)
    assert [set(function.attributes) for function in result.model.functions.values()] == [set(), {"g", "s"}]


def test_a_constant_that_the_caller_of_a_function_sets() -> None:
    model = parse("""
        g (double[N,2,5] x) => (double[N,1,5] y) { y = local.f <v = [1.0, 2.0]> (x) }
        <domain: "local", opset_import: ["": 20]>
        f <v> (x) => (y) {
            q = Constant <value_floats: floats = @v> ()
            p = Cast <to = 11> (q)
            w = Constant <value = double[1,2,1] {1.0, 2.0}> ()
            n = BatchNormalization (x, p, p, p, p)
            y = Conv (n, w)
        }
    """)
    assert len(bnfold.fold(model).folded) == 1
    fold_checked(model)


def test_inside_bodies() -> None:
    """Calls in the branches of an If and in a Loop, one of them with an initializer of the body itself."""
    model = model_of(f"""
        g (float[N,3,5] x, float[1] t, {WEIGHTS}, BN3) => (float[N,3,5] y, float[2,N,3,5] z) {{
            m = ReduceMean <keepdims = 0> (x)
            condition = Greater (m, t)
            y = If (condition) <
                then_branch = a () => (float[N,3,5] u) {{ u = local.block (x, w, b, scale, bias, mean, var) }},
                else_branch = c () => (float[N,3,5] v) {{ v = local.block (x, w2, b2, scale, bias, mean, var) }}
            >
            times = Constant <value_int = 2> ()
            z = Loop (times, "") <
                body = d (int64 i, bool going) => (bool again, float[N,3,5] p) {{
                    again = Identity (going)
                    p = local.block (x, w, b, scale, bias, mean, var)
                }}
            >
        }}
        {BLOCK}
    """)
    bodies = {graph.name: graph for graph in model.graph.subgraphs()}
    inner = model.graph.initializers.pop("w2")
    bodies["c"].register_initializer(inner)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "w", "b"]}
    assert list(result.model.graph.initializers) == ["t", "w", "b", "b2"]
    assert [list(graph.initializers) for graph in result.model.graph.subgraphs()] == [[], ["w2"], []]


def test_a_body_inside_the_function() -> None:
    model = model_of("""
        g (float[N,3,5] x, float[1] t, float[3,3,1] w, float[3,3,1] w2, BN3) => (float[N,3,5] y) {
            h = local.block (x, t, w, scale, bias, mean, var)
            y = local.block (h, t, w2, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, t, w, scale, bias, mean, var) => (y) {
            m = ReduceMean <keepdims = 0> (x)
            condition = Greater (m, t)
            y = If (condition) <
                then_branch = a () => (u) {
                    c = Conv (x, w)
                    u = BatchNormalization (c, scale, bias, mean, var)
                },
                else_branch = b () => (v) { v = Conv (x, w) }
            >
        }
    """)
    result = fold_checked(model)
    assert functions(result) == {"block": ["x", "t", "w", "w_1", "c.bias"]}
    assert list(result.model.graph.initializers) == ["t", "w", "w2", "h.w_1", "h.c.bias", "y.w_1", "y.c.bias"]


@pytest.mark.parametrize("pattern", ["y", "n"])
def test_what_was_asked_to_stay_stays(pattern: str) -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y) {{
            y = local.block (x, w, b, scale, bias, mean, var)
        }}
        {BLOCK.replace("=> (y)", "=> (o)").replace("y = Relu", "o = Relu")}
    """)
    result = fold_checked(model, left=1, keep=[pattern])
    assert serialised(result.model) == serialised(model)


def test_functions_that_nobody_calls_stay() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, float[3,3,1] w, float[3] b, BN3) => (float[N,3,5] y) {{ y = Relu (x) }}
        {BLOCK}
    """)
    before = serialised(model)
    result = fold_checked(model, left=1)
    assert serialised(result.model) == before


def test_overloads_are_functions_of_their_own() -> None:
    model = model_of(f"""
        g (float[N,3,5] x, {WEIGHTS}, BN3) => (float[N,3,5] y) {{
            h = local.block (x, w, b, scale, bias, mean, var)
            y = local.block (h, w2, b2, scale, bias, mean, var)
        }}
        {BLOCK}
    """)
    (function,) = model.functions.values()
    twin = function.clone()
    twin.overload = "other"
    for node in twin:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    model.functions[twin.identifier()] = twin
    list(model.graph)[1].overload = "other"
    result = bnfold.fold(model)
    assert not result.kept
    assert [name[1:] for name in result.model.functions] == [("block", ""), ("block", "other")]
    assert [node.overload for node in result.model.graph] == ["", "other"]


def test_large_weights_stay_in_their_file(tmp_path: Path) -> None:
    model = model_of("""
        g (float[N,40,5] x, float[40,40,1] w, float[40,40,1] w2, BN40) => (float[N,40,5] y) {
            h = local.block (x, w, scale, bias, mean, var)
            y = local.block (h, w2, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        block (x, w, scale, bias, mean, var) => (y) {
            c = Conv (x, w)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """)
    path = tmp_path / "model.onnx"
    ir.save(model, path, external_data="model.onnx.data", size_threshold_bytes=100)
    result = bnfold.fold(path)
    result.save(tmp_path / "folded.onnx")
    assert path.stat().st_size + (tmp_path / "folded.onnx").stat().st_size < 6000
    onnx.checker.check_model(tmp_path / "folded.onnx", full_check=True)
    oracle.assert_equal(model, ir.from_proto(onnx.load(tmp_path / "folded.onnx")))


# Ops whose constants may be any numbers; those of Resize or Clip may not.
SCALED = {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"}


def with_arguments(model: ir.Model, name: str = "body") -> ir.Model:
    """The graph as a function of its data and of its weights, called twice, once with other weights."""
    data, outputs, nodes = model.graph.inputs[0], list(model.graph.outputs), list(model.graph)
    weights = [value for value in model.graph.initializers.values() if not value.is_graph_input()]
    model.graph.outputs.clear()
    model.graph.remove(nodes)
    scaled = {value for value in weights if {use.node.op_type for use in value.uses()} <= SCALED}
    inner = [ir.Value(name=f"inner_{value.name}") for value in (data, *weights)]
    for value, twin in zip((data, *weights), inner, strict=True):
        for user, slot in value.uses():
            user.replace_input_with(slot, twin)
    body = ir.Graph(inner, outputs, nodes=nodes, opset_imports=dict(model.opset_imports), name=name)
    function = ir.Function("local", name, graph=body, attributes=[])
    model.functions[function.identifier()] = function
    model.opset_imports["local"] = 1
    for factor in (1, 2):
        arguments: list[ir.Value] = []
        for value in weights:
            array = value.const_value.numpy()
            other = ir.Value(name=f"{value.name}_{name}{factor}")
            other.const_value = ir.tensor(array * factor if value in scaled else array, name=other.name)
            other.shape, other.dtype = value.shape, value.dtype
            model.graph.register_initializer(other)
            arguments.append(other)
        results = [ir.Value(name=f"{name}{factor}_{v.name}", type=v.type, shape=v.shape) for v in outputs]
        model.graph.append(ir.Node("local", name, [data, *arguments], outputs=results))
        model.graph.outputs.extend(results)
    return model


@pytest.mark.parametrize(("text", "rule"), EXAMPLES)
def test_every_rule_folds_with_weights_of_the_caller(text: str, rule: object) -> None:
    model = with_arguments(example(text))
    result = bnfold.fold(model)
    assert affines(result.model) == remaining(text)
    oracle.assert_equal(model, result.model)
    assert len(result.model.functions) == 1


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 8), nested=st.booleans())
def test_folding_is_exact_in_random_functions(seed: int, steps: int, nested: bool) -> None:
    model = with_arguments(random_model(seed, steps))
    if nested:
        model = with_arguments(model, "outer")
    check_random(model)


def check_random(model: ir.Model) -> bnfold.FoldResult:
    before = serialised(model)
    result = bnfold.fold(model)
    assert serialised(model) == before
    assert (serialised(result.model) == before) == (not result.folded and not result.merged)
    assert affines(result.model) == sum(entry.is_batch_norm for entry in result.kept)
    oracle.assert_equal(model, result.model, tolerance=1e-8, seeds=1, least=1e-3)
    assert serialised(bnfold.fold(result.model).model) == serialised(result.model)
    return result

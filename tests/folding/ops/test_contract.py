"""What every rule promises, derived from the examples that the rules carry themselves."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold.folding import ops
from bnfold.folding.facts import Facts
from bnfold.folding.planning import find_plan
from bnfold.folding.sites import find_sites
from tests.helpers import oracle
from tests.helpers.models import DTYPES, affines, example, serialised, set_constant

EXAMPLES = [
    pytest.param(text, rule, id=f"{type(rule).__name__}-{text.split('(')[0].strip()}")
    for rule in ops.RULES
    for text in rule.examples
]
every_example = pytest.mark.parametrize(("text", "rule"), EXAMPLES)


def fold_checked(model: ir.Model, **options: object) -> bnfold.FoldResult:
    """Fold, and require that the argument and the interface are untouched and that the outputs are the same."""
    before = serialised(model)
    result = bnfold.fold(model, **options)
    assert serialised(model) == before
    assert interface(result.model) == interface(model)
    oracle.assert_equal(model, result.model)
    return result


def interface(model: ir.Model) -> list[tuple]:
    runtime_inputs = [value for value in model.graph.inputs if not (value.is_initializer() and model.ir_version < 4)]
    return [(value.name, str(value.type), str(value.shape)) for value in (*runtime_inputs, *model.graph.outputs)]


def remaining(text: str) -> int:
    """How many BatchNormalizations of an example stay by design: the one that absorbs another."""
    return 1 if "BatchNormalization (h, scale2" in text else 0


def batch_normalizations(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph.all_nodes() if node.op_type == "BatchNormalization"]


def test_every_rule_has_a_documented_example() -> None:
    for rule in ops.RULES:
        assert rule.examples, rule
        for section in ("Drawing:", "Algebra:", "Conditions:", "Source:"):
            assert section in type(rule).__doc__, (rule, section)


@every_example
@pytest.mark.parametrize("seed", range(3))
def test_folds_exactly(text, rule, seed) -> None:
    model = example(text, seed=seed)
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)
    assert len(result.folded) == affines(model) - remaining(text)


@every_example
def test_the_rule_is_needed(text, rule, monkeypatch) -> None:
    """Without it the example keeps a BatchNormalization or more nodes: the other tests do test the rule."""
    with_rule = bnfold.fold(example(text))
    for op_type in rule.op_types:
        monkeypatch.delitem(ops._BY_OP_TYPE, op_type)
    without = bnfold.fold(example(text))
    assert (affines(without.model), without.nodes_after) > (affines(with_rule.model), with_rule.nodes_after)


@every_example
def test_a_channel_with_scale_zero_never_yields_nan(text, rule) -> None:
    model = example(text)
    scale = next(value for name, value in model.graph.initializers.items() if name.endswith("scale"))
    array = scale.const_value.numpy().copy()
    array[0] = 0.0
    set_constant(model, scale, array)
    fold_checked(model)


@every_example
def test_folding_twice_is_folding_once(text, rule) -> None:
    once = bnfold.fold(example(text)).model
    assert serialised(bnfold.fold(once).model) == serialised(once)


@every_example
def test_the_same_input_gives_the_same_bytes(text, rule) -> None:
    assert serialised(bnfold.fold(example(text)).model) == serialised(bnfold.fold(example(text)).model)


@every_example
def test_keeps_training_mode(text, rule) -> None:
    model = example(text)
    for node in batch_normalizations(model):
        node.attributes["training_mode"] = ir.AttrInt64("training_mode", 1)
    result = bnfold.fold(model)
    assert affines(result.model) == affines(model)
    assert all("training mode" in kept.reason and "model.eval()" in kept.hint for kept in result.kept)


@every_example
@pytest.mark.parametrize("name", ["scale", "bias", "mean", "var"])
def test_keeps_a_parameter_that_is_a_graph_input(text, rule, name) -> None:
    model = example(text)
    slot = ["scale", "bias", "mean", "var"].index(name) + 1
    for node in batch_normalizations(model):
        value = node.inputs[slot]
        if value.name in model.graph.initializers:
            del model.graph.initializers[value.name]
            model.graph.inputs.append(value)
    result = fold_checked(model) if name != "var" else bnfold.fold(model)
    assert affines(result.model) == affines(model)
    assert all("is a graph input" in kept.reason for kept in result.kept)


@every_example
def test_keeps_a_parameter_that_the_caller_may_replace(text, rule) -> None:
    model = example(text)
    for node in batch_normalizations(model):
        model.graph.inputs.append(node.inputs[2])
    result = fold_checked(model)
    assert affines(result.model) == affines(model)
    assert all("may replace" in kept.reason for kept in result.kept)


@every_example
def test_listed_initializers_are_constants_before_ir_version_4(text, rule) -> None:
    model = example(text, ir_version=3)
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)
    inputs = [value.name for value in result.model.graph.inputs]
    assert inputs[0] == "x"
    assert set(result.model.graph.initializers) == set(inputs[1:])


@every_example
def test_a_value_that_is_also_a_graph_output_keeps_its_content(text, rule) -> None:
    """Each inner tensor in turn: what is folded must not change it."""
    names = [value.name for node in example(text).graph for value in node.outputs if node.op_type != "Constant"]
    for name in names:
        model = example(text)
        value = next(value for node in model.graph for value in node.outputs if value.name == name)
        if value.is_graph_output():
            continue
        model.graph.outputs.append(value)
        value.dtype = value.dtype or ir.DataType.DOUBLE
        fold_checked(model)


@every_example
def test_a_second_reader_keeps_reading_the_same(text, rule) -> None:
    names = [value.name for node in example(text).graph for value in node.outputs if node.op_type != "Constant"]
    for name in names:
        model = example(text)
        value = next(value for node in model.graph for value in node.outputs if value.name == name)
        number = ir.node("Cast", [value], attributes={"to": ir.DataType.DOUBLE.value})  # indices are integers
        reader = ir.node("Tanh", [number.outputs[0]])  # does not overflow
        reader.outputs[0].name, reader.outputs[0].dtype = "second", ir.DataType.DOUBLE
        model.graph.extend([number, reader])
        model.graph.outputs.append(reader.outputs[0])
        fold_checked(model)


@every_example
def test_a_shared_weight_stays_for_its_other_reader(text, rule) -> None:
    model = example(text)
    for name, value in list(model.graph.initializers.items()):
        reader = ir.node("Exp" if value.dtype.is_floating_point() else "Identity", [value])
        reader.outputs[0].name, reader.outputs[0].dtype = f"other_{name}", value.dtype
        model.graph.append(reader)
        model.graph.outputs.append(reader.outputs[0])
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)


@every_example
def test_a_weight_that_is_also_a_graph_output_is_not_overwritten(text, rule) -> None:
    model = example(text)
    model.graph.outputs.extend(model.graph.initializers.values())
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)


@every_example
def test_new_names_never_clash(text, rule) -> None:
    """Every name that the fold may come up with is taken already."""
    model = example(text)
    taken = [f"{name}_1" for name in model.graph.initializers]
    taken += [f"{value.name}{end}" for node in model.graph for value in node.outputs for end in (".bias", ".add")]
    for name in taken:
        extra = ir.Value(name=name)
        set_constant(model, extra, np.ones(1))
        reader = ir.node("Exp", [extra])
        reader.outputs[0].name, reader.outputs[0].dtype = f"out_{name}", ir.DataType.DOUBLE
        model.graph.append(reader)
        model.graph.outputs.append(reader.outputs[0])
    model.graph.outputs.extend(value for name, value in model.graph.initializers.items() if f"{name}_1" in taken)
    result = fold_checked(model)
    proto = ir.to_proto(result.model).graph
    names = [tensor.name for tensor in proto.initializer] + [name for node in proto.node for name in node.output]
    assert len(names) == len(set(names))


@every_example
@pytest.mark.parametrize("dtype", ["float", "float16", "bfloat16"])
def test_weights_keep_their_dtype_and_are_rounded_once(text, rule, dtype) -> None:
    """What is stored is the nearest value to what the same fold gives in float64 from the same weights."""
    low = example(text, dtype=dtype)
    wide = example(text, dtype="double")
    for name, value in low.graph.initializers.items():
        if value.dtype.is_floating_point():
            set_constant(wide, wide.graph.initializers[name], value.const_value.numpy().astype(np.float64))
    narrow, exact = bnfold.fold(low).model.graph, bnfold.fold(wide).model.graph
    assert list(narrow.initializers) == list(exact.initializers)
    for name, value in narrow.initializers.items():
        got, want = value.const_value.numpy(), exact.initializers[name].const_value.numpy()
        if value.dtype.is_integer():
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
            continue
        assert got.dtype == DTYPES[dtype]
        above, below = np.nextafter(got, DTYPES[dtype](np.inf)), np.nextafter(got, DTYPES[dtype](-np.inf))
        error = np.abs(got.astype(np.float64) - want)
        assert (error <= np.abs(above.astype(np.float64) - want)).all(), name
        assert (error <= np.abs(below.astype(np.float64) - want)).all(), name


@every_example
def test_folds_inside_the_branches_of_an_if(text, rule) -> None:
    model = in_a_branch(example(text))
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)


@every_example
def test_folds_inside_the_body_of_a_loop(text, rule) -> None:
    result = fold_checked(in_a_loop(example(text)))
    assert affines(result.model) == remaining(text)


@every_example
def test_optional_inputs_may_be_empty_rather_than_absent(text, rule) -> None:
    """The empty string in the place of a bias, a C or a training mode means the same as nothing there."""
    model = example(text)
    for node in model.graph:
        schema = onnx.defs.get_schema(node.op_type, model.opset_imports[""])
        optional = [formal.option == formal.option.Optional for formal in schema.inputs]
        if len(optional) > len(node.inputs) and all(optional[len(node.inputs) :]):
            node.resize_inputs(len(optional))
    result = fold_checked(model)
    assert affines(result.model) == remaining(text)


@every_example
@pytest.mark.parametrize("new_nodes_allowed", [False, True])
def test_the_search_alone_changes_nothing(text, rule, new_nodes_allowed) -> None:
    model = example(text)
    before = serialised(model)
    facts = Facts(model)
    sites, _ = find_sites(facts)
    assert sites
    for site in sites:
        find_plan(site, facts, new_nodes_allowed=new_nodes_allowed)
    assert serialised(model) == before


@every_example
def test_folds_inside_a_function(text, rule) -> None:
    result = fold_checked(in_a_function(example(text)))
    assert affines(result.model) == remaining(text)


@every_example
@pytest.mark.parametrize("position", ["keep", "absorber"])
def test_leaves_alone_what_was_asked_to_stay(text, rule, position) -> None:
    model = example(text)
    before = serialised(model)
    for index, node in enumerate(model.graph.all_nodes()):
        node.name = f"n{index}"
    result = bnfold.fold(model, keep=["n*"])
    assert affines(result.model) == affines(model)
    assert all(kept.reason == "asked to stay" for kept in result.kept)
    assert before != serialised(result.model)  # only because of the names that were given above


def in_a_branch(model: ir.Model) -> ir.Model:
    """The graph as the body of one branch; its data and its weights are captured from the outer graph."""
    outputs = list(model.graph.outputs)
    nodes = list(model.graph)
    model.graph.outputs.clear()
    model.graph.remove(nodes)
    body = ir.Graph([], outputs, nodes=nodes, name="then")
    empty = [ir.node("RandomNormal", [], attributes={"shape": [1], "dtype": 11}) for _ in outputs]
    other = ir.Graph([], [node.outputs[0] for node in empty], nodes=empty, name="else")
    for index, node in enumerate(empty):
        node.outputs[0].name = f"else_{index}"
        node.outputs[0].dtype = outputs[index].dtype
    condition = ir.Value(name="condition")
    set_constant(model, condition, np.array(True))
    results = [ir.Value(name=f"result_{i}", type=value.type, shape=value.shape) for i, value in enumerate(outputs)]
    branch = ir.Node(
        "",
        "If",
        [condition],
        [ir.AttrGraph("then_branch", body), ir.AttrGraph("else_branch", other)],
        outputs=results,
    )
    model.graph.append(branch)
    model.graph.outputs.extend(results)
    return model


def in_a_loop(model: ir.Model) -> ir.Model:
    """The graph as the body of a Loop that runs once; its data and its weights are captured from the outer graph."""
    outputs, nodes = list(model.graph.outputs), list(model.graph)
    model.graph.outputs.clear()
    model.graph.remove(nodes)
    count, going = ir.val("count", ir.DataType.INT64, []), ir.val("going", ir.DataType.BOOL, [])
    again = ir.node("Identity", [going])
    again.outputs[0].name, again.outputs[0].dtype, again.outputs[0].shape = "again", ir.DataType.BOOL, ir.Shape([])
    body = ir.Graph([count, going], [again.outputs[0], *outputs], nodes=[again, *nodes], name="body")
    once, start = ir.Value(name="once"), ir.Value(name="start")
    set_constant(model, once, np.array(1))
    set_constant(model, start, np.array(True))
    shapes = [ir.Shape([1, *value.shape]) if value.shape is not None else None for value in outputs]
    results = [ir.Value(name=f"result_{i}", type=v.type, shape=shapes[i]) for i, v in enumerate(outputs)]
    model.graph.append(ir.Node("", "Loop", [once, start], [ir.AttrGraph("body", body)], outputs=results))
    model.graph.outputs.extend(results)
    return model


def in_a_function(model: ir.Model) -> ir.Model:
    """The graph as the body of a function of the model, with its weights as Constant nodes."""
    data, outputs = model.graph.inputs[0], list(model.graph.outputs)
    nodes = list(model.graph)
    model.graph.outputs.clear()
    model.graph.remove(nodes)
    inner = ir.Value(name="inner")
    constants = []
    for name, value in list(model.graph.initializers.items()):
        constant = ir.node("Constant", [], attributes={"value": value.const_value})
        constant.outputs[0].name = f"{name}_constant"
        for user, slot in value.uses():
            user.replace_input_with(slot, constant.outputs[0])
        del model.graph.initializers[name]
        constants.append(constant)
    for user, slot in data.uses():
        user.replace_input_with(slot, inner)
    body = ir.Graph([inner], outputs, nodes=[*constants, *nodes], opset_imports={"": 20}, name="body")
    function = ir.Function("local", "body", graph=body, attributes=[])
    model.functions[function.identifier()] = function
    model.opset_imports["local"] = 1
    results = [ir.Value(name=f"result_{i}", type=value.type, shape=value.shape) for i, value in enumerate(outputs)]
    model.graph.append(ir.Node("local", "body", [data], outputs=results))
    model.graph.outputs.extend(results)
    return model

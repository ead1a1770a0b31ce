"""What onnxruntime folds by itself, held against the graphs that it saves."""

import onnx
import onnxruntime as ort
import pytest

from bnfold.benchmarking import Fates, benchmark
from bnfold.benchmarking.own_folds import matches, own_folds
from bnfold.runtime.optimised import BatchNorm
from bnfold.runtime.sessions import Level
from bnfold.runtime.sources import opened
from tests.helpers.models import model_of, parse

LEVELS = ("disabled", "basic", "extended", "all")
# Conv → BN, which onnxruntime folds; Conv → Relu → BN, which it turns into a depthwise Conv; and a depthwise 1×1 Conv
# of the model's own, which is none of these.
IMAGES = """g (float[N, 3, 8, 8] x, float[16, 3, 3, 3] w, float[16, 1, 1, 1] own, BN16) => (float[N, 16, 6, 6] y) {
    a = Conv(x, w)
    folded = BatchNormalization(a, scale, bias, mean, var)
    b = Relu(folded)
    c = Conv<group = 16>(b, own)
    d = Relu(c)
    turned = BatchNormalization(d, scale, bias, mean, var)
    y = Sigmoid(turned)
}"""
VECTORS = """g (float[N, 3] x, float[3, 4] w, BN4) => (float[N, 4] y) {
    a = MatMul(x, w)
    folded = BatchNormalization(a, scale, bias, mean, var)
    b = Relu(folded)
    left = BatchNormalization(b, scale, bias, mean, var)
    y = Sigmoid(left)
}"""


def model(text):
    return model_of(text, dtype="float", opset=17, ir_version=8)


def folds(left, right, tmp_path, levels=LEVELS):
    return own_folds(opened(left, tmp_path / "a.onnx"), opened(right, tmp_path / "b.onnx"), levels)


def without(model, *outputs):
    """The model with the BatchNormalizations that write these replaced by Identity: as if they had gone elsewhere."""
    model = model.clone()
    for node in list(model.graph):
        if node.op_type == "BatchNormalization" and node.outputs[0].name in outputs:
            node.op_type = "Identity"
            node.resize_inputs(1)
    return model


def depthwise_convs(path, level):
    """How many Convs of one number a channel are in the graph that onnxruntime saves."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.optimized_model_filepath = f"{path}.optimised"
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(f"{path}.optimised").graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    groups = ((node, next((a.i for a in node.attribute if a.name == "group"), 1)) for node in graph.node)
    return sum(node.op_type == "Conv" and shapes.get(node.input[1]) == [group, 1, 1, 1] for node, group in groups)


def test_each_level_says_what_became_of_those_of_both_models(tmp_path):
    reference = model(IMAGES)
    result = folds(reference, without(reference, "folded"), tmp_path)
    assert [entry.level for entry in result.levels] == list(LEVELS)
    before = depthwise_convs(tmp_path / "a.onnx", ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    made = depthwise_convs(tmp_path / "a.onnx", ort.GraphOptimizationLevel.ORT_ENABLE_ALL) - before
    assert before == 1
    assert [entry.reference for entry in result.levels] == [
        Fates(0, 0, 2), Fates(1, 0, 1), Fates(1, 0, 1), Fates(1, made, 1 - made)
    ]  # fmt: skip
    assert [entry.candidate for entry in result.levels] == [
        Fates(0, 0, 1), Fates(0, 0, 1), Fates(0, 0, 1), Fates(0, made, 1 - made)
    ]  # fmt: skip
    assert [entry.gone for entry in result.levels] == [Fates(0, 0, 1), *[Fates(1, 0, 0)] * 3]


def test_what_is_left_and_what_was_folded_are_told_apart_where_they_share_parameters(tmp_path):
    reference = model(VECTORS)
    one, other = (folds(reference, without(reference, name), tmp_path, ["all"]) for name in ("folded", "left"))
    assert one.at("all").reference == Fates(1, 0, 1)
    assert one.at("all").gone == Fates(1, 0, 0)
    assert other.at("all").gone == Fates(0, 0, 1)
    assert other.at("basic") is None


def test_one_whose_output_onnxruntime_renames_is_still_left(tmp_path):
    text = VECTORS.replace("y = Sigmoid(left)", "y = Identity(left)")
    result = folds(model(text), without(model(text), "folded", "left"), tmp_path, ["all"])
    assert result.at("all").gone == Fates(1, 0, 1)


def test_bodies_and_functions_count(tmp_path):
    branches = """g (float[N, 3] x, float[3, 4] w, BN4) => (float[N, 4] y) {
        s = ReduceSum<keepdims = 0>(x)
        zero = Constant<value = float {0}>()
        c = Greater(s, zero)
        y = If(c) <
            then_branch = one () => (float[N, 4] q) {
                a = MatMul(x, w)
                q = BatchNormalization(a, scale, bias, mean, var)
            },
            else_branch = two () => (float[N, 4] q) {
                a = MatMul(x, w)
                r = Relu(a)
                q = BatchNormalization(r, scale, bias, mean, var)
            }
        >
    }"""
    called = """g (float[N, 4] x, BN4) => (float[N, 4] y) {
        a = local.f(x, scale, bias, mean, var)
        y = local.f(a, scale, bias, mean, var)
    }
    <domain: "local", opset_import: ["": 17]>
    f (x, s, b, m, v) => (y) { r = Sigmoid(x) y = BatchNormalization(r, s, b, m, v) }"""
    plain = parse("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    for text in (branches, called):
        entry = folds(model(text), plain, tmp_path, ["all"]).at("all")
        assert entry.reference.total == entry.gone.total == 2
        assert entry.reference.left >= 1


def test_what_onnxruntime_cannot_save_is_said_and_no_error(tmp_path):
    bad = parse("g (float[2] x) => (float[2] y) { y = Unheard(x) }")
    result = folds(bad, bad, tmp_path)
    assert result.levels == ()
    assert "onnxruntime does not save what it makes of it" in result.refusal


def test_a_benchmark_has_them_at_the_levels_that_were_timed(tmp_path):
    reference = model(VECTORS)
    result = benchmark(reference, without(reference, "folded"), levels=["basic"], pairs=2, loads=False)
    (entry,) = result.own_folds.levels
    assert (entry.level, entry.gone) == (Level.BASIC, Fates(1, 0, 0))


def named(output, name="", parameters=("s", "b", "m", "v")):
    return BatchNorm(output, name, parameters)


@pytest.mark.parametrize(("after", "found"), [
    ([named("q")], {1}),  # by what it writes
    ([named("z", "two")], {1}),  # by its name
    ([named("z", "", ("a", "b", "c", "d"))], {2}),  # by what it reads
    ([named("r"), named("z", "", ("a", "b", "c", "d"))], {2}),  # once
    ([named("z", "", ("none",))], set()),
    ([], set()),
])  # fmt: skip
def test_the_same_one_is_found_by_output_then_name_then_parameters(after, found):
    before = [named("p", "one"), named("q", "two"), named("r", "", ("a", "b", "c", "d"))]
    assert matches(before, after) == found


def test_what_nothing_tells_apart_counts_once_each():
    before = [named("q"), named("q"), named("r")]
    assert matches(before, [named("q"), named("q")]) == {0, 1}
    assert len(matches(before, [named("z", "", ("none",))] * 2, all_of_them=True)) == 2

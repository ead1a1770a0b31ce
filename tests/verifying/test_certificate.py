"""The certificate: every rewritten weight is recomputed, what is wrong is found and located, what is right never is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from benchmarks.architectures import ARCHITECTURES
from bnfold import modelfile
from bnfold.folding import ops
from bnfold.verifying import Verdict, verify
from bnfold.verifying.certificate import Finding, certify, kinds
from bnfold.verifying.certificate.rounding import deviations
from bnfold.verifying.weights import check_structure, check_weights
from tests.folding import test_networks as networks
from tests.folding.networks import test_mobile
from tests.folding.ops.test_contract import in_a_function
from tests.folding.test_merging import model_of
from tests.folding.test_random_bodies import random_model as random_bodies
from tests.folding.test_random_graphs import random_model
from tests.helpers import models as helpers
from tests.helpers.models import constant, example, parse, set_constant
from tests.helpers.networks import Network
from tests.verifying.faults import FAULTS, NETWORKS, faulty_fold, in_float32, put, small_resnet
from tests.verifying.networks import random_network

MODELS = sorted(Path(__file__).parents[2].glob("models/*/model.onnx"))
FOLDED = {
    **{name: make for name, (make, _) in test_mobile.NETWORKS.items()},
    **NETWORKS,
    "preact_resnet": networks.preact_resnet,
    "iresnet": networks.iresnet,
    "densenet": networks.densenet,
}


def random_graph(seed):
    return random_model(seed, 10)


def counts(certificate):
    return [len(certificate.of(finding)) for finding in Finding]


def repvgg():
    """Five blocks, three of them with an identity that has a BatchNormalization."""
    net, channels = Network("float[N,3,8,8] x"), 3
    h = "x"
    for outputs, stride in ((4, 2), (6, 2), (6, 1), (6, 1), (6, 1)):
        h, channels = test_mobile.repvgg_block(net, h, channels, outputs, stride=stride), outputs
    return net.model(f"[N,4] {net.linear(net.op('Flatten', net.op('GlobalAveragePool', h)), 6, 4)}")


@pytest.mark.parametrize("name", FOLDED)
def test_every_weight_of_a_fold_that_went_into_a_neighbour_is_certified(name):
    """Back and forward, through Relu, pools, Concat, Split, a channel shuffle and residual streams."""
    reference = FOLDED[name]()
    result = bnfold.fold(reference)
    certificate = certify(reference, result.model)
    assert counts(certificate) == [len(certificate.weights), 0, 0]
    assert len({one.node for one in certificate.weights}) == len(
        {into.node for entry in result.folded for into in entry.into}
    )
    assert max(one.ulps for one in certificate.weights) <= 1


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_every_weight_of_a_network_that_was_trained_is_certified_and_named_by_the_fold(path):
    reference = modelfile.load(path)
    result = bnfold.fold(reference)
    certificate = certify(reference, result.model)
    assert counts(certificate) == [len(certificate.weights), 0, 0]
    assert [check.verdict for check in check_structure(certificate, result)] == [Verdict.PASS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_of_a_known_architecture_is_certified_and_named_by_the_fold(name):
    reference = ir.from_proto(ARCHITECTURES[name]())
    result = bnfold.fold(reference)
    certificate = certify(reference, result.model)
    assert counts(certificate) == [len(certificate.weights), 0, 0]
    assert [check.verdict for check in check_structure(certificate, result)] == [Verdict.PASS]


def test_a_bias_that_is_an_expression_of_constants_is_certified():
    """As torch's exporter leaves the missing bias of a Conv if nothing optimises its graph."""
    text = """g (float[N, 3, 6, 6] x, float[4, 3, 3, 3] w, BN4) => (float[N, 4, 4, 4] y) {
        size = Shape <start = 0, end = 1> (w)
        one = Constant <value_ints = [1]> ()
        shape = Expand (size, one)
        zero = Constant <value_float = 0.0> ()
        like = CastLike (zero, x)
        b = Expand (like, shape)
        a = Conv (x, w, b)
        y = BatchNormalization (a, scale, bias, mean, var)
    }"""
    reference = helpers.model_of(text, dtype="float")
    assert counts(certify(reference, bnfold.fold(reference).model)) == [2, 0, 0]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_each_fault_is_found_and_located_at_its_site(network, fault, step):
    reference = NETWORKS[network]()
    for number in range(0, len(bnfold.fold(reference).folded), step):
        site, candidate = faulty_fold(reference, fault, number)
        wrong = certify(reference, candidate).of(Finding.WRONG)
        assert {name for one in wrong for name in one.sites} == {site.name}
        assert {one.node for one in wrong} == set(site.into)
        assert all(one.ulps > 1 for one in wrong)


@pytest.mark.parametrize("seed", range(40))
def test_no_weight_of_a_correct_fold_is_wrong(seed):
    dtype = ("float", "float16", "double")[seed % 3]
    network = random_network(seed, dtype=dtype, var=(1e-2, 10.0) if dtype == "float16" else (1e-3, 10.0))
    certificate = certify(network.reference(), network.folded())
    assert not certificate.of(Finding.WRONG)
    resnet = small_resnet(seed)
    assert counts(certify(resnet, bnfold.fold(resnet).model)) == [16, 0, 0]


def test_the_weight_the_index_and_both_numbers_are_told():
    reference = small_resnet()
    folded = bnfold.fold(reference).model
    weight = folded.graph.initializers["w_1"]
    array = weight.const_value.numpy().copy()
    array[3, 1, 2, 0] *= 1.01
    put(weight, array)
    (wrong,) = certify(reference, folded).of(Finding.WRONG)
    assert (wrong.node, wrong.constant, wrong.index) == ("conv_0", "w_1", (3, 1, 2, 0))
    assert wrong.stored == array[3, 1, 2, 0]
    assert wrong.expected == pytest.approx(wrong.stored / 1.01)
    assert "instead of" in str(wrong)
    assert "(from batchnormalization_1)" in str(wrong)


def test_two_ulps_are_wrong_in_a_fold_of_ours_and_a_warning_in_that_of_others():
    """Others fold in float32, and round more than once: that is no worse than what the reference does."""
    reference = small_resnet()
    result = bnfold.fold(reference)
    model = result.model.clone()
    weight = model.graph.initializers["w_1"]
    array = weight.const_value.numpy().copy()
    array.flat[0] = np.nextafter(np.nextafter(array.flat[0], np.float32(9)), np.float32(9))
    put(weight, array)
    other = verify(reference, model)
    assert other
    assert [check.verdict for check in other.checks if check.name == "certificate"] == [Verdict.WARN]
    ours = verify(reference, model, certificate=result)
    assert not ours
    assert [check.name for check in ours.checks if check.verdict is Verdict.FAIL] == ["weight 'w_1'"]


def test_the_structure_is_what_the_fold_names():
    reference = small_resnet()
    result = bnfold.fold(reference)
    (check,) = (c for c in verify(reference, result.model, certificate=result).checks if c.name == "structure")
    assert check.verdict is Verdict.PASS
    assert "8 BatchNormalization removed" in check.message
    forgetful = dataclasses.replace(result, folded=result.folded[1:])
    comparison = verify(reference, result.model, certificate=forgetful)
    (check,) = (c for c in comparison.checks if c.name == "structure")
    assert check.verdict is Verdict.FAIL
    assert result.folded[0].node in check.message
    assert result.folded[0].into[0].node in check.message


def test_a_constant_that_the_fold_does_not_name_is_a_failure_of_its_structure():
    """The variance of a BatchNormalization that takes another one in, say."""
    reference = example(
        """
        g (float[N,4] x, float[4] scale, float[4] bias, float[4] mean, float[4] var, float[4] s, float[4] b,
           float[4] m, float[4] variance) => (float[N,4] y) {
            h = BatchNormalization (x, scale, bias, mean, var)
            y = BatchNormalization (h, s, b, m, variance)
        }""",
        dtype="float",
    )
    result = bnfold.fold(reference)
    (left,) = result.model.graph
    value = left.inputs[4]
    put(value, (value.const_value.numpy() * 1.001).astype(np.float32))
    (structure,) = check_structure(certify(reference, result.model), result)
    assert structure.verdict is Verdict.FAIL
    assert f"{value.name} of {left.name or left.outputs[0].name}" in structure.message


def test_without_a_fold_the_structure_is_told_and_not_judged():
    reference = small_resnet()
    comparison = verify(reference, bnfold.fold(reference).model)
    (check,) = (c for c in comparison.checks if c.name == "structure")
    assert check.verdict is Verdict.NOTE
    assert check.message == "8 BatchNormalization removed, 8 nodes with other weights"


def test_a_batch_norm_that_nothing_took_in_is_wrong():
    text = "g (float[N,3] x, float[3,3] w, float[3] b{}) => (float[N,3] y) {{ {} }}"
    batch_norm = ", float[3] scale, float[3] bias, float[3] mean, float[3] var"
    reference = example(
        text.format(batch_norm, "h = Gemm (x, w, b) y = BatchNormalization (h, scale, bias, mean, var)"), dtype="float"
    )
    candidate = example(text.format("", "y = Gemm (x, w, b)"), dtype="float")
    (wrong,) = certify(reference, candidate).of(Finding.WRONG)
    assert "no weight has taken it in" in str(wrong)
    assert wrong.sites == ("y",)


# Examples of the rules of which the certificate does not know an operator, or what it may have become.
UNKNOWN = {
    "AbsoluteRule": {"behind", "in_front"}, "AddRule": {"from_a_constant"}, "CastRule": {"behind"},
    "ClipRule": {"one_scale"}, "DeformConvRule": {"behind", "without_a_bias"}, "ExpandRule": {"expand", "tile"},
    "GatherRule": {"one_position", "embedding"}, "GridSampleRule": {"grid", "regions"}, "HardSigmoidRule": {"in_front"},
    "IfRule": {"behind", "out_of_one_branch"}, "LoopRule": {"loop", "scan"}, "MulRule": {"ratio"},
    "NonlinearRule": {"in_front", "behind"}, "NormalizationRule": {"layer", "instance"},
    "PReluRule": {"behind", "in_front"}, "PadRule": {"reflection", "more_channels"},
    "SliceRule": {"backwards"}, "SumRule": {"mean_of_two"}, "TopKRule": {"top"},
    "WhereRule": {"two_branches", "masked"},
}  # fmt: skip
EXAMPLES = [
    pytest.param(
        text,
        text.split("(")[0].strip() in UNKNOWN.get(type(rule).__name__, ()),
        id=f"{type(rule).__name__}-{text.split('(')[0].strip()}",
    )
    for rule in ops.RULES
    for text in rule.examples
]


@pytest.mark.parametrize(("text", "is_unknown"), EXAMPLES)
def test_what_each_rule_rewrites_is_certified_or_known_to_be_unknown(text, is_unknown):
    reference = example(text, dtype="float")
    result = bnfold.fold(reference)
    certificate = certify(reference, result.model)
    assert not certificate.of(Finding.WRONG)
    assert bool(certificate.of(Finding.OPEN)) == is_unknown
    assert not any(check.verdict is Verdict.FAIL for check in check_structure(certificate, result))


@pytest.mark.parametrize("text", [pytest.param(*one.values[:1], id=one.id) for one in EXAMPLES if not one.values[1]])
def test_no_weight_that_is_moved_is_certified(text):
    reference = example(text, dtype="float")
    folded = bnfold.fold(reference).model
    for name in {one.constant for one in certify(reference, folded).weights}:
        candidate = folded.clone()
        value = candidate.graph.initializers[name]
        array = value.const_value.numpy().copy()
        if array.dtype == np.float32:
            array.flat[np.argmax(np.abs(array))] *= 1 + 1e-5
            put(value, array)
            assert name in {
                one.constant for one in certify(reference, candidate).weights if one.finding is not Finding.CERTIFIED
            }


def test_a_fold_inside_a_function_names_its_nodes_otherwise_and_is_no_failure():
    reference = in_a_function(example(ops.conv.ConvRule.examples[0], dtype="float"))
    result = bnfold.fold(reference)
    assert result.folded
    certificate = certify(reference, result.model)
    assert counts(certificate) == [2, 0, 0]
    assert [check.verdict for check in check_structure(certificate, result)] == [Verdict.NOTE]


def test_branches_that_became_one_convolution_are_certified_and_named_by_the_fold():
    reference = in_float32(repvgg())
    result = bnfold.fold(reference)
    assert {entry.route for entry in result.folded} == {"back", "into a sibling branch"}
    certificate = certify(reference, result.model)
    assert counts(certificate) == [10, 0, 0]
    assert {kind for _, kind in certificate.joined} == {"Add", "BatchNormalization", "Conv"}
    (structure,) = check_structure(certificate, result)
    assert structure.verdict is Verdict.PASS
    (structure,) = check_structure(certificate, dataclasses.replace(result, merged=result.merged[1:]))
    assert structure.verdict is Verdict.FAIL


def test_a_wrong_weight_of_a_joined_convolution_is_found_with_all_of_its_batch_norms():
    reference = in_float32(repvgg())
    candidate = bnfold.fold(reference).model
    weight = [node for node in candidate.graph if node.op_type == "Conv"][2].inputs[1]
    array = weight.const_value.numpy().copy()
    array[1, 1, 1, 1] += 1e-3
    put(weight, array)
    (wrong,) = certify(reference, candidate).of(Finding.WRONG)
    assert wrong.index == (1, 1, 1, 1)
    assert len(wrong.sites) == 3


def test_a_matmul_that_changed_places_with_a_reshape_is_certified_under_its_own_name():
    """As LeViT has it on all of its tokens: a Gemm has a place for the bias."""
    text = """g (float[N,7,5] x, float[5,4] w, BN4) => (float[M,4] y) {
        product = MatMul (x, w)
        shape = Constant <value_ints = [-1, 4]> ()
        rows = Reshape (product, shape)
        y = BatchNormalization (rows, scale, bias, mean, var)
    }"""
    reference = helpers.model_of(text, dtype="float")
    result = bnfold.fold(reference)
    assert "Gemm" in {node.op_type for node in result.model.graph}
    certificate = certify(reference, result.model)
    assert counts(certificate) == [2, 0, 0]
    assert {one.node for one in certificate.weights} == {"product"}
    (structure,) = check_structure(certificate, result)
    assert structure.verdict is Verdict.PASS


@pytest.mark.parametrize(("name", "counted"), [("r", [2, 1, 0]), ("b", [0, 0, 2])])
def test_what_stands_beside_the_input_of_a_recurrent_layer_must_stay(name, counted):
    text = next(text for text in ops.recurrent.RecurrentRule.examples if "behind_convolutions" in text)
    reference = example(text, dtype="float")
    candidate = bnfold.fold(reference).model
    value = candidate.graph.initializers[name]
    array = value.const_value.numpy().copy()
    array[..., -1] += 1e-3  # of the half of the biases that stands beside the recurrent weights
    put(value, array)
    assert counts(certify(reference, candidate)) == counted


def moved_past(nodes, *, opset=20):
    """x → affine → nodes → Conv, as t and u, and a fold that takes the scale past the nodes, right or wrong."""
    text = f"""
        g (float[N,4,6,6] x, float[4] positive_scale, float[4] zero, float[4] zeros, float[4] var, float[3,4,1,1] w)
                => (float[N,3,P,Q] y) {{
            t = BatchNormalization (x, positive_scale, zero, zeros, var)
            {nodes}
            y = Conv (u, w)
        }}"""
    reference = helpers.example(text, dtype="float", opset=opset)
    candidate = reference.clone()
    norm = candidate.graph.node(0)
    scale, var, weight = (
        candidate.graph.initializers[name].const_value.numpy().astype(np.float64)
        for name in ("positive_scale", "var", "w")
    )
    factor = scale / np.sqrt(var + np.float64(np.float32(1e-5)))
    put(candidate.graph.initializers["w"], (weight * factor[:, None, None]).astype(np.float32))
    norm.outputs[0].replace_all_uses_with(norm.inputs[0])
    candidate.graph.remove(norm, safe=True)
    return reference, candidate


@pytest.mark.parametrize(
    "nodes",
    [
        "u = Relu (t)",
        "pads = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> () u = Pad (t, pads)",
        "u = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (t)",
        's = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> () u = Resize <mode = "linear"> (t, , s)',
        "a = Cast <to = 11> (t) u = Cast <to = 1> (a)",
    ],
)
def test_a_scale_passes_what_it_makes_no_difference_to(nodes):
    assert counts(certify(*moved_past(nodes))) == [1, 0, 0]


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Cast <to = 6> (t) u = Cast <to = 1> (a)",
        "a = Cast <to = 9> (t) u = Cast <to = 1> (a)",
        """pads = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> () v = Constant <value_float = 3.0> ()
           u = Pad (t, pads, v)""",
        "pads = Constant <value_ints = [0, 1, 0, 0, 0, -1, 0, 0]> () u = Pad (t, pads)",
        """roi = Constant <value_floats = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.5, 1.5]> ()
           s = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()
           u = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize",
                       extrapolation_value = 5.0> (t, roi, s)""",
        "a = Sigmoid (t) u = Mul (t, a)",
        "ax = Constant <value_ints = [1]> () a = Softmax <axis = 1> (t) u = Mul (t, a)",
    ],
)
def test_a_scale_past_what_does_not_let_it_is_not_certified(nodes):
    certificate = certify(*moved_past(nodes))
    assert certificate.of(Finding.OPEN)
    (check,) = check_weights(certificate, is_ours=False)
    assert check.verdict is Verdict.NOTE


QUANTISED = """
    g (float[N,4,6,6] x, int8[6,4,3,3] q, float[6] positive_step, int8[6] point, int32[6] codes,
       float[6] positive_size, float[6] positive_scale, float[6] bias, float[6] mean, float[6] var)
            => (float[N,6,4,4] y) {
        w = DequantizeLinear <axis = 0> (q, positive_step, point)
        b = DequantizeLinear <axis = 0> (codes, positive_size)
        h = Conv (x, w, b)
        y = BatchNormalization (h, positive_scale, bias, mean, var)
    }"""


@pytest.mark.parametrize(
    ("name", "counted"), [("", [2, 0, 0]), ("codes", [1, 1, 0]), ("positive_step", [1, 1, 0]), ("q", [0, 0, 2])]
)
def test_steps_and_integers_of_quantised_weights_are_certified(name, counted):
    reference = example(QUANTISED, dtype="float")
    size = reference.graph.initializers["positive_size"]
    put(size, (size.const_value.numpy() * 1e-5).astype(np.float32))
    candidate = bnfold.fold(reference).model
    if name:
        value = candidate.graph.initializers[name]
        array = value.const_value.numpy().copy()
        array.flat[1] += 2 if array.dtype.kind == "i" else 1e-5
        put(value, array)
    assert counts(certify(reference, candidate)) == counted


def test_what_the_certificate_does_not_know_is_open_and_no_failure():
    """A DeformConv takes scale and shift in: the oracle decides."""
    reference = example(ops.deform_conv.DeformConvRule.examples[0], dtype="float")
    certificate = certify(reference, bnfold.fold(reference).model)
    assert not certificate.of(Finding.WRONG)
    assert {one.op_type for one in certificate.of(Finding.OPEN)} == {"DeformConv"}


@pytest.mark.parametrize("make", [random_graph, lambda seed: random_bodies(seed, [4, 3])], ids=["graph", "bodies"])
def test_no_correct_fold_of_a_random_model_is_refused(make):
    """By its structure or by a weight: of all rules, inside branches and loops too."""
    folded = 0
    for seed in range(60):
        reference = make(seed)
        result = bnfold.fold(reference)
        folded += len(result.folded)
        certificate = certify(reference, result.model)
        checks = [*check_structure(certificate, result), *check_weights(certificate, is_ours=True)]
        assert [str(check) for check in checks if check.verdict is Verdict.FAIL] == [], seed
    assert folded > 60


def test_two_models_that_have_nothing_in_common_are_not_compared_weight_by_weight():
    left = parse("g (float[N,3] x) => (float[N,3] y) { a = Relu (x) b = Exp (a) y = Neg (b) }")
    right = parse("g (float[N,3] x) => (float[N,3] y) { a = Sigmoid (x) b = Log (a) y = Abs (b) }")
    certificate = certify(left, right)
    assert certificate.weights == ()
    assert "are not in the candidate" in certificate.reason


DEAD_CHANNELS = {
    "back": """
        g (float[N,3,5,5] x, float[4,3,3,3] w, float[2,4,1,1] v, BN4) => (float[N,2,3,3] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            r = Relu (n)
            y = Conv (r, v)
        }
    """,
    "forward": """
        g (float[N,4,3,3] x, float[2,4,1,1] v, BN4) => (float[N,2,3,3] y) {
            r = Relu (x)
            n = BatchNormalization (r, scale, bias, mean, var)
            y = Conv (n, v)
        }
    """,
    "one after another": """
        g (float[N,3,5,5] x, float[4,3,3,3] w, float[2,4,1,1] v, float[4] m, BN4) => (float[N,2,3,3] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            o = BatchNormalization (n, m, bias, mean, var)
            r = Relu (o)
            y = Conv (r, v)
        }
    """,
}


def with_dead_channels(name, dtype, channels=(1,)):
    reference = model_of(DEAD_CHANNELS[name], dtype=dtype)
    scale = constant(reference, "scale").copy()
    scale[list(channels)] = 0
    set_constant(reference, reference.graph.initializers["scale"], scale)
    return reference


@pytest.mark.parametrize("name", DEAD_CHANNELS)
@pytest.mark.parametrize("dtype", ["float16", "float", "double"])
@pytest.mark.parametrize("channels", [(1,), (0, 2, 3)])
def test_the_weights_of_a_dead_channel_are_zeros_and_certified(name, dtype, channels):
    """γ = 0 makes a channel constant: only the shift is left of it."""
    reference = with_dead_channels(name, dtype, channels)
    certificate = certify(reference, bnfold.fold(reference).model)
    assert counts(certificate) == [2, 0, 0]


@pytest.mark.parametrize("name", ["back", "forward"])
def test_a_weight_of_a_dead_channel_that_is_not_0_is_not_certified(name):
    """The other model may hold another constant there, and make up for it: the oracle decides."""
    reference = with_dead_channels(name, "float")
    candidate = bnfold.fold(reference).model
    weight = next(value for value in candidate.graph.initializers.values() if value.name in {"w", "v"})
    changed = weight.const_value.numpy().copy()
    changed[(1, 0) if name == "back" else (0, 1)] = 1e-3
    put(weight, changed)
    certificate = certify(reference, candidate)
    assert weight.name in {one.constant for one in certificate.of(Finding.OPEN)}
    assert any("constant (scale 0)" in one.reason for one in certificate.of(Finding.OPEN))
    assert not certificate.of(Finding.WRONG)


def test_the_models_are_left_as_they_were():
    reference = small_resnet()
    folded = bnfold.fold(reference).model
    before = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (reference, folded)]
    certify(reference, folded)
    assert [ir.to_proto(model).SerializeToString(deterministic=True) for model in (reference, folded)] == before


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_deviations_are_in_units_in_the_last_place(dtype):
    stored = np.array([1.0, 2.0, -0.5, 0.0], dtype)
    eps = float(ml_dtypes.finfo(dtype).eps)
    exact = np.array([1.0 + eps, 2.0 + eps, -0.5, float(ml_dtypes.finfo(dtype).smallest_normal) / 4])
    assert deviations(stored, exact, 0.0) == pytest.approx([1.0, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(
    ("dtype", "off", "counted"), [("double", 8, [2, 0, 0]), ("double", 999, [1, 1, 0]), ("float", 0, [2, 0, 0])]
)
def test_a_weight_of_float64_is_certified_to_what_float64_tells_and_the_report_says_so(dtype, off, counted):
    reference = example(ops.conv.ConvRule.examples[0], dtype=dtype)
    candidate = bnfold.fold(reference).model
    weight = next(node for node in candidate.graph if node.op_type == "Conv").inputs[1]
    array = weight.const_value.numpy().copy()
    array.flat[0] += off * np.spacing(array.flat[0])
    put(weight, array)
    certificate = certify(reference, candidate)
    assert counts(certificate) == counted
    check = check_weights(certificate, is_ours=True)[-1]
    assert ("2⁻⁴⁴ of the largest term" in check.message) == (off == 8)


def test_a_negative_scale_in_front_of_a_relu_is_no_contradiction():
    assert in_float32(networks.with_one_negative_scale(2)) is not None
    reference = networks.with_one_negative_scale(2)
    assert not certify(reference, bnfold.fold(reference).model).of(Finding.WRONG)


FLAT = """
    g (float[N,3,4,3] x, float[3,3,1,1] w, float[3,3] m, BN3) => (float[N,3,6,3] y) {
        pads = Constant <value_ints = [0, 0, 1, 0, 0, 0, 1, 0]> ()
        h = Conv (x, w)
        p = Pad <mode = "reflect"> (h, pads)
        n = BatchNormalization (p, scale, bias, mean, var)
        z = MatMul (n, m)
        y = Softmax (z)
    }
"""


def test_a_weight_that_did_not_change_says_nothing_where_the_maps_do_not_fit_it():
    """The MatMul contracts the last axis, and the affine that is gone varies along axis 1."""
    reference = model_of(FLAT, dtype="float")
    result = bnfold.fold(reference)
    assert len(result.folded) == 1
    certificate = certify(reference, result.model)
    assert not certificate.of(Finding.WRONG)
    (structure,) = check_structure(certificate, result)
    assert structure.verdict is Verdict.PASS


BRANCHES = """
    g (float[N,4,6,6] x, float[4,4,1,1] inner, float[4,4,1,1] outer, BN4) => (float[N,4,6,6] y) {
        top = ReduceMax <keepdims = 0> (x)
        limit = Constant <value_float = 1e6> ()
        high = Greater (top, limit)
        r = If (high) <
            then_branch = t () => (float[N,4,6,6] a) { c = Conv (x, inner)
                a = BatchNormalization (c, scale, bias, mean, var) },
            else_branch = e () => (float[N,4,6,6] b) { b = Relu (x) }
        >
        y = Conv (r, outer)
    }
"""


def test_weights_in_bodies_are_not_certified_and_that_is_said():
    """No input that is made up goes there."""
    reference = model_of(BRANCHES, dtype="float")
    result = bnfold.fold(reference)
    assert len(result.folded) == 1
    certificate = certify(reference, result.model)
    assert {one.constant for one in certificate.of(Finding.OPEN)} >= {"inner"}
    assert all("in a body" in one.reason for one in certificate.of(Finding.OPEN))
    (check,) = check_weights(certificate, is_ours=True)
    assert check.verdict is Verdict.WARN
    assert check.message.endswith("a body that no input enters is not compared at all: give --inputs that do")
    assert not certify(reference, reference).weights


def test_what_no_fold_does_is_told_in_the_structure():
    """A change that shows at no output is no failure, but must not be passed over either."""
    text = """
        g (float[N,4,5,5] x, float[4,4,1,1] w, BN4) => (float[N,4,5,5] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = LeakyRelu <alpha = 0.1> (n)
        }
    """
    reference = model_of(text, dtype="float")
    result = bnfold.fold(reference)

    def structure(change):
        candidate = result.model.clone()
        change(candidate.graph)
        (check,) = check_structure(certify(reference, candidate), result)
        return check

    def lean(graph):
        graph[-1].attributes["alpha"] = ir.AttrFloat32("alpha", 0.2)

    def add_dead_end(graph):
        graph.append(ir.node("Tanh", [graph.inputs[0]]))

    assert structure(lambda graph: None).verdict is Verdict.PASS
    for change, words in ((lean, "changed: LeakyRelu 'y': alpha 0.1 → 0.2"), (add_dead_end, "new: 1 Tanh")):
        check = structure(change)
        assert check.verdict is Verdict.NOTE
        assert words in check.message


def test_the_shift_behind_weights_without_a_bias_is_that_in_front_of_them(monkeypatch):
    """Where it is not known what the Einsum became, nothing can be said of a bias behind the MatMul."""
    reference = model_of(
        """
        g (float[N,3] x, float[3,4] w, float[4,5] m, float[5,2] v, float[2] b, BN3) => (float[N,2] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            h = Einsum <equation = "ni,io->no"> (n, w)
            r = MatMul (h, m)
            y = Gemm (r, v, b)
        }
        """,
        dtype="float",
    )
    candidate = bnfold.fold(reference).model
    assert counts(certify(reference, candidate)) == [2, 0, 0]
    monkeypatch.setattr(kinds, "contraction_of", lambda *_: None)
    certificate = certify(reference, candidate)
    assert "b" in {one.constant for one in certificate.of(Finding.OPEN)}
    assert not certificate.of(Finding.WRONG)


SQUEEZE_EXCITE = """
    g (float[N,3,9,9] x, float[4,3,3,3] w1, float[4,4,3,3] w2, float[2,4,1,1] v1, float[2] c1,
       float[4,2,1,1] v2, float[4] c2, float[4,4,1,1] w3, float[4] unit, float[4] m1, float[4] b1, float[4] m2,
       float[4] b2) => (float[N,4,5,5] y) {
        p1 = Conv (x, w1)
        n1 = BatchNormalization (p1, unit, b1, m1, unit)
        r1 = Relu (n1)
        p2 = Conv (r1, w2)
        n2 = BatchNormalization (p2, unit, b2, m2, unit)
        r2 = Relu (n2)
        zero = Constant <value_float = 0.0> ()
        like = CastLike (zero, r2)
        s = GlobalAveragePool (r2)
        q1 = Conv (s, v1, c1)
        u = Relu (q1)
        q2 = Conv (u, v2, c2)
        gate = Sigmoid (q2)
        g = Mul (r2, gate)
        w = Conv (g, w3)
        y = Add (w, like)
    }
"""


@pytest.mark.parametrize("seed", range(3))
def test_scales_that_are_nearly_1_are_told_from_1(seed):
    """A network that was never trained: γ = var = 1, so that every affine multiplies by 1/√(1 + ε)."""
    reference = model_of(SQUEEZE_EXCITE, dtype="float", seed=seed)
    set_constant(reference, reference.graph.initializers["unit"], np.ones(4, np.float32))
    certificate = certify(reference, bnfold.fold(reference).model)
    assert counts(certificate) == [4, 0, 0]
    assert {one.constant for one in certificate.weights} >= {"w1", "w2"}


def test_what_reads_the_type_of_a_tensor_alone_is_no_operator_behind_it():
    """torch's exporter writes such a CastLike in front of each Conv; the fold leaves it, or not."""
    reference = model_of(SQUEEZE_EXCITE, dtype="float")
    set_constant(reference, reference.graph.initializers["unit"], np.ones(4, np.float32))
    candidate = bnfold.fold(reference).model
    weight = candidate.graph.initializers["w2"]
    array = weight.const_value.numpy().copy()
    array[0, 1] *= np.float32(1.001)
    put(weight, array)
    assert {one.constant for one in certify(reference, candidate).of(Finding.WRONG)} == {"w2"}


@pytest.mark.parametrize(("off", "counted"), [(0.0, [2, 0, 0]), (1e-6, [1, 0, 1])])
def test_a_fold_in_float16_that_is_stored_in_float32_is_rounded_once(off, counted):
    """onnxruntime folds a float16 model so, where it computes it in float32: numbers of float16 behind a Cast."""
    parameters = "float[3,3,1,1] v, float[4,3,3,3] w, float[4] b"
    reference = example(
        f"""g (float[N,3,6,6] x, {parameters}, float[4] scale, float[4] bias, float[4] mean, float[4] var)
            => (float[N,4,4,4] y) {{
            a = Conv (x, v) r = Relu (a) h = Conv (r, w, b) y = BatchNormalization (h, scale, bias, mean, var) }}""",
        dtype="float16",
    )
    folded = bnfold.fold(reference).model
    candidate = parse(
        f"""g (float16[N,3,6,6] x, {parameters}) => (float16[N,4,4,4] y) {{
            wide = Cast <to = 1> (x) a = Conv (wide, v) r = Relu (a) h = Conv (r, w, b) y = Cast <to = 10> (h) }}"""
    )
    constants = [folded.graph.node(0).inputs[1], *folded.graph.node(2).inputs[1:]]
    for old, value in zip(constants, list(candidate.graph.inputs)[1:], strict=True):
        candidate.graph.inputs.remove(value)
        array = old.const_value.numpy().astype(np.float32)
        array.flat[0] *= 1 + (off if value.name == "w" else 0.0)  # no number of float16 any more
        set_constant(candidate, value, array)
    assert counts(certify(reference, candidate)) == counted

"""Attributes, operators and nodes that differ are named, and located."""

from __future__ import annotations

import onnx_ir as ir
import pytest

import bnfold
from bnfold.errors import ExecutionError
from bnfold.verifying import Verdict, locating, verify
from bnfold.verifying.certificate import Finding, certify
from bnfold.verifying.certificate.attributes import same_attributes
from tests.helpers.models import model_of, parse
from tests.verifying.conftest import call_in_this_process
from tests.verifying.faults import small_resnet

TEXT = """
    g (float[N,3,6,6] x, float[4,3,3,3] w1, float[4,4,3,3] w2, float[2,4,1,1] w3, BN4) => (float[N,2,H,W] y) {
        h1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
        n1 = BatchNormalization (h1, scale, bias, mean, var)
        r1 = Relu (n1)
        h2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
        n2 = BatchNormalization (h2, scale, bias, mean, var)
        r2 = LeakyRelu <alpha = 0.1> (n2)
        h3 = Conv (r2, w3)
        e = Elu (h3)
        axes = Constant <value_ints = [1]> ()
        m = ReduceMean (e, axes)
        y = Add (e, m)
    }
"""


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch, in_this_process):
    monkeypatch.setattr(locating, "run_isolated", call_in_this_process)


def folded(text=TEXT):
    reference = model_of(text, dtype="float")
    return reference, bnfold.fold(reference).model


def writer(model, name):
    (node,) = (node for node in model.graph if any(value.name == name for value in node.outputs))
    return node


def put_operator(model, name, op_type, **attributes):
    """Another operator where a tensor is written, with the same name and inputs."""
    node = writer(model, name)
    node.op_type = op_type
    node.attributes.clear()
    for attribute in ir.convenience.convert_attributes(attributes):
        node.attributes.add(attribute)


@pytest.mark.parametrize(
    ("tensor", "attribute", "told"),
    [
        ("h2", ir.AttrInt64s("pads", [0, 0, 0, 0]), "Conv 'h2': pads [1, 1, 1, 1] → absent"),
        ("h2", ir.AttrInt64s("pads", [1, 1, 0, 0]), "Conv 'h2': pads [1, 1, 1, 1] → [1, 1, 0, 0]"),
        ("h2", ir.AttrInt64s("strides", [2, 2]), "Conv 'h2': strides absent → [2, 2]"),
        ("r2", ir.AttrFloat32("alpha", 0.2), "LeakyRelu 'r2': alpha 0.1 → 0.2"),
        ("e", ir.AttrFloat32("alpha", 2.0), "Elu 'e': alpha 1 → 2"),
    ],
)
def test_a_changed_attribute_is_named_and_located(tensor, attribute, told):
    reference, candidate = folded()
    writer(candidate, tensor).attributes[attribute.name] = attribute
    comparison = verify(reference, candidate, bisect=True)
    assert not comparison
    assert [str(one) for one in comparison.changes] == [told]
    assert [str(one) for one in comparison.divergence.changes] == [told]
    assert tensor in comparison.divergence.nodes
    (structure,) = (check for check in comparison.checks if check.name == "structure")
    assert told in structure.message
    assert not certify(reference, candidate).of(Finding.WRONG)


def test_a_changed_input_of_integers_is_named_by_what_onnx_calls_it():
    reference, candidate = folded()
    writer(candidate, "axes").attributes["value_ints"] = ir.AttrInt64s("value_ints", [3])
    comparison = verify(reference, candidate, bisect=True)
    assert not comparison
    assert [str(one) for one in comparison.divergence.changes] == ["ReduceMean 'm': axes [1] → [3]"]


def test_an_epsilon_that_is_another_is_named():
    text = TEXT.replace("n2 = Batch", "q = Sigmoid (h2) n2 = Batch").replace("(h2, scale", "(q, scale")
    text = text.replace("h3 = Conv (r2", "s = Sigmoid (r2) h3 = Conv (s")
    reference, candidate = folded(text)
    writer(candidate, "n2").attributes["epsilon"] = ir.AttrFloat32("epsilon", 1e-2)
    comparison = verify(reference, candidate, bisect=True)
    assert not comparison
    assert [str(one) for one in comparison.divergence.changes] == ["BatchNormalization 'n2': epsilon 1e-05 → 0.01"]


@pytest.mark.parametrize("tensor", ["r1", "r2", "e"])
def test_another_operator_is_named_and_located(tensor):
    reference, candidate = folded()
    before = writer(reference, tensor).op_type
    put_operator(candidate, tensor, "ThresholdedRelu", alpha=0.5)
    comparison = verify(reference, candidate, bisect=True)
    assert not comparison
    (change,) = comparison.divergence.changes
    assert (change.node, change.what, change.op_type) == (tensor, "operator", before)
    assert change.after == "ThresholdedRelu (alpha = 0.5)"
    assert comparison.divergence.candidate == tensor
    assert comparison.divergence.rest_passes is True


def test_an_operator_with_another_name_is_found_by_what_it_reads():
    reference, candidate = folded()
    put_operator(candidate, "r1", "Selu")
    writer(candidate, "r1").outputs[0].name = "renamed"
    (change,) = certify(reference, candidate).changes
    assert str(change) == "'r1': Relu → Selu"


def test_a_node_that_is_gone_is_not_taken_for_the_one_behind_it():
    reference, candidate = folded()
    relu = writer(candidate, "r1")
    relu.outputs[0].replace_all_uses_with(relu.inputs[0])
    candidate.graph.remove(relu)
    writer(candidate, "h2").outputs[0].name = "renamed"
    assert "Relu 'r1' is gone" in map(str, certify(reference, candidate).changes)
    assert all(one.what == "node" for one in certify(reference, candidate).changes)


def test_a_sum_that_went_into_a_convolution_is_not_replaced_by_what_reads_it():
    text = "g (float[N,3] x) => (float[N,3] y) { a = Abs (x) s = Add (a, x) r = Exp (s) t = Tanh (r) y = Neg (t) }"
    shorter = "g (float[N,3] x) => (float[N,3] y) { a = Abs (x) q = Exp (a) t = Tanh (q) y = Neg (t) }"
    found = {str(one) for one in certify(parse(text), parse(shorter)).changes}
    assert "Add 's' is gone" in found
    assert not any("→" in one for one in found)


def test_a_node_in_a_body_is_named():
    text = """
        g (float[N,3] x, bool c) => (float[N,3] y) {
            y = If (c) < then_branch = t () => (float[N,3] a) { a = LeakyRelu <alpha = 0.1> (x) },
                         else_branch = e () => (float[N,3] b) { b = Relu (x) } >
        }
    """
    other = text.replace("0.1", "0.3").replace("Relu (x) } >", "Selu (x) } >")
    found = [str(one) for one in certify(parse(text), parse(other)).changes]
    assert sorted(found) == ["'b': Relu → Selu", "LeakyRelu 'a': alpha 0.1 → 0.3"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Conv (x, w)", "Conv <pads = [0, 0, 0, 0], strides = [1, 1], dilations = [1, 1], group = 1> (x, w)"),
        ("Conv (x, w)", 'Conv <kernel_shape = [3, 3], auto_pad = "NOTSET"> (x, w)'),
        ("LeakyRelu (x)", "LeakyRelu <alpha = 0.01> (x)"),
        ("Softmax (x)", "Softmax <axis = -1> (x)"),
    ],
)
def test_a_default_that_is_written_out_is_no_change(one, other):
    text = "g (float[N,3,6,6] x, float[4,3,3,3] w) => (float[N,4,H,W] y) {{ y = {} }}"
    left, right = (parse(text.format(node)).graph[-1] for node in (one, other))
    assert same_attributes(left, right)
    assert same_attributes(right, left)


def test_correct_folds_have_no_changes():
    reference, candidate = folded()
    assert certify(reference, candidate).changes == ()
    assert verify(small_resnet(), bnfold.fold(small_resnet()).model).changes == ()


def test_models_whose_interfaces_differ_are_told_apart_all_the_same():
    reference, candidate = folded()
    writer(candidate, "r2").attributes["alpha"] = ir.AttrFloat32("alpha", 0.2)
    candidate.graph.outputs[0].name = "z"
    comparison = verify(reference, candidate)
    assert not comparison
    assert "LeakyRelu 'r2': alpha 0.1 → 0.2" in map(str, comparison.changes)
    assert comparison.checks[-1].verdict is Verdict.NOTE


def test_a_candidate_that_does_not_run_is_refused_with_what_changed_in_it():
    text = TEXT.replace("y = Add (e, m)", "f = Flatten (e) y = Gemm (f, last)").replace(
        "BN4)", "float[72,2] last, BN4)"
    )
    reference, candidate = folded(text.replace("float[N,2,H,W] y", "float[N,2] y"))
    writer(candidate, "h2").attributes["pads"] = ir.AttrInt64s("pads", [0, 0, 0, 0])
    with pytest.raises(ExecutionError, match=r"not built as the reference: Conv 'h2': pads \[1, 1, 1, 1\] → absent"):
        verify(reference, candidate)

"""Whether two models can stand in for each other."""

import onnx_ir as ir
import pytest

from bnfold.verifying import Verdict
from bnfold.verifying.interface import compare_interfaces
from tests.helpers.models import parse

SAME = "g (float[N, 3] x, float[N, 3] z) => (float[N, 3] y) { y = Add(x, z) }"


def compare(text, base=SAME, **kwargs):
    return compare_interfaces(parse(base, **kwargs), parse(text, **kwargs))


def test_the_same_interface_passes_in_one_line():
    (check,) = compare(SAME.replace("Add", "Mul"))
    assert check.verdict is Verdict.PASS
    assert "2 inputs, 1 outputs" in check.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("float[N, 3] y)", "float[N, 3] other)", "output 'y': the candidate calls it 'other'"),
        ("float[N, 3] z", "double[N, 3] z", "input 'z': DOUBLE instead of FLOAT"),
        ("float[N, 3] z", "float[B, 3] z", "input 'z': shape [B, 3] instead of [N, 3]"),
        ("float[N, 3] z", "float[N, 4] z", "input 'z': shape [N, 4] instead of [N, 3]"),
        ("float[N, 3] z", "float[N, 3, 1] z", "input 'z': shape [N, 3, 1] instead of [N, 3]"),
        (", float[N, 3] z", "", "input 'z': only the reference has it"),
        ("float[N, 3] y)", "float[N, 3] y, float[N, 3] x)", "output 'x': only the candidate has it"),
        ("float[N, 3] y)", "seq(float[N, 3]) y)", "output 'y': Sequence(Tensor(FLOAT)) instead of FLOAT"),
    ],
)
def test_each_difference_is_a_failure_that_names_it(old, new, message):
    (check,) = compare(SAME.replace(old, new))
    assert check.verdict is Verdict.FAIL
    assert check.message == message


def test_the_order_of_the_inputs_counts():
    checks = compare(SAME.replace("x, float[N, 3] z)", "z, float[N, 3] x)"))
    assert [check.verdict for check in checks] == [Verdict.FAIL] * 2


@pytest.mark.parametrize("shape", [None, ir.Shape([None, 3])])
def test_a_shape_that_only_one_of_them_states_is_a_warning(shape):
    vague, stated = parse(SAME), parse(SAME)
    vague.graph.outputs[0].shape = shape
    for pair in ((vague, stated), (stated, vague)):
        (check,) = compare_interfaces(*pair)
        assert check.verdict is Verdict.WARN


def test_weights_that_a_caller_may_override_belong_to_the_interface_since_ir_version_4():
    overridable = "g (float[N, 3] x, float[3] w) => (float[N, 3] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }"
    fixed = overridable.replace(", float[3] w)", ")")
    (check,) = compare(fixed, overridable)
    assert check.message == "input 'w': only the reference has it"
    (check,) = compare(fixed, overridable, ir_version=3)
    assert check.verdict is Verdict.PASS

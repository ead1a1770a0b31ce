"""``lint``: what it takes, what it gives, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

import bnfold
from bnfold.errors import BnfoldError, ModelError, ModelFileError
from bnfold.linting import LINTS, examine
from tests.helpers.lints import GOOD, built
from tests.helpers.models import serialised

MODELS = Path(__file__).parents[2] / "models"

# What every network that is shipped is known for: code and node. Those that are not named have none.
EXPECTED: dict[str, set[tuple[str, str]]] = {
    # Its segments are read by several of them; one output channel of a Conv has far smaller weights once it is folded.
    "densenet": {
        *(("BN401", f"block{block}.{layer}.bn1") for block in (1, 2) for layer in (0, 1, 2)),
        ("BN402", "block2.2.conv2"),
    },
    "digits_cnn": {("BN103", "bn1"), ("BN103", "bn4")},  # as its docstring says: both biases are redundant
    # As ArcFace has it: behind the stem's PReLU, and a redundant bias in the embedding.
    "iresnet": {
        ("BN401", "blocks.0.bn1"),
        ("BN103", "bn_embed"),
        ("BN402", "blocks.1.conv2"),
    },
    # A scale that began at 0 and came no further than 2e-4.
    "levit": {("BN203", "attention.1.project.bn"), ("BN402", "attention.1.project.linear")},
    # Behind the activation, as its name says; two ReLU that let nothing through; a shift in front of a zero padding.
    "postact_cnn": {("BN102", "bn1"), ("BN102", "bn2"), ("BN102", "bn3"), ("BN203", "bn1"), ("BN401", "bn2")},
    # In front of each Linear, as its name says; a feature that varies by 0.003, whose square epsilon outweighs.
    "prenorm_mlp": {("BN102", "bn2"), ("BN102", "bn3"), ("BN202", "bn1")},
    # The branch that is BatchNorm alone reads what a ReLU wrote.
    "repvgg": set(),
}


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in MODELS.glob("*/model.onnx")))
def test_every_network_that_is_shipped_has_the_findings_that_are_written_down(folder) -> None:
    found = {(finding.code, finding.node) for finding in bnfold.lint(MODELS / folder / "model.onnx")}
    assert found == EXPECTED.get(folder, set()), "say in EXPECTED what is right to find"


def test_a_good_network_has_no_findings() -> None:
    assert bnfold.lint(built()) == []
    assert examine(built())


def test_takes_a_path_and_a_model_alike(tmp_path) -> None:
    model = built(scale=[1, 0, 1, 1])
    ir.save(model, tmp_path / "model.onnx")
    assert bnfold.lint(tmp_path / "model.onnx") == bnfold.lint(str(tmp_path / "model.onnx")) == bnfold.lint(model) != []


def test_leaves_the_model_as_it_is() -> None:
    model = built(scale=[1, 0, 1, 1])
    before = serialised(model)
    bnfold.lint(model)
    assert serialised(model) == before


def test_findings_are_in_the_order_of_the_graph() -> None:
    text = """
        g (float[N,3,8] x, float[4,3,1] w, float[4] b, float[4,4,1] v, float[4] s, float[4] t, float[4] m,
           float[4] var1, float[4] s2, float[4] t2, float[4] m2, float[4] var2) => (float[N,4,8] y) {
            c = Conv (x, w, b)
            first = BatchNormalization (c, s, t, m, var1)
            d = Conv (first, v, b)
            second = BatchNormalization <epsilon = 0.5> (d, s2, t2, m2, var2)
            y = Relu (second)
        }
    """
    found = [(finding.node, finding.code) for finding in bnfold.lint(built(text, s=[1, 0, 1, 1]))]
    assert found == [("first", "BN103"), ("first", "BN203"), ("second", "BN103"), ("second", "BN201")]


def test_looks_into_bodies() -> None:
    text = """
        g (float[N,3] x, float[4,3] w, float[4] scale, float[4] bias, float[4] mean, float[4] var) => (float[N,4] y) {
            k = ReduceSum <keepdims = 0> (x)
            choice = Cast <to = 9> (k)
            c = Gemm <transB = 1> (x, w)
            y = If (choice) <
                then_branch = t () => (float[N,4] a) {
                    a = BatchNormalization <epsilon = 0.5> (c, scale, bias, mean, var)
                },
                else_branch = e () => (float[N,4] b) { b = Relu (c) }
            >
        }
    """
    assert [(finding.code, finding.node) for finding in bnfold.lint(built(text), select=["BN201"])] == [("BN201", "a")]


def test_select_and_ignore_take_codes_and_beginnings() -> None:
    model = built(GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 0.5> ("), scale=[1, 0, 1, 1])

    def codes(**options: object) -> list[str]:
        return [finding.code for finding in bnfold.lint(model, **options)]

    assert {"BN201", "BN203"} <= set(codes())
    assert codes(select=["BN203"]) == ["BN203"]
    assert codes(select=["bn2"], ignore=["BN201", "BN202"]) == ["BN203"]
    assert codes(select=["BN1", "BN201"]) == ["BN201"]
    assert codes(ignore=["BN"]) == []


@pytest.mark.parametrize("code", ["BN999", "X", "", "BN2010"])
@pytest.mark.parametrize("option", ["select", "ignore"])
def test_an_unknown_code_is_an_error(option, code) -> None:
    with pytest.raises(BnfoldError, match="is no code of a lint"):
        bnfold.lint(built(), **{option: [code]})


def test_a_string_is_no_list_of_codes() -> None:
    with pytest.raises(TypeError, match="lists of codes"):
        bnfold.lint(built(), select="BN1")


def test_says_what_it_looked_at(tmp_path) -> None:
    ir.save(built(), tmp_path / "model.onnx")
    result = examine(tmp_path / "model.onnx", select=["BN2"])
    assert (result.model, result.batch_norms) == (str(tmp_path / "model.onnx"), 1)
    assert result.lints == tuple(lint.code for lint in LINTS if lint.code.startswith("BN2"))


def test_a_file_that_is_no_model_is_an_error(tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelFileError):
        bnfold.lint(tmp_path / "model.onnx")


def test_parameters_that_do_not_fit_are_an_error() -> None:
    model = built(scale=[1, 1, 1])
    with pytest.raises(ModelError, match="channels do not fit"):
        bnfold.lint(model)


def test_a_model_without_any_is_fine() -> None:
    assert bnfold.lint(built("g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }")) == []


def test_one_of_another_domain_is_none() -> None:
    model = built(GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 0.5> ("))
    (norm,) = (node for node in model.graph if node.op_type == "BatchNormalization")
    norm.domain = "other"
    model.opset_imports["other"] = 1
    assert examine(model).batch_norms == 0


def test_one_without_channels_is_fine() -> None:
    text = GOOD.replace("[4,3,3,3] w", "[0,3,3,3] w").replace("[5,4,1,1] v", "[5,0,1,1] v").replace("BN4", "BN0")
    assert bnfold.lint(built(text), select=["BN2", "BN3"]) == []


def test_a_function_whose_caller_sets_an_attribute_is_fine() -> None:
    """Nothing is known of its epsilon and its mode."""
    text = """
        g (float[N,4,5] x, float[4] scale, float[4] bias, float[4] mean, float[4] var) => (float[N,4,5] y) {
            y = local.norm <e = 1.0> (x, scale, bias, mean, var)
        }
        <domain: "local", opset_import: ["": 20]>
        norm <e> (x, scale, bias, mean, var) => (y) {
            y = BatchNormalization <epsilon: float = @e> (x, scale, bias, mean, var)
        }
    """
    assert {finding.code for finding in bnfold.lint(built(text))} <= {"BN401"}

"""What the report of an export says, and when."""

from dataclasses import replace
from pathlib import Path

import pytest

from bnfold.exporting.coverage import Unused
from bnfold.exporting.norms import Conversion
from bnfold.exporting.result import Agreement, ExportResult, Port
from bnfold.reporting import Format, Report
from bnfold.reporting.exporting import document, suite

RESULT = ExportResult(
    source="net.py:net",
    path=Path("m.onnx"),
    external=None,
    weights=None,
    size=100,
    exporter="dynamo",
    fallback="",
    opset=20,
    inputs=(Port("image", "float32", ("batch", 3, None)),),
    outputs=(Port("logits", "float32", ("batch", 10)), Port("label", "int64", ("batch",))),
    nodes={"BatchNormalization": 2, "Conv": 1},
    batch_norms=2,
    parameters=12,
    conversions=(),
    unused=(),
    agreement=(Agreement("normal, seed 0, 2×3", 1.25, 1e-7), Agreement("zeros, 2×3", None, 0.0)),
    checks=(),
    settled=(),
    training_difference=None,
)


def shown(result, format=Format.TABLE):  # noqa: A002 - as everywhere
    return Report("export", result, document(result), suite(result)).render(format)


def test_a_plain_export_is_told_in_a_few_lines():
    assert shown(RESULT) == (
        "net.py:net → m.onnx\n"
        "opset 20, 100 bytes, 12 parameters: 2 BatchNormalization, 1 Conv\n"
        "image float32 [batch, 3, ?] → logits float32 [batch, 10], label int64 [batch]\n"
        "inputs                error ratio   scaled error\n"
        "────────────────────────────────────────────────\n"
        "normal, seed 0, 2×3         1.250       1.00e-07\n"
        "zeros, 2×3                      -       0.00e+00\n"
        "onnxruntime agrees with PyTorch\n"
        "BatchNormalizations kept: 2 of 2\n"
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"external": Path("m.onnx.data")}, "its weights are in m.onnx.data"),
        (
            {"exporter": "torchscript", "fallback": "no such op"},
            "exported by torch's older exporter (torchscript), as the modern one did not: no such op",
        ),
        (
            {"accuracy": 0.5, "score": "accuracy", "rows": 4},
            "onnxruntime agrees with PyTorch: accuracy 50.00% on 4 held-out rows",
        ),
        ({"training_difference": 0.25}, "in training mode the network is 0.25 of the largest value away from it"),
        (
            {"settled": ("logits",)},
            "output 'logits': onnxruntime rounds more than PyTorch; in float64 the graph is the module's function",
        ),
        (
            {"conversions": (Conversion("a.bn", "SyncBatchNorm"), Conversion("", "SyncBatchNorm"))},
            "SyncBatchNorm became BatchNorm: a.bn, (the network)",
        ),
        ({"batch_norms": 0}, "no BatchNormalization in this network"),
        (
            {"unused": tuple(Unused(f"w{index}", "not read at inference") for index in range(10))},
            "not in the graph: w0, w1, w2, w3, w4, w5, w6, w7 and 2 more (not read at inference)",
        ),
        ({"warnings": ("look out",)}, "look out"),
    ],
)
def test_what_is_not_plain_gets_a_line(change, line):
    assert line in shown(replace(RESULT, **change)).splitlines()


@pytest.mark.parametrize(
    "change",
    [{"training_difference": 1e-7}, {"unused": (Unused("bn.num_batches_tracked", "counts batches for training"),)}],
)
def test_what_nobody_misses_gets_none(change):
    assert shown(replace(RESULT, **change)) == shown(RESULT)


def test_warnings_and_the_exporter_are_cases():
    found = shown(replace(RESULT, fallback="no such op", warnings=("look out",)), Format.GITHUB)
    assert "::warning" in found
    assert "look out" in found
    assert 'tests="4"' in shown(replace(RESULT, fallback="no such op", warnings=("look out",)), Format.JUNIT)

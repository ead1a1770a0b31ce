"""Two models side by side."""

from bnfold.benchmarking import ModelFacts, Work
from bnfold.reporting.model_facts import blocks

INPUTS = ("x 1×3",)


def model(name, types, *work):
    return ModelFacts(name, 12345, sum(types.values()), types.get("BatchNormalization", 0), types, work)


def test_only_the_types_that_differ_are_listed():
    left = model("a.onnx", {"BatchNormalization": 53, "Conv": 53, "Relu": 49})
    right = model("b.onnx", {"Add": 1, "Conv": 53, "Relu": 49})
    sizes, types = blocks(left, right)
    assert sizes.rows == (("a.onnx", "12,345", "155", "53"), ("b.onnx", "12,345", "103", "0"))
    assert types.rows == (("Add", "0", "1"), ("BatchNormalization", "53", "0"))
    assert len(blocks(left, left)) == 1


def test_the_work_that_went_is_the_difference():
    left = model("a.onnx", {}, Work(INPUTS, 8.178e9, 53, 22.2e6, 89e6, 1))
    right = model("b.onnx", {}, Work(INPUTS, 8.178e9, 1, 512.0, 1024.0, 0))
    _, table = blocks(left, right)
    assert table.rows == (
        ("x 1×3", "reference", "8.18 GFLOP", "53 (and 1 of unknown shape)", "22.2 MFLOP", "89 MB"),
        ("x 1×3", "candidate", "8.18 GFLOP", "1", "512 FLOP", "1.02 kB"),
        ("x 1×3", "gone", "", "52", "22.2 MFLOP", "89 MB"),
    )


def test_models_without_affines_have_no_table_of_them():
    plain = model("a.onnx", {}, Work(INPUTS, 1e15, 0, 0.0, 0.0, 0))
    assert len(blocks(plain, plain)) == 1

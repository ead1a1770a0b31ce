"""``check`` asks three questions and gives one answer; only an equivalent model is ever written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold import benchmarking, checking, folding, modelfile
from bnfold.benchmarking.gating import judge
from tests.benchmarking.cells import cell, ratios
from tests.helpers.marks import needs_openvino
from tests.helpers.models import affines, constant, example, parse, set_constant

DIGITS = Path(__file__).parents[1] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture
def wrong_folds(monkeypatch):
    """In this test every fold loses a bias."""
    right = folding.fold

    def wrong(model, **options):
        result = right(model, **options)
        bias = constant(result.model, "conv1.bias")
        set_constant(result.model, result.model.graph.initializers["conv1.bias"], np.zeros_like(bias))
        return result

    monkeypatch.setattr(folding, "fold", wrong)


def verdicts(result: bnfold.CheckResult) -> dict[str, str]:
    return {check.name: check.verdict.value for check in result.checks}


def test_answers_all_three_and_writes_what_is_equivalent(tmp_path) -> None:
    before = DIGITS.read_bytes()
    result = bnfold.check(DIGITS, output=tmp_path / "folded.onnx", pairs=2)
    assert result
    assert verdicts(result) == {"fold": "pass", "verify": "pass", "size": "note", "bench": "note"}
    assert affines(ir.load(tmp_path / "folded.onnx")) == 0
    assert result.output == result.comparison.candidate == result.benchmark.candidate.name == f"{tmp_path}/folded.onnx"
    assert result.model == str(DIGITS)
    assert [file.name for file in tmp_path.iterdir()] == ["folded.onnx"]
    assert DIGITS.read_bytes() == before


def test_warns_of_a_file_that_grows(tmp_path) -> None:
    """Weights that a ConstantOfShape makes are a few bytes, until each channel has a factor of its own."""
    text = """
        g (float[N,600] x, float[600] scale, float[600] bias, float[600] mean, float[600] var) => (float[N,600] y) {
            shape = Constant <value_ints = [600, 600]> ()
            w = ConstantOfShape <value = float[1] {0.02}> (shape)
            h = Gemm (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }"""
    modelfile.save(example(text, dtype="float"), tmp_path / "small.onnx")
    result = bnfold.check(tmp_path / "small.onnx", output=tmp_path / "large.onnx", bench=False)
    assert result
    assert verdicts(result) == {"fold": "pass", "verify": "pass", "size": "warn"}
    sizes = [(tmp_path / name).stat().st_size for name in ("small.onnx", "large.onnx")]
    assert [result.size_before, result.size_after] == sizes
    assert sizes[1] > 100 * sizes[0]
    assert "weights that the file computed" in result.checks[2].message


def test_writes_nothing_unless_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = bnfold.check(DIGITS, bench=False)
    assert result
    assert (result.output, result.benchmark) == (None, None)
    assert verdicts(result) == {"fold": "pass", "verify": "pass", "size": "note"}
    assert list(tmp_path.iterdir()) == []


def test_takes_a_model_in_memory_and_leaves_it_untouched() -> None:
    model = ir.load(DIGITS)
    assert bnfold.check(model, bench=False)
    assert affines(model) == 4


def test_a_fold_that_is_not_equivalent_is_a_no_and_never_timed_or_written(wrong_folds, tmp_path) -> None:
    target = tmp_path / "folded.onnx"
    target.write_bytes(b"what was there before")
    result = bnfold.check(DIGITS, output=target)
    assert not result
    assert verdicts(result) == {"fold": "pass", "verify": "fail"}
    assert (result.output, result.benchmark) == (None, None)
    assert not result.comparison
    assert target.read_bytes() == b"what was there before"
    assert [file.name for file in tmp_path.iterdir()] == ["folded.onnx"]


@pytest.mark.parametrize(("strict", "verdict"), [(False, "note"), (True, "fail")])
def test_one_that_was_kept_is_a_no_if_strict(tmp_path, strict, verdict) -> None:
    result = bnfold.check(DIGITS, output=tmp_path / "out.onnx", keep=["bn1"], strict=strict, bench=False)
    assert bool(result) is not strict
    assert verdicts(result)["fold"] == verdict
    assert affines(ir.load(tmp_path / "out.onnx")) == 1  # equivalent all the same


def test_a_model_without_batch_normalization_is_fine_even_if_strict() -> None:
    result = bnfold.check(parse("g (float[2] x) => (float[2] y) { y = Relu (x) }"), strict=True, bench=False)
    assert verdicts(result) == {"fold": "pass", "verify": "pass", "size": "note"}


@pytest.mark.parametrize(("least", "verdict"), [(1e-6, "pass"), (1e6, "fail")])
def test_a_speed_up_that_is_surely_missed_is_a_no(least, verdict) -> None:
    result = bnfold.check(DIGITS, min_speedup=least, pairs=2)
    assert verdicts(result)["bench"] == verdict
    assert bool(result) is (verdict == "pass")


@pytest.mark.parametrize(
    ("demands", "verdicts"),
    [
        ((), ["note"]),
        (1.7, ["pass"]),
        (1.8, ["fail"]),
        (2.3, ["fail"]),
        (["1.7", "0.2@disabled"], ["pass", "fail"]),
        ("0.1@disabled", ["pass"]),
    ],
)
def test_a_speed_up_that_the_whole_interval_does_not_reach_is_a_no(demands, verdicts) -> None:
    latency, slow = ratios(2.0, 2.1, 1.9), ratios(1 / 9, 1.1 / 9, 0.9 / 9)  # from 1.76 on, and from 0.0988 on
    cells = (cell("disabled", latency=ratios(0.11, 0.11)), cell("all", latency=latency, load=slow))
    facts = benchmarking.ModelFacts("a", 1, 1, 1)
    gates = judge(benchmarking.parse_demands(demands), cells)
    found = checking._timed(bnfold.Benchmark(facts, facts, cells, gates, False, 3, ""))
    assert [check.verdict for check in found] == verdicts
    assert [check.name for check in found] == ["bench"] * len(verdicts)


def test_what_was_timed_on_each_provider_is_told() -> None:
    cells = [cell(level, latency=ratios(2.0, 2.1), provider=on) for on in ("cpu", "cuda") for level in ("basic", "all")]
    facts = benchmarking.ModelFacts("a", 1, 1, 1)
    found = checking._timed(bnfold.Benchmark(facts, facts, tuple(cells), (), False, 3, ""))
    assert [check.message.partition(" on ")[2].partition(",")[0] for check in found] == ["cpu", "cuda"]


def test_a_speed_up_cannot_be_asked_for_and_not_measured() -> None:
    with pytest.raises(bnfold.BnfoldError, match="nothing is to be timed"):
        bnfold.check(DIGITS, bench=False, min_speedup=1.1)


def test_a_model_that_cannot_be_run_is_an_error_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(bnfold.ExecutionError, match="refuses the model"):
        bnfold.check(parse("g (float[2] x) => (float[2] y) { y = Unheard (x) }"), output=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_refuses_to_write_over_its_input(tmp_path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(DIGITS.read_bytes())
    with pytest.raises(bnfold.ModelFileError, match="overwrite"):
        bnfold.check(model, output=model, bench=False)
    assert model.read_bytes() == DIGITS.read_bytes()


@needs_openvino
def test_times_where_it_verifies():
    result = bnfold.check(DIGITS, providers=["cpu", "openvino"], pairs=2)
    assert result.benchmark is not None
    assert {cell.provider for cell in result.benchmark.cells} == {"cpu", "openvino"}


def test_tells_what_it_is_doing() -> None:
    told: list[str] = []
    bnfold.check(DIGITS, progress=told.append, pairs=2)
    assert told[:2] == ["folding", "verifying"]
    assert len(told) == 4


def test_the_result_is_data() -> None:
    assert dataclasses.is_dataclass(bnfold.CheckResult)

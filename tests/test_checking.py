"""``check`` asks three questions and gives one answer; only an equivalent model is ever written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold import benchmarking, checking, folding
from bnfold.benchmarking.statistics import timing
from tests.helpers.models import affines, constant, parse, set_constant

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
    result = bnfold.check(DIGITS, output=tmp_path / "folded.onnx")
    assert result
    assert verdicts(result) == {"fold": "pass", "verify": "pass", "bench": "note"}
    assert affines(ir.load(tmp_path / "folded.onnx")) == 0
    assert result.output == result.comparison.candidate == result.benchmark.candidate.name == f"{tmp_path}/folded.onnx"
    assert result.model == str(DIGITS)
    assert [file.name for file in tmp_path.iterdir()] == ["folded.onnx"]
    assert DIGITS.read_bytes() == before


def test_writes_nothing_unless_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = bnfold.check(DIGITS, bench=False)
    assert result
    assert (result.output, result.benchmark) == (None, None)
    assert verdicts(result) == {"fold": "pass", "verify": "pass"}
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
    assert verdicts(result) == {"fold": "pass", "verify": "pass"}


@pytest.mark.parametrize(("least", "verdict"), [(1e-6, "pass"), (1e6, "fail")])
def test_a_speed_up_that_is_surely_missed_is_a_no(least, verdict) -> None:
    result = bnfold.check(DIGITS, min_speedup=least)
    assert verdicts(result)["bench"] == verdict
    assert bool(result) is (verdict == "pass")


@pytest.mark.parametrize(
    ("least", "verdict"), [(None, "note"), (1.7, "pass"), (1.8, "warn"), (2.0, "warn"), (2.2, "warn"), (2.3, "fail")]
)
def test_a_speed_up_within_the_interval_is_a_warning(least, verdict) -> None:
    latency = timing([(2.0e-3, 1e-3), (2.1e-3, 1e-3), (1.9e-3, 1e-3)], [(1.0, 1.0)])  # 1.76 to 2.26
    slow = timing([(1e-3, 9e-3), (1.1e-3, 9e-3), (0.9e-3, 9e-3)], [(1.0, 1.0)])
    levels = tuple(
        benchmarking.LevelTiming(level, speed, slow, 1)
        for level, speed in ((checking.Level.DISABLED, slow), (checking.Level.ALL, latency))
    )
    facts = benchmarking.ModelFacts("a", 1, 1, 1)
    (found,) = checking._timed(bnfold.Benchmark(facts, facts, levels, (), 3, 1, ""), least)
    assert found.verdict == verdict


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


def test_tells_what_it_is_doing() -> None:
    told: list[str] = []
    bnfold.check(DIGITS, progress=told.append)
    assert told[:2] == ["folding", "verifying"]
    assert len(told) == 4


def test_the_result_is_data() -> None:
    assert dataclasses.is_dataclass(bnfold.CheckResult)

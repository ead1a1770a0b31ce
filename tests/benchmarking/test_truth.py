"""What the verdicts are worth on this machine: equal models are seldom called different, a slow one is found."""

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.benchmarking import Change, benchmark
from bnfold.benchmarking.cells import latency_of
from bnfold.benchmarking.grid import Place
from bnfold.runtime.isolation import run_isolated
from tests.helpers.models import example

TRIALS = 40


def layers(count: int) -> ir.Model:
    """Products of 64×64 matrices, one behind the other; a sample of 64 rows takes some tens of microseconds."""
    weights = "".join(f", float[64, 64] w{index}" for index in range(count))
    body = "".join(f"t{index + 1} = MatMul (t{index}, w{index}) " for index in range(count))
    return example(f"g (float[64, 64] t0{weights}) => (float[64, 64] t{count}) {{ {body} }}", dtype="float")


@pytest.mark.slow
def test_equal_models_are_called_different_in_about_one_trial_of_twenty(tmp_path):
    """At the nominal 5 %, more than 6 of 40 happen once in 300 runs of this test."""
    model, place = tmp_path / "a.onnx", Place()
    ir.save(layers(4), model)
    feed = {"t0": np.ones((64, 64), np.float32)}
    found = []
    for _ in range(TRIALS):
        arguments = {"paths": (str(model), str(model)), "place": place, "feed": feed, "pairs": 7}
        measured = run_isolated("bnfold.benchmarking.measuring:measure", arguments, subject="a.onnx")
        found.append(latency_of(measured.pairs, measured.control))
    different = [timing for timing in found if timing.change in (Change.FASTER, Change.SLOWER)]
    assert len(different) <= 6, [(timing.low, timing.high, timing.detectable) for timing in different]
    assert np.median(np.abs(np.log([timing.speedup for timing in found]))) < 0.05  # whatever else the machine does


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_a_model_of_four_times_the_work_is_slower(processes):
    """It is so large a difference that no other process on the machine hides it."""
    options = {"levels": ("all",), "processes": processes, "loads": False}
    result = benchmark(layers(2), layers(8), min_speedup="0.95@all", **options)
    assert result.cells[0].latency.change is Change.SLOWER
    assert not result
    assert benchmark(layers(8), layers(2), min_speedup="1.05@all", **options)

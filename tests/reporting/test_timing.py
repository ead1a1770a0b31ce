"""A Benchmark for people."""

import pytest

from bnfold.benchmarking import Benchmark, LevelTiming, ModelFacts
from bnfold.benchmarking.statistics import timing
from bnfold.reporting.timing import document
from bnfold.runtime.sessions import Level

STILL = [(1.0, 1.0)] * 3
FASTER = timing([(2.0e-3, 1e-3), (2.1e-3, 1e-3), (1.9e-3, 1e-3)], STILL)
SAME = timing([(1.0e-3, 1e-3), (1.01e-3, 1e-3), (0.99e-3, 1e-3)], STILL)
WIDE = timing([(1.0e-3, 1e-3), (1.2e-3, 1e-3), (0.9e-3, 1e-3)], [(1.0, 1.1)])


def benchmark(**levels):
    return Benchmark(
        reference=ModelFacts("a.onnx", 12345, 10, 3),
        candidate=ModelFacts("b.onnx", 12000, 7, 0),
        levels=tuple(LevelTiming(Level(name), latency, FASTER, 10) for name, latency in levels.items()),
        inputs=("x 1×3",),
        pairs=3,
        threads=1,
        runtime="onnxruntime 1.32.0",
    )


def test_times_ratios_and_intervals_stand_side_by_side():
    times, facts = document(benchmark(disabled=FASTER)).blocks[:2]
    took = ("2.000 ms (1.900 to 2.100)", "1.000 ms (1.000 to 1.000)")
    assert times.rows[0] == ("disabled", "latency", *took, "2.00×", "1.76 to 2.26", "1.00×", "faster")
    assert facts.rows == (("a.onnx", "12,345", "10", "3"), ("b.onnx", "12,000", "7", "0"))


def test_no_change_at_the_default_level_is_called_a_normal_answer():
    *_, answer, remark = document(benchmark(disabled=FASTER, all=SAME)).blocks
    assert answer.text.startswith("Level all (the default of onnxruntime): no change")
    assert "normal answer" in remark.text


@pytest.mark.parametrize("levels", [{"all": FASTER}, {"disabled": SAME}])
def test_nothing_is_excused_that_was_not_measured(levels):
    assert "normal answer" not in document(benchmark(**levels)).blocks[-1].text


def test_what_is_too_wide_to_tell_says_what_would_help():
    *_, answer = document(benchmark(disabled=WIDE)).blocks
    assert "inconclusive, 0.71 to 1.47 times as fast; more pairs or a quieter machine may tell" in answer.text
    assert answer.style == "warning"

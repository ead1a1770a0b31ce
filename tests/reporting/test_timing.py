"""A Benchmark for people."""

import pytest

from bnfold.benchmarking import Benchmark, LevelTiming, ModelFacts
from bnfold.benchmarking.statistics import timing
from bnfold.reporting.timing import document
from bnfold.runtime.sessions import Level

FASTER = timing([2.0e-3, 2.1e-3, 1.9e-3], [1e-3, 1e-3, 1e-3])
SAME = timing([1.0e-3, 1.2e-3, 0.9e-3], [1e-3, 1e-3, 1e-3])


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
    assert times.rows[0] == ("disabled", "latency", "2.000 ms", "1.000 ms", "2.00×", "1.76 to 2.26", "faster")
    assert facts.rows == (("a.onnx", "12,345", "10", "3"), ("b.onnx", "12,000", "7", "0"))


def test_no_change_at_the_default_level_is_called_a_normal_answer():
    *_, answer, remark = document(benchmark(disabled=FASTER, all=SAME)).blocks
    assert answer.text.startswith("Level all (the default of onnxruntime): no change")
    assert "normal answer" in remark.text


@pytest.mark.parametrize("levels", [{"all": FASTER}, {"disabled": SAME}])
def test_nothing_is_excused_that_was_not_measured(levels):
    assert "normal answer" not in document(benchmark(**levels)).blocks[-1].text

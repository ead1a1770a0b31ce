"""A Benchmark for people."""

import pytest

from bnfold.benchmarking import Benchmark, Fates, LevelFolds, LevelTiming, ModelFacts, OwnFolds
from bnfold.benchmarking.statistics import timing
from bnfold.reporting import own_folds
from bnfold.reporting.timing import document
from bnfold.runtime.sessions import Level

FASTER = timing([2.0e-3, 2.1e-3, 1.9e-3], [1e-3, 1e-3, 1e-3])
SAME = timing([1.0e-3, 1.2e-3, 0.9e-3], [1e-3, 1e-3, 1e-3])


def benchmark(own_folds=None, **levels):
    return Benchmark(
        reference=ModelFacts("a.onnx", 12345, 10, 3),
        candidate=ModelFacts("b.onnx", 12000, 7, 0),
        levels=tuple(LevelTiming(Level(name), latency, FASTER, 10) for name, latency in levels.items()),
        inputs=("x 1×3",),
        pairs=3,
        threads=1,
        runtime="onnxruntime 1.32.0",
        own_folds=own_folds,
    )


def test_times_ratios_and_intervals_stand_side_by_side():
    times, facts = document(benchmark(disabled=FASTER)).blocks[:2]
    assert times.rows[0] == ("disabled", "latency", "2.000 ms", "1.000 ms", "2.00×", "1.76 to 2.26", "faster")
    assert facts.rows == (("a.onnx", "12,345", "10", "3"), ("b.onnx", "12,000", "7", "0"))


FOLDED = LevelFolds(Level.ALL, reference=Fates(53, 0, 0), candidate=Fates(0, 0, 0), gone=Fates(53, 0, 0))


def test_no_change_is_explained_by_what_the_runtime_folds_itself():
    *_, answer, remark = document(benchmark(own_folds=OwnFolds((FOLDED,)), disabled=FASTER, all=SAME)).blocks
    assert answer.text.startswith("Level all (the default of onnxruntime): no change")
    assert remark.text == "no change: your runtime already folds these 53 at its default level"


@pytest.mark.parametrize(("gone", "change", "words"), [
    (Fates(53, 0, 0), "faster",
     "your runtime already folds these 53 at its default level, so that this is not what makes the difference"),
    (Fates(1, 0, 0), "no change", "your runtime already folds the one that went at its default level"),
    (Fates(40, 3, 10), "faster",
     "your runtime already folds 40 of these 53 at its default level: it turns 3 into depthwise 1×1 convolutions and "
     "leaves 10 as they are"),
    (Fates(0, 2, 0), "faster",
     "your runtime folds none of these 2 at its default level: it turns 2 into depthwise 1×1 convolutions"),
    (Fates(0, 0, 1), "slower",
     "your runtime does not fold the one that went at its default level: it leaves 1 as it is"),
    (Fates(0, 0, 0), "no change", "no BatchNormalization of the reference is gone from the candidate"),
])  # fmt: skip
def test_what_the_runtime_did_is_said_in_so_many_words(gone, change, words):
    entry = LevelFolds(Level.ALL, reference=gone, candidate=Fates(0, 0, 0), gone=gone)
    assert own_folds.sentence(entry, change) == f"{change}: {words}"


def test_a_level_that_is_no_default_is_called_by_its_name():
    entry = LevelFolds(Level.BASIC, reference=Fates(2, 0, 0), candidate=Fates(0, 0, 0), gone=Fates(2, 0, 0))
    assert own_folds.sentence(entry, "no change") == "no change: your runtime already folds these 2 at level basic"


def test_the_table_has_what_each_model_comes_to_at_each_level():
    (table,) = own_folds.blocks(OwnFolds((FOLDED,)))
    assert table.rows == (("all", "reference", "53", "0", "0"), ("all", "gone", "53", "0", "0"))


def test_models_without_any_have_no_table_and_a_refusal_is_said():
    none = Fates(0, 0, 0)
    assert own_folds.blocks(OwnFolds((LevelFolds(Level.ALL, none, none, none),))) == []
    (text,) = own_folds.blocks(OwnFolds((), "a.onnx: no space left"))
    assert text.text == "What onnxruntime folds by itself could not be told: a.onnx: no space left"

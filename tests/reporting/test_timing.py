"""A Benchmark for people."""

import dataclasses

import pytest

from bnfold.benchmarking import Benchmark, Fates, Gate, LevelFolds, ModelFacts, OwnFolds
from bnfold.reporting import own_folds
from bnfold.reporting.timing import document, suite
from bnfold.runtime.sessions import Level
from tests.benchmarking.cells import cell, ratios

FASTER = ratios(2.0, 2.1, 1.9)
SAME = ratios(1.0, 1.01, 0.99)
WIDE = ratios(1.0, 1.2, 0.9, control=((1.0, 1.1),))


def of_cells(*cells, gates=()):
    facts = ModelFacts("a.onnx", 12345, 10, 3), ModelFacts("b.onnx", 12000, 7, 0)
    return Benchmark(*facts, cells, gates, processes=False, warmup=3, runtime="onnxruntime 1.32.0")


def benchmark(own_folds=None, **levels):
    made = of_cells(*(cell(level, latency=latency) for level, latency in levels.items()))
    return dataclasses.replace(made, own_folds=own_folds)


def test_times_ratios_and_intervals_stand_side_by_side():
    times, further, facts, *conditions = document(benchmark(disabled=FASTER)).blocks[:5]
    took = ("2.000 ms (1.900 to 2.100)", "1.000 ms (1.000 to 1.000)")
    assert times.rows[0] == ("disabled", "latency", *took, "2.00×", "1.76 to 2.26", "1.00×", "faster")
    assert [row[1] for row in times.rows] == ["latency", "load", "first run"]
    assert further.columns == ("level", "", "reference", "candidate")
    assert further.rows == (
        ("disabled", "95 % of latencies within", "2.100 ms", "1.000 ms"),
        ("disabled", "peak memory", "3.0 MiB", ""),
    )
    assert facts.rows == (("a.onnx", "12,345", "10", "3"), ("b.onnx", "12,000", "7", "0"))
    assert conditions[0].text == "onnxruntime 1.32.0, cpu, 1 thread, x 1×3"
    assert conditions[1].text.startswith("3 pairs of fresh sessions")


def test_what_tells_the_places_apart_is_a_column_and_nothing_else():
    result = of_cells(cell("all", latency=SAME), cell("all", latency=ratios(1.0, 1.01, 0.99, 1.0), batch=8, threads=2))
    times, *_, first, second = document(result).blocks
    assert times.columns[:4] == ("threads", "batch", "level", "")
    assert [row[:4] for row in times.rows[::3]] == [("1", "1", "all", "latency"), ("2", "8", "all", "latency")]
    assert first.text.startswith("Threads 1, batch 1, level all (the default of onnxruntime): no change")
    assert second.text.startswith("Threads 2, batch 8, level all")
    conditions = [block.text for block in document(result).blocks if getattr(block, "style", "") == "dim"]
    assert conditions[0] == "onnxruntime 1.32.0, cpu, x 1×3, x 8×3"
    assert conditions[1].startswith("3 to 4 pairs")


def test_where_only_latencies_were_measured_nothing_else_is_shown():
    alone = dataclasses.replace(cell("all", latency=FASTER), load=None, first=None, reference_memory=None)
    times, further, facts, *rest = document(of_cells(alone)).blocks
    assert [row[1] for row in times.rows] == ["latency"]
    assert [row[1] for row in further.rows] == ["95 % of latencies within"]
    assert facts.columns[0] == "model"
    assert not any("load" in text.text or "memory" in text.text for text in rest)
    assert len(suite(of_cells(alone)).cases) == 1


def test_what_a_provider_does_to_convolutions_and_the_time_on_its_device_are_shown():
    settings = {"cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "1", "device_id": "0"}
    there = dataclasses.replace(cell("all", latency=SAME, on_device=FASTER, provider="cuda"), settings=settings)
    result = of_cells(cell("all", latency=SAME), there)
    times, further, *_ = document(result).blocks
    assert [row[:3] for row in times.rows[3:5]] == [("cuda", "all", "latency"), ("cuda", "all", "on the device")]
    assert ("cuda", "all", "95 % of those on the device within", "2.100 ms", "1.000 ms") in further.rows
    texts = [getattr(block, "text", "") for block in document(result).blocks]
    assert "cuda: cudnn_conv_algo_search EXHAUSTIVE, use_tf32 1" in texts


def test_pairs_of_processes_are_called_so():
    result = dataclasses.replace(benchmark(all=SAME), processes=True)
    assert any("3 pairs of fresh processes, A B B A" in getattr(block, "text", "") for block in document(result).blocks)


FOLDED = LevelFolds(Level.ALL, reference=Fates(53, 0, 0), candidate=Fates(0, 0, 0), gone=Fates(53, 0, 0))


def test_no_change_is_explained_by_what_the_runtime_folds_itself():
    *_, answer, remark = document(benchmark(own_folds=OwnFolds((FOLDED,)), disabled=FASTER, all=SAME)).blocks
    assert answer.text.startswith("Level all (the default of onnxruntime): no change")
    assert remark.text == "no change: your runtime already folds these 53 at its default level"


def test_what_is_too_wide_to_tell_says_what_would_help():
    *_, answer = document(benchmark(disabled=WIDE)).blocks
    assert "inconclusive, 0.71 to 1.47 times as fast; more pairs or a quieter machine may tell" in answer.text
    assert answer.style == "warning"


def test_what_was_demanded_comes_last_and_is_a_failure_if_it_was_not_shown():
    place = "cpu, 1 thread, batch 1, level all"
    gates = [Gate(ratio, Level.ALL, 1.0123, place, passed) for ratio, passed in ((1.01, True), (1.05, False))]
    result = of_cells(cell("all", latency=WIDE), gates=tuple(gates))
    *_, shown, missed = document(result).blocks
    assert (shown.text, shown.style) == (f"Speed-up 1.01@all demanded: shown: 1.012 is sure ({place})", "good")
    assert (missed.text, missed.style) == (f"Speed-up 1.05@all demanded: not shown: 1.012 is sure ({place})", "bad")
    cases = suite(result).cases
    assert [(one.name, one.outcome) for one in cases] == [
        (f"latency ({place})", "pass"),
        (f"load ({place})", "pass"),
        (f"first run ({place})", "pass"),
        ("speed-up 1.01@all", "pass"),
        ("speed-up 1.05@all", "fail"),
    ]


@pytest.mark.parametrize(("gone", "change", "words"), [
    (Fates(53, 0, 0), "faster",
     "your runtime already folds these 53 at its default level, so that this is not what makes the difference"),
    (Fates(9, 0, 0), "inconclusive", "your runtime already folds these 9 at its default level"),
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


def test_one_sentence_explains_all_places_of_a_level_and_none_elsewhere():
    places = [cell("all", latency=SAME, threads=threads) for threads in (1, 2)]
    elsewhere = cell("all", latency=FASTER, provider="openvino")
    result = dataclasses.replace(of_cells(*places, elsewhere), own_folds=OwnFolds((FOLDED,)))
    sentences = [one.text for one in document(result).blocks if "your runtime" in getattr(one, "text", "")]
    assert sentences == ["no change: your runtime already folds these 53 at its default level"]


def test_a_sentence_for_places_of_several_verdicts_takes_none_of_them():
    faster = cell("all", latency=FASTER, batch=8)
    result = dataclasses.replace(of_cells(cell("all", latency=SAME), faster), own_folds=OwnFolds((FOLDED,)))
    assert document(result).blocks[-1].text == (
        "Your runtime already folds these 53 at its default level, so that this is not what makes the difference"
    )


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

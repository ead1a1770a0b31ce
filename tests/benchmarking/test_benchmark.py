"""``benchmark``, end to end; what it says of speed is not tested here, for that depends on the machine's mood."""

import itertools
import json
import time

import onnx_ir as ir
import pytest

import bnfold
from bnfold import modelfile
from bnfold.benchmarking import Change, benchmark, cells, processes
from bnfold.benchmarking.cells import Timer
from bnfold.benchmarking.grid import Place
from bnfold.benchmarking.measuring import Measured, Pair
from bnfold.errors import BnfoldError, ExecutionError, ModelError, ModelFileError, ProviderError
from bnfold.reporting import data
from bnfold.runtime.alone import Alone
from bnfold.runtime.sessions import Level
from tests.helpers.marks import needs_openvino
from tests.helpers.models import parse
from tests.verifying.networks import random_network

RELU = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"


@pytest.fixture(scope="module")
def network():
    return random_network(5, operator="Conv", layers=2, widths=(4, 8), batch="N")


def test_both_levels_are_timed_and_the_models_described(network, tmp_path):
    modelfile.save(network.reference(), tmp_path / "a.onnx")
    modelfile.save(network.folded(), tmp_path / "b.onnx")
    said = []
    result = bnfold.benchmark(tmp_path / "a.onnx", tmp_path / "b.onnx", pairs=3, batches=[2], progress=said.append)
    assert result
    assert [cell.level for cell in result.cells] == ["disabled", "all"]
    assert said == [f"3 pairs, cpu, 1 thread, batch 2, level {level}" for level in ("disabled", "all")]
    for cell in result.cells:
        assert (cell.provider, cell.threads, cell.batch, cell.inputs) == ("cpu", 1, 2, ("x 2×7×6×6",))
        assert cell.iterations >= 1
        for timing in (cell.latency, cell.load, cell.first):
            for times in (timing.reference, timing.candidate):
                assert 0 < times.low <= times.median <= times.high
                assert times.median <= times.tail
            assert timing.low <= timing.speedup <= timing.high
            assert timing.detectable >= 1
            assert (len(timing.speedups), len(timing.control)) == (3, 1)
            assert timing.change in Change
        for memory in (cell.reference_memory, cell.candidate_memory):
            assert memory is None or 1 << 16 < memory < 1 << 30
    assert result.reference.name == str(tmp_path / "a.onnx")
    assert result.reference.size == (tmp_path / "a.onnx").stat().st_size
    assert (result.reference.batch_normalizations, result.candidate.batch_normalizations) == (2, 0)
    assert (result.reference.nodes, result.candidate.nodes) == (6, 4)
    assert (result.processes, result.warmup, result.gates) == (False, 3, ())
    assert result.runtime.startswith("onnxruntime 1.")


def test_there_is_a_cell_for_every_combination_and_its_report_is_data():
    grid = {"batches": (1, 4), "threads": (1, 2), "levels": ("all",)}
    result = benchmark(parse(RELU), parse(RELU), pairs=2, warmup=0, loads=False, **grid)
    found = [(cell.threads, cell.batch, cell.level, cell.inputs) for cell in result.cells]
    wanted = itertools.product((1, 2), (1, 4), ("all",))
    assert found == [(threads, batch, level, (f"x {batch}×3",)) for threads, batch, level in wanted]
    report = json.loads(data.render(result, "benchmark"))
    assert len(report["cells"]) == 4
    assert report["cells"][-1]["latency"]["reference"].keys() == {"median", "low", "high", "tail"}


def test_a_model_in_memory_can_be_timed_at_one_level(network):
    result = benchmark(network.reference(), network.folded(), levels=["basic"], pairs=2, loads=False)
    assert [cell.level for cell in result.cells] == [Level.BASIC]
    assert result.candidate.name == "g (in memory)"


def test_external_data_counts_as_part_of_the_file(network, tmp_path):
    ir.save(network.reference(), tmp_path / "a.onnx", external_data="a.data", size_threshold_bytes=1)
    result = benchmark(tmp_path / "a.onnx", network.folded(), levels=["disabled"], pairs=2, loads=False)
    assert result.reference.size == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_pairs_of_processes_give_every_figure():
    result = benchmark(parse(RELU), parse(RELU), pairs=2, levels=("all",), processes=True)
    (cell,) = result.cells
    assert result.processes
    for timing in (cell.latency, cell.load, cell.first):
        assert (len(timing.speedups), len(timing.control)) == (2, 1)
    assert cell.latency.reference.median < cell.first.reference.median  # the first of a process is not among them


def test_without_loads_there_are_latencies_alone_unless_they_come_from_processes():
    (cell,) = benchmark(parse(RELU), parse(RELU), pairs=2, levels=("all",), loads=False).cells
    assert (cell.load, cell.first, cell.reference_memory, cell.candidate_memory) == (None,) * 4
    (cell,) = benchmark(parse(RELU), parse(RELU), pairs=2, levels=("all",), loads=False, processes=True).cells
    assert cell.load is not None
    assert cell.first is not None


@pytest.mark.parametrize("from_processes", [False, True])
def test_a_budget_buys_more_pairs(monkeypatch, from_processes):
    """Of processes that are quick here, as they would be on a machine that has nothing else to do."""
    quick = Alone(load=0.1, first=0.1, memory=None, times=[0.1])
    one = Pair((0.1, 0.1), (0.1, 0.1))
    monkeypatch.setattr(cells, "run_isolated", lambda *_, **__: Measured([one] * 2, [one], 1, {}))
    monkeypatch.setattr(processes, "run_isolated", lambda *_, **__: time.sleep(0.01) or quick)
    timer = Timer(("a", "b"), "a", pairs=2, warmup=0, loads=True, processes=from_processes, timeout=9)
    cell = timer.cell(Place(), {}, seconds=1.0)
    assert len(cell.load.speedups) > 2
    assert len(cell.latency.speedups) == (len(cell.load.speedups) if from_processes else 2)


def test_a_budget_that_is_too_small_leaves_the_pairs_that_were_asked_for():
    (cell,) = benchmark(parse(RELU), parse(RELU), pairs=3, levels=("all",), time_budget=0.1).cells
    assert len(cell.latency.speedups) == len(cell.load.speedups) == 3


def test_a_model_of_small_images_is_timed_at_a_size_that_it_takes():
    text = """g (float[N, 3, H, W] x) => (float[N, 3072] y) {
        to = Constant <value_ints = [-1, 3072]> ()
        fixed = Constant <value_ints = [0, 3, 32, 32]> ()
        r = Reshape (x, fixed)
        y = Reshape (r, to)
    }"""
    (cell,) = benchmark(parse(text), parse(text), pairs=2, levels=("all",), loads=False).cells
    assert cell.inputs == ("x 1×3×32×32",)


def test_a_batch_that_changes_no_input_is_not_timed_twice_and_what_was_fed_is_reported():
    text = "g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"
    result = benchmark(parse(text), parse(text), pairs=2, batches=(8, 1), levels=("all",), loads=False)
    assert [(cell.batch, cell.inputs) for cell in result.cells] == [(8, ("x 2×3",))]


def test_demands_are_held_against_the_grid_and_bring_their_level():
    result = benchmark(parse(RELU), parse(RELU), pairs=2, loads=False, min_speedup=["1e-6@basic", 1e6])
    assert [cell.level for cell in result.cells] == ["disabled", "basic", "all"]
    assert not result
    assert [(gate.level, gate.ratio, gate.passed) for gate in result.gates] == [
        ("basic", 1e-6, True),
        ("all", 1e6, False),
    ]
    assert benchmark(parse(RELU), parse(RELU), pairs=2, loads=False, levels=["all"], min_speedup=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": 1}, "1 pairs: at least 2 are needed"),
        ({"warmup": -1}, "neither can be negative"),
        ({"time_budget": 0.0}, "nor the budget 0"),
        ({"time_budget": float("nan")}, "nor the budget 0"),
        ({"batches": (1, 0)}, "--batch 0: give a number from 1 on"),
        ({"threads": (0,)}, "--threads 0: give a number from 1 on"),
        ({"threads": ()}, "no thread to time the models with"),
        ({"levels": ()}, "no level to time the models with"),
        ({"levels": ("most",)}, "the levels are disabled, basic, extended, all"),
        ({"providers": ("cuda:",)}, "give NAME or NAME:key=value"),
        ({"min_speedup": "fast"}, "--min-speedup fast: give RATIO or RATIO@LEVEL"),
        ({"min_speedup": "1.1@basic", "levels": ("all",)}, "level basic is not among those to be timed"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line_before_anything_is_read(tmp_path, options, words):
    with pytest.raises(BnfoldError) as caught:
        benchmark(tmp_path / "none.onnx", tmp_path / "none.onnx", **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_of_different_inputs_are_refused(network):
    other = parse("g (float[N, 2] z) => (float[N, 2] y) { y = Relu(z) }")
    with pytest.raises(ModelError, match=r"its inputs are \['z FLOAT\[N,2\]'\], and those of g \(in memory\) are"):
        benchmark(network.reference(), other)
    half = parse("g (float16[N, 3] x) => (float16[N, 3] y) { y = Relu(x) }")
    with pytest.raises(ModelError, match="x FLOAT16"):
        benchmark(parse(RELU), half)


def test_a_missing_file_is_refused(network, tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        benchmark(network.reference(), tmp_path / "none.onnx")


@pytest.mark.parametrize("operator", ["Unheard(x)", "MatMul(x, x)"])
def test_a_model_that_cannot_be_run_is_an_execution_error(operator):
    text = f"g (float[N, 3] x) => (float[N, 3] y) {{ y = {operator} }}"
    with pytest.raises(ExecutionError, match=r"onnxruntime refuses the model|refuses its inputs"):
        benchmark(parse(text), parse(text), pairs=2, batches=(2,))


def test_a_candidate_alone_that_cannot_be_run_is_one_too():
    text = "g (float[N, 3] x) => (float[N, 3] y) { y = MatMul(x, x) }"
    with pytest.raises(ExecutionError, match=r"candidate\.onnx: refuses its inputs"):
        benchmark(parse(RELU), parse(text), pairs=2, batches=(2,))


def test_a_provider_that_runs_nothing_is_not_timed_on_the_cpu_instead():
    with pytest.raises(ProviderError, match="azure did not run it: none of 1 operators ran there"):
        benchmark(parse(RELU), parse(RELU), pairs=2, levels=("all",), providers=("azure",))


@needs_openvino
@pytest.mark.parametrize("from_processes", [False, True])
def test_a_provider_that_runs_both_is_a_row_of_the_grid(network, from_processes):
    result = benchmark(
        network.reference(),
        network.folded(),
        pairs=2,
        levels=("all",),
        providers=("CPU", "cpu", "openvino:device=CPU"),
        processes=from_processes,
    )
    assert [cell.provider for cell in result.cells] == ["cpu", "openvino:device=CPU"]
    assert [cell.settings for cell in result.cells] == [{}, {"device": "CPU"}]
    assert [cell.on_device for cell in result.cells] == [None, None]

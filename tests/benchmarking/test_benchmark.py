"""``benchmark``, end to end; what it says of speed is not tested, for that depends on the machine's mood."""

import onnx_ir as ir
import pytest

import bnfold
from bnfold import modelfile
from bnfold.benchmarking import Change, benchmark, measuring
from bnfold.errors import BnfoldError, ExecutionError, ModelError, ModelFileError
from bnfold.runtime.sessions import Level
from tests.helpers.models import parse
from tests.verifying.networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(5, operator="Conv", layers=2, widths=(4, 8), batch="N")


def test_both_levels_are_timed_and_the_models_described(network, tmp_path):
    modelfile.save(network.reference(), tmp_path / "a.onnx")
    modelfile.save(network.folded(), tmp_path / "b.onnx")
    said = []
    result = bnfold.benchmark(tmp_path / "a.onnx", tmp_path / "b.onnx", pairs=3, batch=2, progress=said.append)
    assert [timing.level for timing in result.levels] == ["disabled", "all"]
    assert said == ["3 pairs of sessions, optimisations disabled", "3 pairs of sessions, optimisations all"]
    for level in result.levels:
        assert level.iterations >= 1
        for timing in (level.latency, level.load):
            for times in (timing.reference, timing.candidate):
                assert 0 < times.low <= times.median <= times.high
                assert times.median <= times.tail
            assert timing.low <= timing.speedup <= timing.high
            assert timing.detectable >= 1
            assert (len(timing.speedups), len(timing.control)) == (3, 1)
            assert timing.change in Change
    assert result.reference.name == str(tmp_path / "a.onnx")
    assert result.reference.size == (tmp_path / "a.onnx").stat().st_size
    assert (result.reference.batch_normalizations, result.candidate.batch_normalizations) == (2, 0)
    assert (result.reference.nodes, result.candidate.nodes) == (6, 4)
    assert (result.inputs, result.pairs, result.threads) == (("x 2×7×6×6",), 3, 1)
    assert result.runtime.startswith("onnxruntime 1.")


def test_a_model_in_memory_can_be_timed_at_one_level(network):
    result = benchmark(network.reference(), network.folded(), levels=["basic"], pairs=2)
    assert [timing.level for timing in result.levels] == [Level.BASIC]
    assert result.candidate.name == "g (in memory)"


def test_external_data_counts_as_part_of_the_file(network, tmp_path):
    ir.save(network.reference(), tmp_path / "a.onnx", external_data="a.data", size_threshold_bytes=1)
    result = benchmark(tmp_path / "a.onnx", network.folded(), levels=["disabled"], pairs=2)
    assert result.reference.size == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_the_order_alternates_and_every_third_pair_has_a_control(monkeypatch):
    events = []
    monkeypatch.setattr(measuring, "_load", lambda path, level: (events.append(f"load {path}") or path, 0.02))
    monkeypatch.setattr(measuring, "_block", lambda path, feed, count: events.append(path) or [0.02] * count)
    monkeypatch.setattr(measuring, "_counts", lambda paths, level, feed: (1, 2))
    measured = measuring.measure(("A", "B"), Level.ALL, {}, 4)

    def pair(first, second):  # load, warm up, A B B A
        return [f"load {first}", f"load {second}", first, second, first, second, second, first]

    same = pair("A", "A")
    assert events == [*pair("A", "B"), *same, *pair("B", "A"), *pair("A", "B"), *pair("B", "A"), *same]
    assert measured.iterations == 2
    assert measured.pairs == [measuring.Pair((0.02, 0.02), (0.02, 0.02), (0.02, 0.02))] * 4
    assert measured.control == measured.pairs[:2]


def test_blocks_are_some_tens_of_milliseconds_of_at_least_one_inference(network, tmp_path, monkeypatch):
    class Session:
        def run(self, *args):
            return []

    monkeypatch.setattr(measuring, "open_session", lambda path, level: Session())
    for seconds, iterations in ((0.001, 30), (5.0, 1), (1e-9, 1000)):
        monkeypatch.setattr(measuring, "_block", lambda session, feed, count, seconds=seconds: [seconds] * count)
        assert measuring._counts(("a", "b"), Level.ALL, {})[1] == iterations


def test_too_few_pairs_are_refused(network):
    with pytest.raises(BnfoldError, match="at least 2 pairs"):
        benchmark(network.reference(), network.folded(), pairs=1)


def test_models_of_different_inputs_are_refused(network):
    other = parse("g (float[N, 2] z) => (float[N, 2] y) { y = Relu(z) }")
    with pytest.raises(ModelError, match=r"its inputs are \['z FLOAT\[N,2\]'\], and those of g \(in memory\) are"):
        benchmark(network.reference(), other)
    half = parse("g (float16[N, 3] x) => (float16[N, 3] y) { y = Relu(x) }")
    with pytest.raises(ModelError, match="x FLOAT16"):
        benchmark(parse("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"), half)


def test_a_model_of_small_images_is_timed_at_a_size_that_it_takes():
    text = """g (float[N, 3, H, W] x) => (float[N, 3072] y) {
        to = Constant <value_ints = [-1, 3072]> ()
        fixed = Constant <value_ints = [0, 3, 32, 32]> ()
        r = Reshape (x, fixed)
        y = Reshape (r, to)
    }"""
    assert benchmark(parse(text), parse(text), pairs=2, levels=("all",)).inputs == ("x 1×3×32×32",)


def test_the_sizes_that_were_really_fed_are_reported():
    text = "g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"
    assert benchmark(parse(text), parse(text), pairs=2, batch=8, levels=("all",)).inputs == ("x 2×3",)


def test_a_missing_file_is_refused(network, tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        benchmark(network.reference(), tmp_path / "none.onnx")


@pytest.mark.parametrize("operator", ["Unheard(x)", "MatMul(x, x)"])
def test_a_model_that_cannot_be_run_is_an_execution_error(operator):
    text = f"g (float[N, 3] x) => (float[N, 3] y) {{ y = {operator} }}"
    with pytest.raises(ExecutionError, match=r"onnxruntime refuses the model|refuses its inputs"):
        benchmark(parse(text), parse(text), pairs=2, batch=2)

"""Where the time goes, by onnxruntime's profiler."""

from collections import Counter

import numpy as np
import pytest

from bnfold.benchmarking import OpTime, benchmark
from bnfold.benchmarking.grid import Place
from bnfold.benchmarking.profiling import op_times, profile
from bnfold.errors import ExecutionError
from bnfold.runtime.profiling import Run, runs_of
from bnfold.runtime.sessions import Level
from bnfold.runtime.sources import opened
from tests.helpers.models import model_of, parse

LEFT = """g (float[N, 3] x, float[3, 4] w, BN4) => (float[N, 4] y) {
    a = MatMul(x, w)
    b = Relu(a)
    y = BatchNormalization(b, scale, bias, mean, var)
}"""
RIGHT = "g (float[N, 3] x, float[3, 4] w) => (float[N, 4] y) { a = MatMul(x, w) y = Relu(a) }"
BRANCHES = """g (float[N, 64] x, float[64, 4] w) => (float[N, 4] y) {
    s = ReduceSum<keepdims = 0>(x)
    zero = Constant<value = float {0}>()
    c = Greater(s, zero)
    y = If(c) <
        then_branch = one () => (float[N, 4] q) { a = MatMul(x, w) q = Relu(a) },
        else_branch = two () => (float[N, 4] q) { a = MatMul(x, w) r = Relu(a) q = Relu(r) }
    >
}"""


def model(text):
    return model_of(text, dtype="float", opset=17, ir_version=8)


def event(name, op, start, took):
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": took, "args": {"op_name": op}}


def done(start, took):
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": took}


def profiled(left, right, tmp_path, rows=7):
    feed = {"x": np.ones((rows, left.graph.inputs[0].shape[1]), np.float32)}
    return profile(
        opened(left, tmp_path / "a.onnx"), opened(right, tmp_path / "b.onnx"), Place(level=Level.DISABLED), feed
    )


def test_each_kind_of_operator_is_timed_in_both_models(tmp_path):
    result = profiled(model(LEFT), model(RIGHT), tmp_path)
    assert (result.level, result.provider, result.threads, result.inputs) == ("disabled", "cpu", 1, ("x 7×3",))
    assert 5 <= result.runs <= 100
    found = {time.op_type: (time.reference_kernels, time.candidate_kernels) for time in result.op_times}
    assert found == {"MatMul": (1, 1), "Relu": (1, 1), "BatchNormalization": (1, 0)}
    (batch_norm,) = (time for time in result.op_times if time.op_type == "BatchNormalization")
    assert batch_norm.candidate == 0
    assert all(time.reference >= 0 for time in result.op_times)


def test_an_if_does_not_count_what_its_branch_takes(tmp_path):
    result = profiled(model(BRANCHES), model(BRANCHES), tmp_path, rows=20000)
    times = {time.op_type: time for time in result.op_times}
    assert (times["If"].reference_kernels, times["Relu"].reference_kernels) == (1, 1)
    assert times["If"].reference < times["MatMul"].reference


def test_the_time_of_a_body_belongs_to_its_operators_and_each_run_is_one():
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 9},
        event("a", "Conv", 10, 4), event("b", "Relu", 20, 3), event("c", "Conv", 25, 5), event("d", "Loop", 18, 14),
        event("e", "If", 16, 20), {"cat": "Session", "name": "SequentialExecutor::Execute", "ts": 9, "dur": 30},
        done(9, 31), event("a", "Conv", 50, 6), done(49, 8),
    ]  # fmt: skip
    first, second = runs_of(events)
    assert first.seconds == pytest.approx({"Conv": 9e-6, "Relu": 3e-6, "Loop": 6e-6, "If": 6e-6})
    assert first.kernels == {"Conv": 2, "Relu": 1, "Loop": 1, "If": 1}
    assert (second.seconds, second.kernels) == (pytest.approx({"Conv": 6e-6}), {"Conv": 1})


def test_what_comes_next_is_no_body_of_what_was():
    (run,) = runs_of([event("a", "Conv", 10, 4), event("b", "Relu", 14, 3), done(9, 9)])
    assert run.seconds == pytest.approx({"Conv": 4e-6, "Relu": 3e-6})


def test_the_median_is_taken_and_the_longest_comes_first():
    left = [Run({"Conv": time, "Relu": 1.0}, Counter(Conv=2, Relu=1)) for time in (5.0, 2.0, 3.0)]
    right = [Run({"Conv": 3.0, "Add": 4.0}, Counter(Conv=1, Add=1))] * 2
    assert op_times(left, right) == (
        OpTime("Add", 0.0, 4.0, 0, 1), OpTime("Conv", 3.0, 3.0, 2, 1), OpTime("Relu", 1.0, 0.0, 1, 0)
    )  # fmt: skip


def test_a_benchmark_profiles_each_level_if_it_is_asked_to():
    left, right = model(LEFT), model(RIGHT)
    asked = benchmark(left, right, levels=["disabled", "all"], pairs=2, loads=False, profile=True)
    assert [profile.level for profile in asked.profiles] == ["disabled", "all"]
    assert benchmark(left, right, levels=["disabled"], pairs=2, loads=False).profiles == ()


@pytest.mark.parametrize(("operator", "reason"), [
    ("Unheard(x)", "onnxruntime refuses the model"),
    ("MatMul(x, x)", "refuses its inputs"),
])  # fmt: skip
def test_a_model_that_cannot_be_run_is_an_execution_error(operator, reason, tmp_path):
    bad = parse(f"g (float[N, 3] x) => (float[N, 3] y) {{ y = {operator} }}")
    with pytest.raises(ExecutionError, match=reason):
        profiled(bad, bad, tmp_path)

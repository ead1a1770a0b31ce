"""onnxruntime, through the one module that knows it."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.errors import ExecutionError, MissingDependencyError
from bnfold.runtime import sessions
from bnfold.runtime.sessions import Level, Refusal
from tests.helpers.models import parse

DOUBLE = "g (float[N, 2] x) => (float[N, 2] y) { y = Add(x, x) }"


@pytest.fixture
def saved(tmp_path):
    def save(text, **kwargs):
        modelfile.save(parse(text, **kwargs), tmp_path / "model.onnx")
        return str(tmp_path / "model.onnx")

    return save


@pytest.mark.parametrize("level", Level)
def test_runs_each_set_of_inputs_at_every_level(saved, level):
    feeds = [{"x": np.ones((rows, 2), np.float32)} for rows in (1, 3)]
    first, second = sessions.run(saved(DOUBLE), level, feeds)
    np.testing.assert_array_equal(first["y"], np.full((1, 2), 2.0))
    assert second["y"].shape == (3, 2)


def test_inputs_that_do_not_fit_are_a_refusal_and_no_error(saved):
    good, bad = [{"x": np.ones((1, width), np.float32)} for width in (2, 3)]
    ran, refused = sessions.run(saved(DOUBLE), Level.DISABLED, [good, bad])
    assert "y" in ran
    assert isinstance(refused, Refusal)
    assert "x" in refused.reason
    assert "\n" not in refused.reason


@pytest.mark.parametrize(
    ("node", "same"),
    [("RandomUniformLike(x)", False), ("RandomUniformLike<seed = 1.0>(x)", True), ("Log(x)", True)],
)
def test_running_twice_tells_what_is_random(saved, node, same):
    feeds = [{"x": np.array([[-1, 2]], np.float32)}, {"x": np.ones((3, 2), np.float32)}]
    path = saved(DOUBLE.replace("Add(x, x)", node))
    results, verdicts = sessions.run_twice(path, Level.DISABLED, feeds)
    assert [result["y"].shape for result in results] == [(1, 2), (3, 2)]
    assert verdicts == [same, same]


def test_inputs_that_are_refused_twice_are_the_same(saved):
    feeds = [{"x": np.ones((1, 3), np.float32)}]
    (result,), same = sessions.run_twice(saved(DOUBLE), Level.DISABLED, feeds)
    assert isinstance(result, Refusal)
    assert same == [True]


def test_a_model_that_onnxruntime_does_not_load_is_an_execution_error_of_one_line(saved):
    path = saved("g (float[2] x) => (float[2] y) { y = Unheard(x) }")
    with pytest.raises(ExecutionError, match=r"model\.onnx: onnxruntime refuses the model: ") as caught:
        sessions.run(path, Level.DISABLED, [])
    assert "\n" not in str(caught.value)
    assert "[ONNXRuntimeError]" not in str(caught.value)


def test_bfloat16_at_the_border_is_refused_clearly(saved):
    path = saved("g (bfloat16[N] x) => (float[N] y) { y = Cast<to = 1>(x) }")
    with pytest.raises(ExecutionError, match="'x' is bfloat16, which onnxruntime does not exchange with Python"):
        sessions.run(path, Level.DISABLED, [])


def test_a_missing_onnxruntime_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bnfold\[cpu\]'"):
        sessions.require()


def test_asking_for_onnxruntime_does_not_load_it():
    code = "import sys; from bnfold.runtime import sessions; sessions.require(); sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threads_are_as_many_as_asked_for_and_do_not_spin():
    """A thread that spins while it waits takes time from another session that is timed beside it."""
    options = sessions.session_options(Level.ALL, 3)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

"""One model in a process of its own."""

from pathlib import Path

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.errors import ExecutionError
from bnfold.runtime.isolation import run_isolated
from bnfold.runtime.sessions import Level
from tests.helpers.models import parse

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read in /proc")
MIB = 1 << 20


def alone(tmp_path, text, feed, **options):
    modelfile.save(parse(text), tmp_path / "model.onnx")
    arguments = {"path": str(tmp_path / "model.onnx"), "level": Level.DISABLED, "feed": feed, **options}
    return run_isolated("bnfold.runtime.alone:time_alone", arguments, subject="model.onnx")


def test_loads_runs_once_and_then_as_often_as_it_is_told(tmp_path):
    feed = {"x": np.ones(2, np.float32)}
    text = "g (float[2] x) => (float[2] y) { y = Relu(x) }"
    ran = alone(tmp_path, text, feed, threads=2, warmup=2, iterations=5)
    assert min(ran.load, ran.first, *ran.times) > 0
    assert len(ran.times) == 5
    assert alone(tmp_path, text, feed).times == []


@needs_proc
def test_the_memory_is_what_the_model_needs_beyond_python_and_onnxruntime(tmp_path):
    text = "g (float[N] x) => (float[N] z) { y = Exp(x) z = Neg(y) }"
    little, much = (alone(tmp_path, text, {"x": np.ones(size, np.float32)}) for size in (1, 16 * MIB))
    assert 0 < little.memory < 48 * MIB  # Python and onnxruntime alone have more
    assert 110 * MIB < much.memory - little.memory < 300 * MIB  # two tensors of 64 MiB


def test_a_model_that_is_refused_is_an_execution_error(tmp_path):
    with pytest.raises(ExecutionError, match="onnxruntime refuses the model"):
        alone(tmp_path, "g (float[2] x) => (float[2] y) { y = Unheard(x) }", {})

"""Inferences from device memory to device memory; the CPU's own memory is a device as well."""

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.runtime.binding import Device, bind, device_of
from bnfold.runtime.providers import parse
from bnfold.runtime.sessions import Level, open_session
from tests.helpers.models import parse as model


@pytest.mark.parametrize(("provider", "device"), [
    ("cuda", Device("cuda", 0)),
    ("cuda:device_id=1,use_tf32=0", Device("cuda", 1)),
    ("tensorrt", Device("cuda", 0)),
    ("dml", Device("dml", 0)),
    ("openvino", None),
    ("cpu", None),
])  # fmt: skip
def test_a_gpu_has_memory_of_its_own(provider, device):
    assert device_of(parse(provider)) == device


def test_what_is_bound_is_computed_anew_in_each_run(tmp_path):
    modelfile.save(model("g (float[N, 3] x, float[3] b) => (float[N, 3] y) { y = Add(x, b) }"), tmp_path / "a.onnx")
    session = open_session(tmp_path / "a.onnx", Level.ALL)
    feed = {"x": np.ones((2, 3), np.float32), "b": np.arange(3, dtype=np.float32)}
    given = []
    binding = session.io_binding
    session.io_binding = lambda: given.append(binding()) or given[-1]
    run = bind(session, feed, Device("cpu"))
    for _ in range(2):
        run()
        (y,) = given[0].copy_outputs_to_cpu()
        assert (y == feed["x"] + feed["b"]).all()

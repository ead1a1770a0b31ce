"""With which options CUDA is asked for: for a verdict numbers stay wide, for a timing they are as onnxruntime has them.

What reaches onnxruntime is recorded here, where there is no GPU.
"""

import dataclasses

import onnxruntime as ort
import pytest

from bnfold.errors import ProviderError
from bnfold.runtime.providers import load, parse

WIDE = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@pytest.fixture
def asked(monkeypatch):
    """The providers that a session was to be given, by an onnxruntime that has CUDA and does not load it."""
    given = []

    class Session:
        def __init__(self, _model, _options, *, providers, enable_fallback):
            given.append((providers, enable_fallback))

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)

    def ask(provider):
        with pytest.raises(ProviderError, match=r"^provider cuda\S*: does not load: .*onnxruntime-gpu\[cuda,cudnn\]"):
            load(provider, b"", ort.SessionOptions)
        ((name, options),), falls_back = given.pop()
        assert (name, falls_back) == ("CUDAExecutionProvider", 0)
        return options

    return ask


def test_a_verdict_is_without_tf32(asked):
    assert asked(parse("cuda")) == WIDE


def test_a_timing_is_as_onnxruntime_has_it(asked):
    assert asked(dataclasses.replace(parse("cuda"), wide=False)) == {}


def test_what_the_user_asks_for_wins(asked):
    assert asked(parse("cuda:use_tf32=1,device_id=1")) == {**WIDE, "use_tf32": "1", "device_id": "1"}

"""What tests of every part share."""

import importlib.util
import signal

import pytest

from bnfold.runtime.isolation import run_isolated

PLUGIN = "onnxruntime_ep_openvino"


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def openvino():
    """Skips where OpenVINO's plugin is not installed, or finds no device: it takes processors of Intel only."""
    if importlib.util.find_spec(PLUGIN) is None:
        pytest.skip("onnxruntime-ep-openvino is not installed")
    arguments = {"module": PLUGIN, "origin": "a plugin"}
    state = run_isolated("bnfold.runtime.probing:load_plugin", arguments, subject="OpenVINO", timeout=60)
    if not state.runs:
        pytest.skip(f"OpenVINO does not run on this machine: {state.reason}")

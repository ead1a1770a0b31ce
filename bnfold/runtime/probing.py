"""What onnxruntime can do on this machine: what was built into it, and what of that really loads.

Each function is for a child process of its own: a provider may load libraries that crash, or that the next one must
not find loaded.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
import re
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ExecutionError
from bnfold.runtime.overhearing import first_message, overheard

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["Library", "ProviderState", "built", "find_cuda", "load", "load_plugin"]

_CPU = "CPUExecutionProvider"
_CUDA = ("cudart", "cublas", "cublasLt", "cudnn", "cufft", "curand", "nvrtc", "nvinfer")


@dataclass(frozen=True)
class ProviderState:
    """An execution provider on this machine.

    Attributes:
        name: As onnxruntime calls it.
        origin: ``built in``, or the distribution that brings it as a plugin.
        loads: Whether a session had it.
        runs: Whether it took the one Conv of that session; some providers take none.
        reason: Why not, in onnxruntime's own words; empty where it runs.
    """

    name: str
    origin: str
    loads: bool
    runs: bool
    reason: str = ""


@dataclass(frozen=True)
class Library:
    """A library that was found.

    Attributes:
        name: Such as ``cudnn``.
        where: Its path, or the name under which the system finds it.
    """

    name: str
    where: str


def built() -> list[str]:
    """The providers that onnxruntime was built with.

    Raises:
        ExecutionError: It cannot be imported.
    """
    try:
        import onnxruntime as ort
    except Exception as error:
        raise ExecutionError(f"onnxruntime cannot be imported: {first_message(str(error))}") from error
    return list(ort.get_available_providers())


def load(provider: str) -> ProviderState:
    """Open a session of one Conv with a provider that is built in."""
    import onnxruntime as ort

    if provider != _CPU and hasattr(ort, "preload_dlls"):
        with suppress(Exception):  # what is missing is said by the session
            ort.preload_dlls()
    return _open(provider, "built in", ort.SessionOptions(), [provider])


def load_plugin(module: str, origin: str) -> ProviderState:
    """The same with a provider that a package brings, which knows where its library is."""
    import onnxruntime as ort

    try:
        package = importlib.import_module(module)
        name: str = package.get_ep_name()
        with overheard() as said:
            ort.register_execution_provider_library(module, package.get_library_path())
    except Exception as error:
        return ProviderState(module, origin, loads=False, runs=False, reason=first_message(str(error)))
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if not devices:
        reason = first_message(said()) or "it finds no device of its kind"
        return ProviderState(name, origin, loads=False, runs=False, reason=reason)
    options = ort.SessionOptions()
    options.add_provider_for_devices(devices[:1], {})
    return _open(name, origin, options, None)


def _open(name: str, origin: str, options: ort.SessionOptions, providers: list[str] | None) -> ProviderState:
    """Onnxruntime leaves out a provider that does not load, and logs why: the log is the reason."""
    import onnxruntime as ort

    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    with overheard() as said:
        try:
            session = ort.InferenceSession(_model(), options, providers=providers, enable_fallback=0)
        except Exception as error:
            return ProviderState(name, origin, loads=False, runs=False, reason=first_message(said(), str(error)))
        if name not in session.get_providers():
            reason = first_message(said()) or "onnxruntime does not say why"
            return ProviderState(name, origin, loads=False, runs=False, reason=reason)
    runs = any(part.ep_name == name for part in session.get_provider_graph_assignment_info())
    return ProviderState(name, origin, loads=True, runs=runs, reason="" if runs else "it leaves a Conv to the CPU")


def _model() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 4, 4]) for name in "xy")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [2.0])
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "probe", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def find_cuda() -> list[Library]:
    """The libraries that the CUDA and TensorRT providers need: of Python packages, of the system, and the driver."""
    root = Path(sysconfig.get_path("purelib"), "nvidia")
    ending = "*.dll" if sys.platform == "win32" else "*.so*"
    files = sorted(file for file in root.rglob(ending) if file.is_file())
    found = []
    for name in _CUDA:
        pattern = re.compile(rf"(lib)?{name}(64_\d+)?[.]", re.IGNORECASE)
        found += [Library(name, os.fspath(file)) for file in files if pattern.match(file.name)]
        if system := ctypes.util.find_library(name):
            found.append(Library(name, system))
    return found + _driver()


def _driver() -> list[Library]:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver, number = ctypes.CDLL(name), ctypes.c_int()
        driver.cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return []
    return [Library("driver", f"{name}, for CUDA up to {number.value // 1000}.{number.value % 1000 // 10}")]

"""Execution providers: asking for one is a demand.

onnxruntime falls back to the CPU without a word: a provider that was built but does not load is dropped from the
session, and operators that it does not take run elsewhere. So a session is opened here in two attempts:

    1. with the CPU as a fallback forbidden;
    2. if that is refused, with the CPU allowed, for shape arithmetic,

and both times onnxruntime records which node it gave to whom, for ``assignment.py`` to judge.

Plugin providers come as a Python package that knows where its library is, such as onnxruntime-ep-openvino.

Everything that touches onnxruntime runs in a child process; ``parse`` and ``repair`` do not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError, ProviderError
from bnfold.runtime.assignment import Assigned, objection
from bnfold.runtime.overhearing import first_message, overheard
from bnfold.runtime.repairs import installed, repairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnxruntime as ort

__all__ = ["CPU", "Provider", "load", "open_there", "parse", "probe", "repair", "settings_of"]

_SUFFIX = "ExecutionProvider"
_NAMES = {
    name.lower(): f"{name}{_SUFFIX}"
    for name in (
        "Azure", "CANN", "CoreML", "CPU", "CUDA", "Dml", "Dnnl", "MIGraphX", "Nnapi", "NvTensorRTRTX", "OpenVINO",
        "QNN", "ROCM", "Tensorrt", "VitisAI", "WebGpu", "Xnnpack",
    )
}  # fmt: skip

# For a verdict, numbers are kept as wide as the model says: by default a GPU multiplies float32 in TF32, and OpenVINO
# computes in bfloat16 on a CPU that has it. What the user asks for comes after these, and wins.
_OPTIONS = {
    "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    "OpenVINOExecutionProvider": {
        "load_config": json.dumps({device: {"INFERENCE_PRECISION_HINT": "f32"} for device in ("CPU", "GPU")})
    },
}
# What has an effect in the plugin; others it drops, most of them without a word. Those of its devices it checks itself.
_PLUGIN_OPTIONS = {
    "OpenVINOExecutionProvider": frozenset({
        "device", "dump_subgraphs", "enable_causallm", "hint_enable_gqa", "load_config", "reshape_input",
    }),
}  # fmt: skip
# Whose devices a plugin takes; it finds none elsewhere, and does not say why.
_DEVICES_OF = {"OpenVINOExecutionProvider": "Intel", "NvTensorRTRTXExecutionProvider": "NVIDIA"}
_DEVICE = "device"  # our own option: which device of a plugin provider


@dataclass(frozen=True)
class Provider:
    """An execution provider that somebody asked for.

    Attributes:
        label: As it was asked for, such as ``cuda:device_id=1``; reports call it so.
        name: As onnxruntime calls it, such as ``CUDAExecutionProvider``.
        options: What was asked for beside the name.
        wide: Whether numbers are kept as wide as the model says unless ``options`` say otherwise: for a verdict. A
            timing takes a provider as onnxruntime has it.
    """

    label: str
    name: str
    options: tuple[tuple[str, str], ...] = ()
    wide: bool = True

    def __str__(self) -> str:
        return self.label

    @property
    def is_cpu(self) -> bool:
        """Whether this is the provider that every onnxruntime has."""
        return self.name == CPU.name and not self.options


CPU = Provider("cpu", "CPUExecutionProvider")


def parse(text: str) -> Provider:
    """``cuda`` or ``cuda:device_id=1,use_tf32=1`` or ``QNNExecutionProvider``; commas inside braces part nothing.

    Raises:
        BnfoldError: There is no name, or an option has no value.
    """
    name, colon, rest = text.strip().partition(":")
    pairs = [tuple(part.strip() for part in option.partition("=")) for option in _split(rest)]
    if not name or (colon and not rest) or any(not key or not equals or not value for key, equals, value in pairs):
        raise BnfoldError(f"--provider {text}: give NAME or NAME:key=value,key=value")
    full = _NAMES.get(name.lower(), name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}")
    return Provider(text.strip(), full, tuple((key, value) for key, _, value in pairs))


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text else []


def probe(provider: Provider) -> None:
    """See that a provider is there and loads, with a model of one operator; for a child process.

    Raises:
        ProviderError: It does not; the message holds the reason and the repair.
    """
    import onnxruntime as ort
    from onnx import TensorProto, helper

    shapes = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy"}
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [shapes["x"]], [shapes["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    load(provider, model.SerializeToString(), ort.SessionOptions)


def open_there(
    provider: Provider, path: str, make_options: Callable[[], ort.SessionOptions]
) -> tuple[ort.InferenceSession, list[Assigned]]:
    """A session whose heavy operators all run on ``provider``, and where each operator runs.

    Raises:
        ProviderError: It is missing, does not load, refuses the model, or leaves heavy operators to another one.
    """

    def strictly() -> ort.SessionOptions:
        options = make_options()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options

    try:
        session = load(provider, path, strictly)
    except ProviderError:
        session = load(provider, path, make_options)
    nodes = [
        Assigned(part.ep_name, node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    reason = objection(provider.name, nodes)
    if reason:
        raise ProviderError(f"{path}: {provider} did not run it: {reason}")
    return session, nodes


def load(
    provider: Provider, model: str | bytes, make_options: Callable[[], ort.SessionOptions]
) -> ort.InferenceSession:
    """A session that has the provider at all.

    Raises:
        ProviderError: onnxruntime has no such provider, it did not load, or it refuses the model.
    """
    import onnxruntime as ort

    options = make_options()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    with overheard() as said:
        try:
            arguments = _prepare(provider, options)
            session = ort.InferenceSession(model, options, enable_fallback=0, **arguments)
        except ProviderError:
            raise
        except Exception as error:
            raise ProviderError(_failure(provider, model, said(), str(error))) from error
        if provider.name not in session.get_providers():
            raise ProviderError(_failure(provider, model, said()))
    return session


def _prepare(provider: Provider, options: ort.SessionOptions) -> dict[str, object]:
    """Add a plugin provider to the options, or say what the session is to be given."""
    import onnxruntime as ort

    wanted = _wanted(provider)
    if provider.name in ort.get_available_providers() and not _is_plugin(provider):
        if provider.name != CPU.name and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        return {"providers": [(provider.name, wanted)]}
    _register(provider)
    _refuse_ignored(provider)
    device = wanted.pop(_DEVICE, "")
    found = [one for one in ort.get_ep_devices() if one.ep_name == provider.name]
    if not found:
        raise ProviderError(f"provider {provider}: missing: {_why_missing(provider)}")
    taken = [one for one in found if not device or device.upper() in _names_of(one)]
    if not taken:
        names = ", ".join(sorted(set().union(*map(_names_of, found))))
        raise ProviderError(f"provider {provider}: has no device {device}, only {names}")
    options.add_provider_for_devices(taken[:1], wanted)
    return {}


def _why_missing(provider: Provider) -> str:
    import onnxruntime as ort

    if module := _plugin_of(provider):
        maker = _DEVICES_OF.get(provider.name)
        return (
            f"its plugin {module} finds no device on this machine that it takes{f': those of {maker}' if maker else ''}"
        )
    available = ", ".join(name.removesuffix(_SUFFIX) for name in ort.get_available_providers())
    return f"this onnxruntime {ort.__version__} has none such, only {available}{_repair_here(provider)}"


def _refuse_ignored(provider: Provider) -> None:
    """A plugin says nothing of an option that it does not know, and what is asked for is a demand.

    Raises:
        ProviderError: There is such an option.
    """
    known = _PLUGIN_OPTIONS.get(provider.name)
    ignored = [key for key, _ in provider.options if known is not None and key not in known]
    if ignored:
        raise ProviderError(
            f"provider {provider}: would ignore {', '.join(ignored)}: it takes {', '.join(sorted(known or ()))}; "
            'properties of a device go into load_config, as load_config={"CPU":{"INFERENCE_NUM_THREADS":"1"}}'
        )


def _wanted(provider: Provider) -> dict[str, str]:
    return (_OPTIONS.get(provider.name, {}) if provider.wide else {}) | dict(provider.options)


def settings_of(session: ort.InferenceSession, provider: Provider) -> dict[str, str]:
    """The options of a provider, as it tells them itself; a plugin tells none, and has those that it was given."""
    return {**_wanted(provider), **session.get_provider_options().get(provider.name, {})}


def _names_of(device: ort.OrtEpDevice) -> set[str]:
    return {device.device.type.name, device.ep_metadata.get("ov_device", device.device.type.name)}


def _is_plugin(provider: Provider) -> bool:
    """Whether the provider is among the available ones only because a plugin was registered before."""
    import onnxruntime as ort

    return any(one.ep_name == provider.name and "library_path" in one.ep_metadata for one in ort.get_ep_devices())


def _register(provider: Provider) -> None:
    """Register the library of an installed plugin package, such as ``onnxruntime_ep_openvino``; silent without one."""
    module = _plugin_of(provider)
    if not module or _is_plugin(provider):
        return
    try:
        _register_once(module)
    except Exception as error:
        reason = f"{first_message(str(error))}{_repair_here(provider)}"
        raise ProviderError(f"provider {provider}: does not load: {reason}") from error


@cache
def _register_once(module: str) -> None:
    """A library can be registered once a process, and one that finds no device leaves no trace."""
    import onnxruntime as ort

    ort.register_execution_provider_library(module, importlib.import_module(module).get_library_path())


def _plugin_of(provider: Provider) -> str:
    short = provider.name.removesuffix(_SUFFIX).lower()
    names = (f"onnxruntime_ep_{short}", f"onnxruntime_ep_{'nv_tensorrt_rtx' if short == 'nvtensorrtrtx' else short}")
    return next((name for name in names if importlib.util.find_spec(name)), "")


def _failure(provider: Provider, model: str | bytes, *said: str) -> str:
    """What to say when onnxruntime did not make a session: whose fault it is, if that can be told."""
    import onnxruntime as ort

    words = first_message(*said) or "onnxruntime does not say why"
    loads = "load library" not in words and provider.name in ort.get_available_providers()
    if isinstance(model, str) and loads:
        return f"{model}: {provider} refuses the model: {words}"
    return f"provider {provider}: does not load: {words}{_repair_here(provider)}"


def _repair_here(provider: Provider) -> str:
    words = repair(provider.name, installed())
    return f"; {words}" if words else ""


def repair(name: str, distributions: Sequence[str]) -> str:
    """What brings a provider, in words; empty where that is not known.

    Args:
        name: The provider, as onnxruntime calls it.
        distributions: What is installed of onnxruntime, as ``installed()`` gives it.
    """
    if name == "CoreMLExecutionProvider":
        return "only onnxruntime for macOS has it: pip install onnxruntime, there"
    commands = (shlex.join(["pip", *arguments]) for arguments in repairs_of(name, distributions))
    return " && ".join(commands)

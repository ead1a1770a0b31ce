"""Inferences from the memory of a device to the memory of the device: without the copies from the host and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnxruntime as ort

    from bnfold.runtime.providers import Provider
    from bnfold.runtime.sessions import Feeds

__all__ = ["Device", "bind", "device_of"]

_DEVICES = {"CUDAExecutionProvider": "cuda", "DmlExecutionProvider": "dml", "TensorrtExecutionProvider": "cuda"}


@dataclass(frozen=True)
class Device:
    """Memory that onnxruntime can bind inputs and outputs to.

    Attributes:
        kind: As onnxruntime calls it: ``cuda``, ``dml`` or ``cpu``.
        number: Which of them.
    """

    kind: str
    number: int = 0


def device_of(provider: Provider) -> Device | None:
    """The memory of its own in which a provider computes; None for those that compute in the host's."""
    kind = _DEVICES.get(provider.name)
    return Device(kind, int(dict(provider.options).get("device_id", "0"))) if kind else None


def bind(session: ort.InferenceSession, feed: Feeds, device: Device) -> Callable[[], None]:
    """Put the inputs on the device, and return what runs one inference there and waits until it is over."""
    import onnxruntime as ort

    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device.kind, device.number))
    for output in session.get_outputs():
        binding.bind_output(output.name, device.kind, device.number)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run

"""The packages that bring an execution provider, and the commands of pip that install them."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OF_GPU", "PLUGIN", "installed", "repairs_of"]

OF_GPU = "onnxruntime-gpu"
PLUGIN = "onnxruntime-ep-"
_DISTRIBUTIONS = ("onnxruntime", OF_GPU, "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-silicon")
_PLUGINS = {"openvino": f"{PLUGIN}openvino", "nvtensorrtrtx": f"{PLUGIN}nv-tensorrt-rtx"}
_LIBRARIES = {"cuda": (), "tensorrt": ("tensorrt",)}


def installed() -> list[str]:
    """The distributions of onnxruntime that are installed; two of them overwrite each other."""
    found = []
    for name in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            version(name)
            found.append(name)
    return found


def repairs_of(provider: str, distributions: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The arguments of pip, command by command; none where no package is known to bring the provider.

    Args:
        provider: Its name, such as ``cuda`` or ``CUDAExecutionProvider``.
        distributions: What is installed of onnxruntime, as ``installed()`` gives it.
    """
    short = provider.casefold().removesuffix("executionprovider")
    if short in _PLUGINS:
        return (("install", _PLUGINS[short]),)
    if short not in _LIBRARIES:
        return ()
    # All of them write the same folder: removing one takes files of the other with it.
    remove = () if [*distributions] in ([], [OF_GPU]) else (("uninstall", "-y", *distributions),)
    return (*remove, ("install", f"{OF_GPU}[cuda,cudnn]", *_LIBRARIES[short]))

"""What is installed, by its metadata, and the commands that repair it."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from bnfold.diagnosing.environment import Package, Problem
from bnfold.runtime import repairs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OLDEST", "conflicts", "outdated", "plugins", "providing", "repairs_of", "versions"]

# onnx before 1.21 reads files outside the model's folder; torch before 2.6 may run code of a file of weights.
OLDEST = {"onnx": "1.21", "onnx-ir": "1.0", "numpy": "1.26", "onnxruntime": "1.24", "torch": "2.6"}
_PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "numpy", "ml-dtypes", "torch")


def versions() -> tuple[Package, ...]:
    """What bnfold builds on; onnxruntime by whatever distribution provides it."""
    found = {package.name: package.version for package in providing("onnxruntime")}
    named = [Package(name, _version(name)) for name in _PACKAGES]
    return tuple(
        Package(entry.name, next(iter(found.values()), None)) if entry.name == "onnxruntime" else entry
        for entry in named
    )


def providing(module: str) -> tuple[Package, ...]:
    """The distributions that install a module of this name."""
    names = {_normal(name) for name in metadata.packages_distributions().get(module, ())}
    return tuple(Package(name, _version(name)) for name in sorted(names))


def plugins() -> tuple[Package, ...]:
    """The distributions that bring an execution provider as a plugin of onnxruntime."""
    names = {_normal(name) for entry in metadata.distributions() if (name := entry.name)}
    return tuple(Package(name, _version(name)) for name in sorted(names) if name.startswith(repairs.PLUGIN))


def conflicts(installed: Sequence[Package]) -> list[Problem]:
    """There must be one onnxruntime: two write to the same folder, and removing one breaks the other."""
    if not installed:
        message = "onnxruntime is not installed: nothing can be verified or timed"
        return [Problem(message, (_pip("install", "bnfold[cpu]"),))]
    if len(installed) == 1:
        return []
    names = [package.name for package in installed]
    special = [package for package in installed if package.name != "onnxruntime"]
    kept = next((package for package in special if package.name == repairs.OF_GPU), special[0])
    extras = "[cuda,cudnn]" if kept.name == repairs.OF_GPU else ""
    commands = (_pip("uninstall", "-y", *names), _pip("install", f"{kept.name}{extras}=={kept.version}"))
    return [Problem(f"{' and '.join(names)} are both installed, and overwrite each other's files", commands)]


def outdated() -> list[Problem]:
    """The packages that are too old."""
    return [
        Problem(f"{entry.name} {entry.version} is older than {oldest}", (_pip("install", f"{entry.name}>={oldest}"),))
        for entry in versions()
        if (oldest := OLDEST.get(entry.name)) and entry.version and _numbers(entry.version) < _numbers(oldest)
    ]


def repairs_of(provider: str, installed: Sequence[Package]) -> tuple[str, ...]:
    """The commands that bring an execution provider.

    Args:
        provider: ``cuda``, ``openvino``, …: the name without its suffix, in small letters.
        installed: The distributions of onnxruntime that are there.
    """
    commands = repairs.repairs_of(provider, [package.name for package in installed])
    return tuple(_pip(*arguments) for arguments in commands)


def _pip(*arguments: str) -> str:
    """A command for the very interpreter that runs this."""
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])

"""What ``doctor`` found: data first, shown by ``bnfold.reporting.diagnosing``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.runtime.probing import Library, ProviderState

__all__ = ["Environment", "Machine", "Package", "Problem"]


@dataclass(frozen=True)
class Package:
    """A distribution.

    Attributes:
        name: As package indexes call it.
        version: What is installed; None if nothing is.
    """

    name: str
    version: str | None


@dataclass(frozen=True)
class Machine:
    """The processor, as onnxruntime finds it.

    Attributes:
        processor: Its name.
        cores: How many the system has.
        usable: How many this process may use.
        quota: How many it may use at a time on average, by its control group; None without such a limit.
        omp_num_threads: What the environment variable OMP_NUM_THREADS says; None where it is not set.
    """

    processor: str
    cores: int
    usable: int
    quota: float | None
    omp_num_threads: str | None


@dataclass(frozen=True)
class Problem:
    """Something that is broken.

    Attributes:
        message: What, and why.
        repairs: The commands that mend it, one after another; none where there is none to give.
    """

    message: str
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What is installed here; true in a condition if nothing is broken.

    Attributes:
        bnfold: The version of bnfold.
        python: The version of Python.
        platform: The system, in words.
        packages: What bnfold builds on.
        onnxruntimes: The distributions that provide onnxruntime; there must be one and no more.
        plugins: The distributions that bring execution providers as plugins.
        machine: The processor.
        providers: The execution providers, each tried in a process of its own.
        cuda: The libraries that the CUDA and TensorRT providers need, as far as they were found.
        problems: What is broken.
    """

    bnfold: str
    python: str
    platform: str
    packages: tuple[Package, ...]
    onnxruntimes: tuple[Package, ...]
    plugins: tuple[Package, ...]
    machine: Machine
    providers: tuple[ProviderState, ...]
    cuda: tuple[Library, ...]
    problems: tuple[Problem, ...]

    def __bool__(self) -> bool:
        return not self.problems

"""Small networks with BatchNormalization, one a file, and what training and export need to know of each.

A network is a module ``bnfold/zoo/NAME.py`` with a function ``build()``, and one entry below. Nothing here
imports torch until a network is built.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import BnfoldError
from bnfold.zoo import data as datasets
from bnfold.zoo.dependencies import require
from bnfold.zoo.tasks import CLASSIFY, Task

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from bnfold.zoo.data import Dataset

__all__ = ["NETWORKS", "Network", "find"]


@dataclass(frozen=True)
class Network:
    """One network of the zoo, before it is built.

    Attributes:
        name: The network's name, and that of its module in ``bnfold.zoo``.
        summary: One sentence: what it is, and where its BatchNorms stand.
        data: Its data set's name in ``bnfold.zoo.data``.
        input_shape: One input without the batch axis, such as (1, 8, 8).
        input_name: What the ONNX graph calls its input.
        output_name: What the ONNX graph calls its output.
        task: What it learns, and how it is judged.
        prepare: What makes its inputs and targets of the data set; None where they are used as they are.
    """

    name: str
    summary: str
    data: str
    input_shape: tuple[int, ...]
    input_name: str = "image"
    output_name: str = "logits"
    task: Task = CLASSIFY
    prepare: Callable[[Dataset], Dataset] | None = None

    def build(self) -> nn.Module:
        """The network as an ``nn.Module`` in training mode, its weights drawn from torch's default generator.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        require("torch")
        module: nn.Module = importlib.import_module(f"{__name__}.{self.name}").build()
        return module

    def load_data(self, name: str | None = None, folder: str | os.PathLike[str] | None = None) -> Dataset:
        """The data that it is trained and judged with, prepared for its task; the same each time.

        Args:
            name: Another data set than its own, one of ``bnfold.zoo.data.NAMES``.
            folder: Where that one's files are, as ``bnfold.zoo.data.load`` takes it.

        Raises:
            MissingDependencyError: The package that brings the data, or reads it, is not installed.
            ModelFileError: Its files are not there, or hold something else.
            BnfoldError: There is no such data set.
        """
        found = datasets.load(name or self.data, folder)
        return found if self.prepare is None else self.prepare(found)

    def example_input(self, rows: int, seed: int = 0) -> NDArray[np.float32]:
        """Random input of the right shape: float32 [rows, *input_shape], standard normal."""
        shape = (rows, *self.input_shape)
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        network.name: network
        for network in (
            Network(
                name="digits_cnn",
                summary="a small convolutional network: BatchNorm behind each of three Conv and "
                "behind a Linear, Dropout at the head only",
                data="digits",
                input_shape=(1, 8, 8),
            ),
        )
    }
)


def find(name: str) -> Network:
    """The network of that name.

    Raises:
        BnfoldError: The zoo has none; the message lists those it has.
    """
    if name not in NETWORKS:
        raise BnfoldError(f"no network named {name!r} in the zoo; it has: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]

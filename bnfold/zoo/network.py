"""What training and export need to know of a network, before it is built."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """One network of the zoo, before it is built.

    Attributes:
        name: The network's name, and that of its module in ``bnfold.zoo``.
        summary: One sentence: what it is, and where its BatchNorms stand.
        data: Its data set's name in ``bnfold.zoo.data``.
        input_shape: One input without the batch axis, such as (1, 8, 8).
        classes: How many it tells apart, where its task is that.
        adapts: The shapes of inputs that it can be built for, with any number of classes: see ``fitted``. None where
            it takes inputs of ``input_shape`` and tells ``classes`` apart, and no others.
        placements: Where its BatchNorms can stand, the first by default; none where there is no choice. ``pre`` is
            Linear-BN-activation, ``post`` Linear-activation-BN, ``input`` BN-Linear-activation.
        recipe: What ``bnfold.training.train`` is told for the weights that ship, where that is not its default.
        input_name: What the ONNX graph calls its input.
        output_name: What the ONNX graph calls its output.
        task: What it learns, and how it is judged.
        prepare: What makes its inputs and targets of the data set; None where they are used as they are.
    """

    name: str
    summary: str
    data: str = "digits"
    input_shape: tuple[int, ...] = (1, 8, 8)
    input_name: str = "image"
    output_name: str = "logits"
    task: Task = CLASSIFY
    prepare: Callable[[Dataset], Dataset] | None = None
    classes: int = 10
    adapts: Callable[[tuple[int, ...]], bool] | None = None
    placements: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def build(self, placement: str | None = None) -> nn.Module:
        """The network as an ``nn.Module`` in training mode, its weights drawn from torch's default generator.

        Args:
            placement: One of ``placements``; the first of them if None.

        Raises:
            MissingDependencyError: torch is not installed.
            BnfoldError: Its BatchNorms cannot stand there.
        """
        require("torch")
        options: dict[str, object] = {}
        if self.adapts is not None:
            options |= {"shape": self.input_shape, "classes": self.classes}
        if self.placements or placement is not None:
            options["placement"] = self._placement(placement)
        module: nn.Module = importlib.import_module(f"bnfold.zoo.{self.name}").build(**options)
        return module

    def _placement(self, wanted: str | None) -> str:
        if wanted is None:
            return self.placements[0]
        if not self.placements:
            raise BnfoldError(f"placement {wanted}: the BatchNorms of {self.name} have their fixed places")
        if wanted not in self.placements:
            raise BnfoldError(f"placement {wanted}: those of {self.name} are {', '.join(self.placements)}")
        return wanted

    def fitted(self, data: Dataset) -> Network:
        """The network for these data: with their shape of inputs and their classes, where it can have them.

        Args:
            data: As ``load_data`` gives them: prepared.

        Raises:
            BnfoldError: It does not adapt, and takes other inputs, or tells other classes apart.
        """
        shape = data.train_inputs.shape[1:]
        classes = len(data.classes) if self.task is CLASSIFY else self.classes
        if (shape, classes) == (self.input_shape, self.classes) or (self.adapts and self.adapts(shape)):
            return replace(self, data=data.name, input_shape=shape, classes=classes)
        raise BnfoldError(
            f"{self.name} takes inputs of {datasets.times(self.input_shape)} and tells {self.classes} classes apart; "
            f"{data.name} has inputs of {datasets.times(shape)} and {classes} classes"
        )

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

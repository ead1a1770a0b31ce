"""The data of the studies: real, small, and on board."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bnfold.zoo import data as datasets

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Split", "load_split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to learn from, and rows to measure with.

    Attributes:
        inputs: float32 [N, features].
        targets: int64 [N].
        test_inputs: float32 [M, features].
        test_targets: int64 [M].
        classes: How many there are.
    """

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    classes: int

    @property
    def features(self) -> int:
        """How many numbers a row has."""
        return self.inputs.shape[1]

    def with_validation(self, rows: int) -> Split:
        """One that learns from the first rows only, and measures with those behind them: to choose a setting with."""
        return replace(
            self,
            inputs=self.inputs[:rows],
            targets=self.targets[:rows],
            test_inputs=self.inputs[rows:],
            test_targets=self.targets[rows:],
        )


@cache
def load_split(name: str, *, standardised: bool = True, rows: int | None = None) -> Split:
    """A data set as rows of features.

    Args:
        name: As ``bnfold.zoo.data`` calls it.
        standardised: Whether every feature has mean 0 and standard deviation 1 over the training rows; one that is
            constant there becomes 0.
        rows: How many of the training rows; all if None. They are in random order.
    """
    import torch

    found = datasets.load(name)
    inputs, test_inputs = (
        part.reshape(len(part), -1).astype(np.float64) for part in (found.train_inputs[:rows], found.held_out_inputs)
    )
    if standardised:
        mean, spread = inputs.mean(0), inputs.std(0)
        spread[spread == 0] = np.inf
        inputs, test_inputs = (inputs - mean) / spread, (test_inputs - mean) / spread
    return Split(
        torch.from_numpy(inputs.astype(np.float32)),
        torch.from_numpy(found.train_targets[:rows].astype(np.int64)),
        torch.from_numpy(test_inputs.astype(np.float32)),
        torch.from_numpy(found.held_out_targets.astype(np.int64)),
        len(found.classes),
    )

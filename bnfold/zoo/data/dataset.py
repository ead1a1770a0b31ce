"""What a data set is, and how one without a split of its own is split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bnfold.zoo.tasks import Targets

__all__ = ["Dataset", "split", "times"]

_SPLIT_SEED = 0
_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets in two parts, one to learn from and one to measure with.

    Attributes:
        name: How the zoo calls it.
        description: What it is, and how its values were scaled.
        source: Who made it, where it comes from, and its licence.
        train_inputs: float32 [N, …], the network's input.
        train_targets: int64 [N], the class of each; or float32 [N, …], what an output is to equal.
        held_out_inputs: float32 [M, …], never trained on.
        held_out_targets: The same for these.
        classes: What the targets 0, 1, … stand for.
    """

    name: str
    description: str
    source: str
    train_inputs: NDArray[np.float32]
    train_targets: Targets
    held_out_inputs: NDArray[np.float32]
    held_out_targets: Targets
    classes: tuple[str, ...]


def split(
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    name: str,
    description: str,
    source: str,
    classes: tuple[str, ...],
) -> Dataset:
    """Hold out a quarter of each class, always the same one; of fewer than 4 a class as many rows as there are classes.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require("sklearn")
    from sklearn.model_selection import train_test_split

    held_out = max(math.ceil(_HELD_OUT_SHARE * len(labels)), len(classes))
    train_inputs, held_out_inputs, train_targets, held_out_targets = train_test_split(
        inputs, labels, test_size=held_out, stratify=labels, random_state=_SPLIT_SEED
    )
    return Dataset(
        name=name,
        description=description,
        source=source,
        train_inputs=train_inputs,
        train_targets=train_targets,
        held_out_inputs=held_out_inputs,
        held_out_targets=held_out_targets,
        classes=classes,
    )


def times(shape: tuple[int, ...]) -> str:
    """A shape for people: 1×8×8."""
    return "×".join(map(str, shape))

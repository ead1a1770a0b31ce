"""The data that the zoo is trained on and checked with: real, and none of it needs a download.

The split is part of the data: it does not depend on a training run's seed, so that ``train`` and ``export``
mean the same images when they say held-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import BnfoldError
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Dataset", "load"]

_SPLIT_SEED = 0
_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and labels in two parts, one to learn from and one to measure with.

    Attributes:
        name: How the zoo calls it.
        description: What it is, and how its values were scaled.
        source: Who made it, where it comes from, and its licence.
        train_inputs: float32 [N, …], the network's input.
        train_labels: int64 [N].
        held_out_inputs: float32 [M, …], never trained on.
        held_out_labels: int64 [M].
    """

    name: str
    description: str
    source: str
    train_inputs: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    held_out_inputs: NDArray[np.float32]
    held_out_labels: NDArray[np.int64]


def load(name: str) -> Dataset:
    """The data set of a zoo network.

    Raises:
        MissingDependencyError: The package that brings the data is not installed.
        BnfoldError: There is no such data set.
    """
    if name != "digits":
        raise BnfoldError(f"no data set named {name!r}; there is: digits")
    return _digits()


def _digits() -> Dataset:
    require("sklearn")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # Each pixel counts the ink in a block of 4×4: 0 to 16. A fixed scale, so that a user of the ONNX file
    # needs no statistics beside it.
    images = (digits.images / 16).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    train_inputs, held_out_inputs, train_labels, held_out_labels = train_test_split(
        images, labels, test_size=_HELD_OUT_SHARE, stratify=labels, random_state=_SPLIT_SEED
    )
    return Dataset(
        name="digits",
        description="1797 handwritten digits of 8×8 pixels in ten classes, ink scaled to 0…1",
        source=(
            "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
            "Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0; read from scikit-learn "
            "(BSD-3-Clause), which ships it"
        ),
        train_inputs=train_inputs,
        train_labels=train_labels,
        held_out_inputs=held_out_inputs,
        held_out_labels=held_out_labels,
    )

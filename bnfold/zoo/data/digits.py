"""Handwritten digits of 8×8 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.zoo.data.dataset import Dataset, split
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load"]


def load(name: str, folder: Path | None) -> Dataset:
    """The digits, as images [N, 1, 8, 8].

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require("sklearn")
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Each pixel counts the ink in a block of 4×4: 0 to 16. A fixed scale, so that a user of the ONNX file
    # needs no statistics beside it.
    return split(
        (digits.images / 16).astype(np.float32)[:, None],
        digits.target.astype(np.int64),
        name=name,
        description="1797 handwritten digits of 8×8 pixels in ten classes, ink scaled to 0…1",
        source=(
            "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
            "Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0; read from scikit-learn "
            "(BSD-3-Clause), which ships it"
        ),
        classes=tuple("0123456789"),
    )

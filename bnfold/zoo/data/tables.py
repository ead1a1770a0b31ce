"""Two small tables with features of very different scale, as they were measured: nothing is standardised.

The proline of a wine reaches 1680 and its hue 1.7. What a network without BatchNorm makes of that is the point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bnfold.zoo.data.dataset import Dataset, split
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load"]

_SHIPPED = "read from scikit-learn (BSD-3-Clause), which ships it"
_TABLES = {
    "breast_cancer": (
        "569 tumours, malignant or benign, by 30 features of their cells; features as measured, from 0 to 4254",
        "W. Wolberg, O. Mangasarian, N. Street, W. Street, Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning "
        f"Repository, 1993, https://doi.org/10.24432/C5DW2B, CC BY 4.0; {_SHIPPED}",
    ),
    "wine": (
        "178 wines of three cultivars by 13 chemical features; features as measured, from 0.1 to 1680",
        "S. Aeberhard and M. Forina, Wine, UCI Machine Learning Repository, 1992, "
        f"https://doi.org/10.24432/C5PC7J, CC BY 4.0; {_SHIPPED}",
    ),
}


def load(name: str, folder: Path | None) -> Dataset:
    """One of the tables, as rows [N, features].

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require("sklearn")
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    description, source = _TABLES[name]
    return split(
        table.data.astype(np.float32),
        table.target.astype(np.int64),
        name=name,
        description=description,
        source=source,
        classes=tuple(map(str, table.target_names)),
    )

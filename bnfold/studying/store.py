"""Finished cells, one JSON file each, so that an interrupted study goes on where it was."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bnfold
from bnfold import modelfile
from bnfold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.studying.claim import Cell, Claim, Numbers

__all__ = ["Store"]

_HERE = Path(bnfold.__file__).parent
_SHARED = ("studying/data.py", "studying/fitting.py", "studying/networks.py", "training/*.py", "zoo/data/*.py")


class Store:
    """A folder of finished cells. One that other code or other versions computed counts as not finished.

    Args:
        folder: Where they are; it is made when the first is saved.
        versions: Of the packages that decide about numbers.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str]) -> None:
        self._folder = folder
        self._versions = dict(versions)

    def load(self, claim: Claim, cell: Cell) -> tuple[Numbers, float] | None:
        """The numbers of a cell and the seconds that they took; None if they are not there."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(self._path(claim, cell).read_text(encoding="utf-8"))
            if found["cell"] == asdict(cell) and found["recipe"] == self._recipe(claim):
                return found["numbers"], found["seconds"]
        return None

    def save(self, claim: Claim, cell: Cell, numbers: Numbers, seconds: float) -> None:
        """Write a cell; its file appears complete or not at all.

        Raises:
            ModelFileError: It cannot be written.
        """
        path = self._path(claim, cell)
        record = {"cell": asdict(cell), "recipe": self._recipe(claim), "numbers": numbers, "seconds": seconds}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelFileError(f"{path.parent}: cannot be made: {error.strerror}") from error
        with modelfile.staged(path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _path(self, claim: Claim, cell: Cell) -> Path:
        arm = re.sub(r"\W+", "-", cell.arm).strip("-")
        return self._folder / claim.name / f"{arm}_{cell.at:g}_{cell.seed}_{cell.epochs}.json"

    def _recipe(self, claim: Claim) -> str:
        return _recipe(claim.name, tuple(sorted(self._versions.items())))


@cache
def _recipe(name: str, versions: tuple[tuple[str, str], ...]) -> str:
    """What stands for all that decides about a claim's numbers."""
    found = hashlib.sha256(repr(versions).encode())
    for pattern in (f"studying/claims/{name}.py", *_SHARED):
        for path in sorted(_HERE.glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]

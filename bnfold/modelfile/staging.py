"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ModelFileError
from bnfold.modelfile.placing import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["staged"]


@contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that becomes ``path`` when the block ends, and vanishes when the block raises.

    It has its final name, in a temporary folder beside its target; whatever else the block writes into that folder
    (external data) is moved as well, just before the file itself. A file that is replaced keeps its mode.

    Where a file is replaced, the new one is on the disk before it takes its place: even if the machine stops, there is
    the old one or the new one. Where there was none, that would be waiting for nothing (as long as copying takes, and
    longer): if the machine stops within seconds, a new file may be empty.

    Raises:
        ModelFileError: The target is a folder, its folder does not exist, or it cannot be written.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise ModelFileError(f"{target}: is a folder; give a file name")
        if not target.parent.is_dir():
            raise ModelFileError(f"{target}: the folder {target.parent} does not exist")
        if target.exists() and not target.is_file():
            raise ModelFileError(f"{target}: is not a regular file; give another name")
        target = resolved(target)  # a link stays, and what it leads to is replaced
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))  # a name has its limit, too
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror}") from error
    try:
        yield folder / target.name
        _publish(folder, target)
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    made = (file for file in folder.rglob("*") if file.is_file())
    files = sorted(made, key=lambda file: file == folder / target.name)  # the file itself last
    moves = [(file, (target.parent / file.relative_to(folder)).resolve()) for file in files]
    if any(place.exists() for _, place in moves):
        for file, place in moves:
            _settle(file, place)
    for file, place in moves:
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


def _settle(file: Path, place: Path) -> None:
    """Before a file takes the place of another."""
    if place.exists():
        file.chmod(stat.S_IMODE(place.stat().st_mode))
    with file.open("rb") as stream:
        os.fsync(stream.fileno())

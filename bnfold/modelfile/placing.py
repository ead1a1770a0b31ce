"""Where the files of a saved model go, and what they must not take the place of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bnfold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bnfold.modelfile.source import Origin

__all__ = ["Places", "data_file_of", "find_places", "resolved"]

_MOST_PADDING = 1 << 16  # bytes between two tensors: what Windows aligns mapped memory to, and writers their tensors


def resolved(path: str | os.PathLike[str]) -> Path:
    """Where a file really is: an absolute path, links followed.

    Raises:
        ModelFileError: There can be no such file: links in a circle, a name that no file can have.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Python 3.11 has a RuntimeError for circles
        raise ModelFileError(f"{os.fspath(path)}: no file can be there: {error}") from error


def data_file_of(path: str | os.PathLike[str]) -> Path:
    """The file of external data that a model gets: beside it, and where ``path`` is a link, beside what that leads to.

    Raises:
        ModelFileError: No file can be at ``path``.
    """
    file = Path(path)
    if file.is_symlink():
        file = resolved(file)
    return file.parent / f"{file.name}.data"


class Places(NamedTuple):
    """Where a model goes.

    Attributes:
        model: The model file, links followed.
        data: The file of its external data, should it have some.
        location: The same as the model names it.
        forbidden: Files that it was read from, and that must stay.
        given_up: Files of external data that nothing reads any more when the model has been replaced.
    """

    model: Path
    data: Path
    location: str
    forbidden: frozenset[Path]
    given_up: tuple[Path, ...] = ()

    def check(self, *, external: bool) -> None:
        """See that nothing is lost.

        Raises:
            ModelFileError: A file that must stay is in the way, or the data file has a name that no model can hold.
        """
        for file in (self.model, self.data) if external else (self.model,):
            if resolved(file) in self.forbidden:
                raise ModelFileError(f"{file}: would overwrite what the model was read from; choose another name")
        if external and ("\\" in self.location or not _is_text(self.location)):
            raise ModelFileError(f"{self.data}: a model cannot name such a file of external data; choose another name")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_places(path: Path, origins: Sequence[Origin], sources: Collection[Path], *, in_place: bool) -> Places:
    """Where a model goes.

    Args:
        path: As the user has it.
        origins: What the model was read from: the model file, and its external data.
        sources: Other files that must stay; those of the origins may be among them.
        in_place: Whether the model may take the place of that which it was read from.

    Raises:
        ModelFileError: No file can be at ``path``.
    """
    model, data = resolved(path), data_file_of(path)
    read = {*sources, *(origin.path for origin in origins)}
    if not in_place or model not in read:
        return Places(model, data, data.name, frozenset(read))
    others = read - {model}
    own = {origin.path for origin in origins[1:] if origins[0].path == model and _is_all_read(origin)}
    location = data.name
    if len(others) == 1 and others == own and (only := next(iter(own))).is_relative_to(model.parent):
        location = only.relative_to(model.parent).as_posix()
    is_data = model in {origin.path for origin in origins[1:]}
    forbidden = read - own - (set() if is_data else {model})
    data = data.parent / location
    return Places(model, data, location, frozenset(forbidden), tuple(sorted(others - {resolved(data)})))


def _is_all_read(origin: Origin) -> bool:
    """Whether all of a data file but padding belongs to the model: another one may read the rest."""
    try:
        with origin.path.open("rb") as stream:
            for start, stop in origin.gaps:
                if stop - start >= _MOST_PADDING:
                    return False
                stream.seek(start)
                if any(stream.read(stop - start)):
                    return False
    except OSError as error:
        raise ModelFileError(f"{origin.path}: cannot be read: {error.strerror}") from error
    return True

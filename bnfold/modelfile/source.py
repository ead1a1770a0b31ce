"""A file that a model is read from, and that must not change meanwhile.

It is read with explicit offsets from a held descriptor, never mapped: reading a mapped file that has shrunk ends the
process (SIGBUS), where reading here ends in an error. Whoever writes into the file changes its size or its time of
modification; whoever puts another file in its place does no harm, as the descriptor leads to the old one. Not noticed
is who writes as many bytes and then sets the time back, or writes within one tick of the file system's clock.
"""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bnfold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Identity", "Origin", "Region", "Source", "changed", "pread"]


class Identity(NamedTuple):
    """What tells whether a file is still the same."""

    device: int
    inode: int
    size: int
    modified: int  # nanoseconds

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """That of a file whose status is known."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Origin(NamedTuple):
    """Where a file was found, and what it was then.

    Attributes:
        path: Where it was found.
        identity: What it was then.
        gaps: The parts of a data file that the model does not read: where each starts, and where it ends.
    """

    path: Path
    identity: Identity
    gaps: tuple[tuple[int, int], ...] = ()

    def check(self) -> None:
        """See that the file is still there, and as it was.

        Raises:
            ModelFileError: It is not.
        """
        try:
            is_same = Identity.of(self.path.stat()) == self.identity
        except OSError:
            is_same = False
        if not is_same:
            raise changed(self.path)


def changed(path: Path) -> ModelFileError:
    """What is raised when a file is not what it was."""
    return ModelFileError(f"{path}: changed while it was in use; start again")


class Source:
    """An open file.

    Attributes:
        path: Where it was found.
        identity: What it was then.
    """

    def __init__(self, path: Path, *, hold: bool = True) -> None:
        """Open a file.

        Args:
            path: A regular file.
            hold: Keep it open until nobody needs it any more; otherwise it is opened again for each use.

        Raises:
            OSError: It cannot be read.
        """
        self.path = path
        self._held: int | None = None
        descriptor = _open(path)
        try:
            self.identity = Identity.of(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        if hold:
            self._held = descriptor
            weakref.finalize(self, os.close, descriptor)
        else:
            os.close(descriptor)

    @property
    def origin(self) -> Origin:
        """The path and the identity, which keep nothing open."""
        return Origin(self.path, self.identity)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.identity.size

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file.

        Raises:
            ModelFileError: It has changed.
        """
        if length > _MOST:
            content = bytearray(length)
            self.read_into(offset, memoryview(content))
            return bytes(content)
        with self._reading() as descriptor:
            found = pread(descriptor, length, offset)
        if len(found) != length:
            raise changed(self.path)
        return found

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill a buffer with bytes of the file.

        Raises:
            ModelFileError: It has changed.
        """
        with self._reading() as descriptor:
            for start in range(0, len(target), _MOST):
                part = target[start : start + _MOST]
                if _pread_into(descriptor, part, offset + start) != len(part):
                    raise changed(self.path)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        try:
            with self.opened() as descriptor:
                yield descriptor
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot be read: {error.strerror}") from error

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the file, which has not changed when the block begins and when it ends.

        Raises:
            ModelFileError: It has changed.
            OSError: It cannot be read.
        """
        descriptor = self._held if self._held is not None else _open(self.path)
        try:
            self._check(os.fstat(descriptor))
            yield descriptor
            self._check(os.fstat(descriptor))
        finally:
            if descriptor != self._held:
                os.close(descriptor)

    def __reduce__(self) -> tuple[Callable[[Path, Identity], Source], tuple[Path, Identity]]:
        return _opened_again, (self.path, self.identity)

    def __deepcopy__(self, memo: object) -> Source:
        return self

    def _check(self, status: os.stat_result) -> None:
        if Identity.of(status) != self.identity:
            raise changed(self.path)


def _opened_again(path: Path, identity: Identity) -> Source:
    """The source that was pickled, if the file is the same."""
    source = Source(path)
    if source.identity != identity:
        raise changed(path)
    return source


_MOST = 1 << 30  # bytes; Linux reads less than 2 GiB at once
_CHUNK = 1 << 22  # bytes that are in memory twice


def pread(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes of an open file; fewer only where it ends."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


def _pread_into(descriptor: int, target: memoryview, offset: int) -> int:
    """Fill a buffer, as far as the file goes; how many bytes that were."""
    if hasattr(os, "preadv"):  # straight into it, without a copy
        return os.preadv(descriptor, [target], offset)
    for start in range(0, len(target), _CHUNK):
        found = pread(descriptor, min(_CHUNK, len(target) - start), offset + start)
        target[start : start + len(found)] = found
        if len(found) < _CHUNK:
            return start + len(found)
    return len(target)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))


class Region(NamedTuple):
    """Bytes of a file: ``length`` of them from ``offset``."""

    source: Source
    offset: int
    length: int

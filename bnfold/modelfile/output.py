"""A file in the making, which takes what it can from file to file, past this process."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np

from bnfold.errors import ModelFileError
from bnfold.modelfile.source import changed, pread
from bnfold.modelfile.tensors import ExternalTensor, FileTensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    import onnx_ir as ir

    from bnfold.modelfile.source import Region

__all__ = ["Output"]

_CHUNK = 1 << 20
_MOST = 1 << 30  # bytes; Linux copies less than 2 GiB at once
_NO_COPY = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV, errno.EBADF, errno.ETXTBSY}


class Output:
    """A new file, written from its start to its end. What is skipped is a hole, which reads as zeros."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where it cannot be made."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        self._position = 0

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                os.ftruncate(self._descriptor, self._position)  # where it ends with a hole
        finally:
            os.close(self._descriptor)

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes."""
        rest = memoryview(content)
        while rest:
            os.lseek(self._descriptor, self._position, os.SEEK_SET)
            count = os.write(self._descriptor, rest[:_MOST])
            rest = rest[count:]
            self._position += count

    def skip_to(self, offset: int) -> None:
        """Let the next byte be that at ``offset``."""
        self._position = offset

    def write_tensor(self, tensor: ir.TensorProtocol, nbytes: int) -> None:
        """Append the numbers of a tensor, as ``raw_data`` has them.

        Raises:
            ModelFileError: They are not ``nbytes`` bytes, or the file that they lie in has changed.
        """
        if isinstance(tensor, FileTensor | ExternalTensor):
            self._copy(tensor.region)
            return
        content = _content(tensor)
        if content.nbytes != nbytes:
            raise ModelFileError(f"tensor '{tensor.name}' has {content.nbytes} bytes, and should have {nbytes}")
        self.write(content)

    def _copy(self, region: Region) -> None:
        with region.source.opened() as descriptor:
            end = region.offset + region.length
            position = self._position
            for start, stop in _extents(descriptor, region.offset, end):
                self._position = position + start - region.offset
                if not self._copy_extent(descriptor, start, stop):
                    raise changed(region.source.path)
            self._position = position + region.length

    def _copy_extent(self, descriptor: int, start: int, stop: int) -> bool:
        """Copy bytes in the kernel, or through this process where that cannot do it; False if there are fewer."""
        while start < stop:
            count = self._copy_in_kernel(descriptor, start, min(stop - start, _MOST))
            if count:
                self._position += count
            else:
                content = pread(descriptor, min(stop - start, _CHUNK), start)
                self.write(content)
                count = len(content)
                if not count:
                    return False
            start += count
        return True

    def _copy_in_kernel(self, descriptor: int, start: int, count: int) -> int:
        """How many bytes it copied: 0 where it cannot, which some file systems do not say otherwise."""
        if not hasattr(os, "copy_file_range"):
            return 0
        try:
            return os.copy_file_range(descriptor, self._descriptor, count, start, self._position)
        except OSError as error:
            if error.errno in _NO_COPY:  # another file system, or one that cannot
                return 0
            raise


def _extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What is no hole of a part of a file."""
    while start < end:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
            stop = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
        except AttributeError:  # a system without holes
            stop = end
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole until the end of the file
                return
            stop = end  # a file system without holes
        if start < end:
            yield start, stop
        start = stop


def _content(tensor: ir.TensorProtocol) -> memoryview:
    """The bytes of a tensor, without a copy where its array has them in order."""
    if tensor.dtype.bitwidth < 8:  # several in a byte
        return memoryview(tensor.tobytes())
    array = tensor.numpy()
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data

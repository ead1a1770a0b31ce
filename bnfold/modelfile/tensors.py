"""Tensors whose numbers stay in their file until somebody asks for them; nothing is kept in memory.

Both classes are what onnx-ir makes of such a tensor, so that its own code takes them as well, and differ in where the
numbers come from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from bnfold.modelfile.source import Region

__all__ = ["ExternalTensor", "FileTensor", "is_in_file", "nbytes_of"]


class FileTensor(ir.serde.TensorProtoTensor):
    """A tensor of a model file whose ``raw_data`` are read from there each time."""

    def __init__(self, header: onnx.TensorProto, region: Region) -> None:
        """Nothing is read yet.

        Args:
            header: The tensor without its numbers.
            region: Where these lie, as ``raw_data`` has them.
        """
        super().__init__(header)
        self.header = header
        self.region = region

    @property
    def raw(self) -> onnx.TensorProto:
        """The tensor with its numbers: a copy."""
        proto = onnx.TensorProto()
        proto.CopyFrom(self.header)
        proto.raw_data = self.tobytes()
        return proto

    def numpy(self) -> np.ndarray:
        """The numbers, read anew; not to be written to."""
        return _array(self.region, self.dtype, self.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return _converted(self.numpy(), dtype, copy=copy)

    def tobytes(self) -> bytes:
        """The same as bytes, as ``raw_data`` has them."""
        return self.region.source.read(self.region.offset, self.region.length)

    def __reduce__(self) -> tuple[Any, ...]:
        return ir.serde.TensorProtoTensor, (self.raw,)


class ExternalTensor(ir.ExternalTensor):
    """A tensor of a data file; onnx-ir's own maps that, and ends the process when the file shrinks."""

    def __init__(self, tensor: ir.ExternalTensor, region: Region) -> None:
        """Nothing is read yet.

        Args:
            tensor: The same as onnx-ir has it.
            region: Where the numbers lie.
        """
        super().__init__(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name or "",
            doc_string=tensor.doc_string,
            metadata_props=tensor.metadata_props,
            base_dir=tensor.base_dir,
        )
        self.region = region

    def numpy(self) -> np.ndarray:
        """The numbers, read anew; not to be written to."""
        return _array(self.region, self.dtype, self.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return _converted(self.numpy(), dtype, copy=copy)

    def tobytes(self) -> bytes:
        """The same as bytes, as the file has them."""
        return self.region.source.read(self.region.offset, self.region.length)

    def tofile(self, file: Any) -> None:
        """Write the bytes to a file."""
        file.write(self.tobytes())


def is_in_file(tensor: ir.TensorProtocol) -> bool:
    """Whether the numbers of a tensor are read from a file, which must not change, each time they are asked for."""
    return isinstance(tensor, FileTensor | ExternalTensor)


def nbytes_of(tensor: ir.TensorProtocol) -> int | None:
    """How many bytes a tensor of this type and shape takes; None where that cannot be told: strings, and nonsense."""
    try:
        if not isinstance(tensor, ir.serde.TensorProtoTensor):
            return tensor.nbytes
        # The same without an object for the shape: a model has thousands of small tensors.
        header = tensor.header if isinstance(tensor, FileTensor) else tensor.raw
        bits = math.prod(header.dims) * ir.DataType(header.data_type).bitwidth
        return -(-bits // 8) if min(header.dims, default=0) >= 0 else None
    except (TypeError, ValueError):
        return None


def _converted(array: np.ndarray, dtype: Any, *, copy: bool | None) -> np.ndarray:
    return array.astype(dtype or array.dtype, copy=bool(copy))  # a copy can be written to


def _array(region: Region, dtype: ir.DataType, shape: tuple[int, ...]) -> np.ndarray:
    array: np.ndarray
    if dtype.bitwidth < 8:  # several in a byte
        content = region.source.read(region.offset, region.length)
        array = ir.serde.TensorProtoTensor(
            onnx.TensorProto(data_type=dtype.value, dims=shape, raw_data=content)
        ).numpy()
    else:
        buffer = np.empty(region.length, np.uint8)
        region.source.read_into(region.offset, buffer.data)
        array = buffer.view(dtype.numpy().newbyteorder("<")).reshape(shape)
    array.flags.writeable = False
    return array

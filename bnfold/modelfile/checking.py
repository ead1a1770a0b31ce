"""What is refused when a model is opened: what is not all there, what is out of order, what leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.errors import ModelFileError
from bnfold.modelfile.graphs import bodies_of
from bnfold.modelfile.tensors import nbytes_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["cause_of", "check_content", "check_location", "check_order"]

_TYPED_DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def cause_of(error: BaseException) -> str:
    """What lies beneath an error of onnx-ir, which says for each of its functions that it was called."""
    while (before := error.__cause__ or error.__context__) is not None:  # it may fail while it says so
        error = before
    return (str(error) or type(error).__name__).splitlines()[0]


def check_content(tensor: ir.serde.TensorProtoTensor, file: Path) -> None:
    """Refuse a tensor whose numbers are not all there; read as they are, the missing ones would be zeros."""
    proto = tensor.raw
    if proto.HasField("raw_data") and len(proto.raw_data) == nbytes_of(tensor):
        return
    try:
        complete = tensor.numpy().size == tensor.size
        if tensor.size and not proto.HasField("raw_data"):  # onnx-ir would take no numbers at all for zeros
            complete = complete and any(len(getattr(proto, name)) for name in _TYPED_DATA)
    except Exception:  # numpy's and onnx's own, of many kinds
        complete = False
    if not complete:
        raise ModelFileError(f"{file}: '{tensor.name}' is truncated: its data do not fill {list(proto.dims)}")


def check_order(model: ir.Model, file: Path) -> None:
    """Refuse a graph that reads what nothing before has written: an undefined name, a cycle, or nodes out of order."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _check_scope(graph, set(), file)


def _check_scope(graph: ir.Graph, visible: set[ir.Value], file: Path) -> None:
    known = visible | {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                raise ModelFileError(f"{file}: {node.op_type} reads '{value.name}', which nothing before it writes")
        for body in bodies_of(node):
            _check_scope(body, known, file)
        known.update(node.outputs)
    for value in graph.outputs:
        if value not in known:
            raise ModelFileError(f"{file}: nothing writes the graph output '{value.name}'")


def check_location(tensor: ir.ExternalTensor, file: Path) -> tuple[Path, int, int]:
    """Refuse external data that leave the model's folder, by name or through a link, and what is not all there.

    Returns:
        The data file, and where in it the numbers lie: offset and length in bytes.
    """
    location = os.fspath(tensor.location)
    if not isinstance(location, str):  # protobuf has bytes where there is no text
        raise ModelFileError(f"{file}: external data of '{tensor.name}' at {location!r}: the name is not UTF-8")
    what = f"{file}: external data of '{tensor.name}' at '{location}'"
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or "\\" in location:
        raise ModelFileError(f"{what}: only files inside the model's folder are read")
    folder = file.resolve().parent
    try:
        data = (folder / location).resolve()
        is_there, status = data.is_file(), data.stat() if data.exists() else None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{what}: {error}") from error
    if not data.is_relative_to(folder):
        raise ModelFileError(f"{what}: the link leads out of the model's folder")
    if not is_there or status is None:
        if file.is_symlink() and (file.parent / location).exists():
            raise ModelFileError(f"{what}: {file} is a link, and its data are not beside what it leads to: copy both")
        raise ModelFileError(f"{what}: no such file")
    if status.st_nlink > 1:  # as onnx and onnx-ir do: it may be anybody's file
        raise ModelFileError(f"{what}: has several hard links; copy it")
    nbytes = nbytes_of(tensor)
    length, offset = tensor.length if tensor.length is not None else nbytes, tensor.offset or 0
    if nbytes is None or length is None or nbytes < 0 or length != nbytes or offset < 0:
        raise ModelFileError(f"{what}: {length} bytes do not make {nbytes} bytes of weights")
    if offset + length > status.st_size:
        raise ModelFileError(f"{what}: the file is truncated")
    return data, offset, length

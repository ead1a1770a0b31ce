"""Open and save .onnx files.

Nothing half-written is ever left: files are made in a temporary folder beside their target and renamed into place
when they are complete. External data is read only from inside the model's own folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from bnfold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["all_graphs", "find_external_files", "load", "save", "staged"]

_EXTERNAL_THRESHOLD = 1024  # bytes; smaller tensors are cheaper inside the model than beside it


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read a model; weights in external files are mapped, not read.

    Raises:
        ModelFileError: There is no such file, it is no ONNX model, it is truncated, or its external data is missing,
            too short, or outside the model's folder.
    """
    file = Path(path)
    if file.is_dir():
        raise ModelFileError(f"{file}: is a folder, not an ONNX file")
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"{file}: no such file") from None
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read: {error.strerror}") from error
    if not content:
        raise ModelFileError(f"{file}: the file is empty")
    model = _parse(content, file)
    for tensor in _external_tensors(model):
        _check_external(tensor, file)
    return model


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    external_files: Collection[Path] = (),
    accept: Callable[[Path], None] | None = None,
) -> None:
    """Write a model, all or nothing.

    Args:
        model: What to write.
        path: Where.
        external_files: The files that hold weights of the model it was made from. If there are any, or if weights of
            this one are external, then its weights go to ``<name>.data`` beside it, and stay out of these files.
        accept: Looks at the complete file before it is put in place, and raises to refuse it.

    Raises:
        ModelFileError: It cannot be written there, or would overwrite weights that the model itself reads.
    """
    target = Path(path)
    sources = {*external_files, *find_external_files(model)}
    with staged(target) as temporary:
        if sources:
            _write_with_data(model, temporary, target, sources)
        else:
            _write_whole(model, temporary)
        if accept is not None:
            accept(temporary)


def find_external_files(model: ir.Model) -> frozenset[Path]:
    """The files beside the model that hold its weights."""
    return frozenset(Path(tensor.path).resolve() for tensor in _external_tensors(model))


@contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that becomes ``path`` when the block ends, and vanishes when the block raises.

    It has its final name, in a temporary folder beside its target; whatever else the block writes into that folder
    (external data) is moved as well, before the file itself.

    Raises:
        ModelFileError: The target is a folder, its folder does not exist, or it cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise ModelFileError(f"{target}: is a folder; give a file name")
    if not target.parent.is_dir():
        raise ModelFileError(f"{target}: the folder {target.parent} does not exist")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror}") from error
    try:
        yield folder / target.name
        _publish(folder, target)
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, the bodies of If, Loop and Scan, and the bodies of the model's own functions."""
    for outermost in (model.graph, *(function.graph for function in model.functions.values())):
        yield outermost
        yield from outermost.subgraphs()


def _write_with_data(model: ir.Model, temporary: Path, target: Path, sources: Collection[Path]) -> None:
    data = f"{target.name}.data"
    if (target.parent / data).resolve() in sources:
        raise ModelFileError(
            f"{target}: its weights would overwrite {data}, which the input reads; choose another name"
        )
    ir.save(model, temporary, external_data=data, size_threshold_bytes=_EXTERNAL_THRESHOLD)


def _write_whole(model: ir.Model, temporary: Path) -> None:
    try:
        content = ir.to_proto(model).SerializeToString(deterministic=True)
    except ValueError as error:
        raise ModelFileError(f"{temporary.name}: the model is too large for one file: {error}") from error
    temporary.write_bytes(content)


def _publish(folder: Path, target: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.name == target.name)  # the file itself last
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(target.parent / file.name)


def _parse(content: bytes, file: Path) -> ir.Model:
    try:
        proto = onnx.ModelProto.FromString(content)
    except DecodeError:
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated") from None
    if not (proto.ir_version and proto.HasField("graph") and proto.opset_import):
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated: no graph or no opset in it")
    try:
        model: ir.Model = ir.from_proto(proto)
    except Exception as error:  # whatever a malformed model makes onnx-ir raise
        raise ModelFileError(f"{file}: is a malformed ONNX model: {error}".splitlines()[0]) from error
    for tensor in _external_tensors(model):
        # An empty folder would switch off onnx-ir's own checks : give it an absolute one.
        tensor.base_dir = os.fspath(file.resolve().parent)
    return model


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in all_graphs(model):
        for tensor in _tensors(graph):
            if isinstance(tensor, ir.ExternalTensor):
                yield tensor


def _tensors(graph: ir.Graph) -> Iterable[object]:
    for value in graph.initializers.values():
        yield value.const_value
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.as_tensor()


def _check_external(tensor: ir.ExternalTensor, file: Path) -> None:
    """Refuse what leaves the model's folder, by name or through a link, and what is not all there."""
    location = os.fspath(tensor.location)
    what = f"{file}: external data of '{tensor.name}' at '{location}'"
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or "\\" in location:
        raise ModelFileError(f"{what}: only files inside the model's folder are read")
    folder = file.resolve().parent
    data = (folder / location).resolve()
    if not data.is_relative_to(folder):
        raise ModelFileError(f"{what}: the link leads out of the model's folder")
    if not data.is_file():
        raise ModelFileError(f"{what}: no such file")
    length = tensor.length if tensor.length is not None else tensor.nbytes
    if length != tensor.nbytes:
        raise ModelFileError(f"{what}: {length} bytes do not make {tensor.nbytes} bytes of weights")
    if (tensor.offset or 0) + length > data.stat().st_size:
        raise ModelFileError(f"{what}: the file is truncated")

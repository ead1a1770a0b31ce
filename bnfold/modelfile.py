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

from bnfold.errors import ExecutionError, ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["all_graphs", "find_external_files", "load", "save", "staged", "values_of", "with_bodies"]

_TYPED_DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_EXTERNAL_THRESHOLD = 1024  # bytes; smaller tensors are cheaper inside the model than beside it


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read a model; weights in external files are mapped, not read.

    Raises:
        ModelFileError: There is no such file, it is no ONNX model, it is truncated, or its external data is missing,
            too short, or outside the model's folder.
    """
    file = Path(path)
    content = _read(file)
    if not content:
        raise ModelFileError(f"{file}: the file is empty")
    model = _parse(content, file)
    for graph in all_graphs(model):
        for tensor in _tensors(graph):
            if isinstance(tensor, ir.ExternalTensor):
                _check_external(tensor, file)
            elif isinstance(tensor, ir.TensorProtoTensor):
                _check_content(tensor, file)
    _check_order(model, file)
    return model


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    sources: Collection[Path] = (),
    external: bool = False,
    accept: Callable[[Path], None] | None = None,
) -> None:
    """Write a model, all or nothing.

    Args:
        model: What to write.
        path: Where.
        sources: The files that it was made from; none of them is overwritten.
        external: Put weights into ``<name>.data`` beside it. Weights that are external already go there anyway.
        accept: Looks at the complete file before it is put in place, and raises to refuse it.

    Raises:
        ModelFileError: It cannot be written there, or would overwrite weights that the model itself reads.
    """
    target = Path(path)
    own_files = find_external_files(model)
    external = external or bool(own_files)
    data = target.with_name(f"{target.name}.data")
    for file in (target, data) if external else (target,):
        if file.resolve() in {*sources, *own_files}:
            raise ModelFileError(f"{file}: would overwrite what the model was read from; choose another name")
    with staged(target) as temporary:
        if external:
            ir.save(model, temporary, external_data=data.name, size_threshold_bytes=_EXTERNAL_THRESHOLD)
        else:
            _write_whole(model, temporary)
        if accept is not None:
            _submit(temporary, accept)


def find_external_files(model: ir.Model) -> frozenset[Path]:
    """The files beside the model that hold its weights."""
    return frozenset(Path(tensor.path).resolve() for tensor in _external_tensors(model))


@contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that becomes ``path`` when the block ends, and vanishes when the block raises.

    It has its final name, in a temporary folder beside its target; whatever else the block writes into that folder
    (external data) is moved as well, just before the file itself.

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
        target = target.resolve()  # a link stays, and what it leads to is replaced
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
        yield from list(with_bodies(outermost))  # a list, so that graphs may change meanwhile


def with_bodies(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph, and the bodies of If, Loop and Scan in it."""
    yield graph
    for node in graph:
        for body in _bodies(node):
            yield from with_bodies(body)


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH and not attribute.is_ref():
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from attribute.as_graphs()


def values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Each value that a graph itself defines: inputs, initializers, and what its nodes write."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    yield from (value for node in graph for value in node.outputs)


def _write_whole(model: ir.Model, temporary: Path) -> None:
    try:
        content = ir.to_proto(model).SerializeToString(deterministic=True)
    except ValueError as error:
        raise ModelFileError(f"{temporary.name}: the model is too large for one file: {error}") from error
    temporary.write_bytes(content)


def _submit(temporary: Path, accept: Callable[[Path], None]) -> None:
    try:
        accept(temporary)
    except OSError as error:  # of whoever looks at the file; staged() would take it for one of writing it
        raise ExecutionError(f"{temporary.name}: could not be checked: {error}") from error


def _publish(folder: Path, target: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.name == target.name)  # the file itself last
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(target.parent / file.name)


def _read(file: Path) -> bytes:
    try:
        if file.is_file():
            return file.read_bytes()
        is_folder, exists = file.is_dir(), file.exists()
    except (OSError, ValueError) as error:  # no permission; a name that no file can have
        raise ModelFileError(f"{file}: cannot be read: {getattr(error, 'strerror', error)}") from error
    if is_folder:
        raise ModelFileError(f"{file}: is a folder, not an ONNX file")
    # A pipe could be read only once, and is read again to be verified.
    raise ModelFileError(f"{file}: {'is not a regular file' if exists else 'no such file'}")


def _parse(content: bytes, file: Path) -> ir.Model:
    try:
        proto = onnx.ModelProto.FromString(content)
    except DecodeError:
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated") from None
    if not (proto.ir_version and proto.HasField("graph") and proto.opset_import):
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated: no graph or no opset in it")
    if proto.training_info or proto.graph.sparse_initializer:
        what = "training information" if proto.training_info else "sparse initializers"
        raise ModelFileError(f"{file}: carries {what}, which bnfold would lose")
    try:
        model: ir.Model = ir.from_proto(proto)
    except Exception as error:  # whatever a malformed model makes onnx-ir raise
        raise ModelFileError(f"{file}: is a malformed ONNX model: {error}".splitlines()[0]) from error
    for tensor in _external_tensors(model):
        # An empty folder would switch off onnx-ir's own checks: give it an absolute one.
        tensor.base_dir = os.fspath(file.resolve().parent)
    return model


def _check_content(tensor: ir.TensorProtoTensor, file: Path) -> None:
    """Refuse a tensor whose numbers are not all there; read as they are, the missing ones would be zeros."""
    proto = tensor.raw
    try:
        complete = tensor.numpy().size == tensor.size
        if tensor.size and not proto.HasField("raw_data"):  # onnx-ir would take no numbers at all for zeros
            complete = complete and any(len(getattr(proto, name)) for name in _TYPED_DATA)
    except Exception:  # numpy's and onnx's own, of many kinds
        complete = False
    if not complete:
        raise ModelFileError(f"{file}: '{tensor.name}' is truncated: its data do not fill {list(tensor.shape)}")


def _check_order(model: ir.Model, file: Path) -> None:
    """Refuse a graph that reads what nothing before has written: an undefined name, a cycle, or nodes out of order."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _check_scope(graph, set(), file)


def _check_scope(graph: ir.Graph, visible: set[ir.Value], file: Path) -> None:
    known = visible | {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                raise ModelFileError(f"{file}: {node.op_type} reads '{value.name}', which nothing before it writes")
        for body in _bodies(node):
            _check_scope(body, known, file)
        known.update(node.outputs)
    for value in graph.outputs:
        if value not in known:
            raise ModelFileError(f"{file}: nothing writes the graph output '{value.name}'")


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
    try:
        data = (folder / location).resolve()
        is_there = data.is_file()
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{what}: {error}") from error
    if not data.is_relative_to(folder):
        raise ModelFileError(f"{what}: the link leads out of the model's folder")
    if not is_there:
        raise ModelFileError(f"{what}: no such file")
    length = tensor.length if tensor.length is not None else tensor.nbytes
    if length != tensor.nbytes:
        raise ModelFileError(f"{what}: {length} bytes do not make {tensor.nbytes} bytes of weights")
    if (tensor.offset or 0) + length > data.stat().st_size:
        raise ModelFileError(f"{what}: the file is truncated")

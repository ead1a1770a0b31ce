"""Opening a model: protobuf gets all but the large ``raw_data``, which become tensors that read from the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from bnfold.errors import ModelFileError
from bnfold.modelfile import limits
from bnfold.modelfile.checking import cause_of, check_content, check_location, check_order
from bnfold.modelfile.graphs import Place, all_graphs, places, put
from bnfold.modelfile.keeping import cut_out, remember
from bnfold.modelfile.source import Origin, Region, Source, changed
from bnfold.modelfile.sparse import SparseTensor, all_protos, take_sparse
from bnfold.modelfile.tensors import ExternalTensor, FileTensor, nbytes_of
from bnfold.modelfile.wire import Blocks, Span, Unscannable, exchange

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_unchanged", "load", "origins_of"]

_ORIGINS = "bnfold.origins"  # where the main graph says what it was read from: a clone has that, too
_MOST_HELD = 16  # files of external data; a process may have no more than a few hundred open


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read a model; the numbers of its large tensors stay in the file until somebody asks for them.

    The file is held open as long as one of these tensors is in use, and must not be written to meanwhile.

    Raises:
        ModelFileError: There is no such file, it is no ONNX model, it is truncated, or its external data is missing,
            too short, or outside the model's folder. A tensor raises the same when its file has changed since.
    """
    file = Path(path)
    source = _open(file)
    if not source.size:
        raise ModelFileError(f"{file}: the file is empty")
    content, regions = _without_payloads(source)
    model = _parse(content, file)
    used, data = _connect(model, file, regions)
    if used < len(regions):  # one is where onnx-ir does not keep it
        model = _parse(source.read(0, source.size), file)
        data = _connect(model, file, {})[1]
    check_order(model, file)
    model.graph.meta[_ORIGINS] = (source.origin, *data)
    return model


def check_unchanged(model: ir.Model) -> None:
    """See that the files that a model was read from are still where they were, and as they were.

    Raises:
        ModelFileError: One is not.
    """
    for origin in origins_of(model):
        origin.check()


def origins_of(model: ir.Model) -> tuple[Origin, ...]:
    """What a model was read from: the model file, and its data files; nothing if it was made in memory."""
    return tuple(model.graph.meta.get(_ORIGINS, ()))


def _open(file: Path) -> Source:
    try:
        if file.is_file():
            return Source(file.resolve())
        is_folder, exists = file.is_dir(), file.exists()
    except (OSError, ValueError) as error:  # no permission; a name that no file can have
        raise ModelFileError(f"{file}: cannot be read: {getattr(error, 'strerror', error)}") from error
    if is_folder:
        raise ModelFileError(f"{file}: is a folder, not an ONNX file")
    # A pipe could be read only once, and is read again to be verified.
    raise ModelFileError(f"{file}: {'is not a regular file' if exists else 'no such file'}")


def _without_payloads(source: Source) -> tuple[bytes, dict[bytes, Region]]:
    """The serialised model with markers in place of the large ``raw_data``, and for each marker where these lie."""
    prefix = os.urandom(16)  # nothing in the file is the same by chance
    regions: dict[bytes, Region] = {}

    def replace(start: int, stop: int) -> tuple[bytes, int]:
        marker = prefix + len(regions).to_bytes(8)
        regions[marker] = Region(source, start, stop - start)
        return marker, len(marker)

    try:
        pieces = exchange(
            Blocks(source.read, source.size), lambda start, stop: stop - start >= limits.THRESHOLD, replace
        )
    except Unscannable:
        return source.read(0, source.size), {}
    return b"".join(
        source.read(piece.start, piece.stop - piece.start) if isinstance(piece, Span) else piece for piece in pieces
    ), regions


def _parse(content: bytes, file: Path) -> ir.Model:
    try:
        proto = onnx.ModelProto.FromString(content)
    except DecodeError:
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated") from None
    if not (proto.ir_version and proto.HasField("graph") and proto.opset_import):
        raise ModelFileError(f"{file}: is not an ONNX model, or is truncated: no graph or no opset in it")
    try:
        sparse = _take_sparse(proto, file)
        kept = cut_out(proto)
        model: ir.Model = ir.from_proto(proto)
        remember(model, *kept)
    except Exception as error:  # whatever a malformed model makes onnx-ir raise
        raise ModelFileError(f"{file}: is a malformed ONNX model: {cause_of(error)}") from error
    if sparse:
        _put_sparse(model, sparse)
    return model


def _take_sparse(proto: onnx.ModelProto, file: Path) -> dict[bytes, SparseTensor]:
    """Put markers in the places of sparse initializers."""
    prefix = os.urandom(16)
    found: dict[bytes, SparseTensor] = {}
    for graph in list(all_protos(proto)):
        for header, sparse in take_sparse(graph):
            for part in (sparse.values, sparse.indices):
                check_content(ir.serde.TensorProtoTensor(part), file)
            header.raw_data = prefix + len(found).to_bytes(8)
            found[header.raw_data] = SparseTensor(sparse)
    return found


def _put_sparse(model: ir.Model, sparse: dict[bytes, SparseTensor]) -> None:
    for place in [place for graph in all_graphs(model) for place in places(graph)]:
        if isinstance(place.tensor, ir.serde.TensorProtoTensor) and place.tensor.raw.raw_data in sparse:
            put(place, sparse[place.tensor.raw.raw_data])


def _connect(model: ir.Model, file: Path, regions: dict[bytes, Region]) -> tuple[int, list[Origin]]:
    """Give the model tensors that read from the files, and see that all others are complete.

    Returns:
        How many of the regions were used, and which data files there are.
    """
    used, origins = 0, []
    found = [place for graph in all_graphs(model) for place in places(graph)]
    external: dict[Path, list[tuple[Place, ir.ExternalTensor, int, int]]] = {}
    for place in found:
        tensor = place.tensor
        if isinstance(tensor, ir.ExternalTensor):
            # An empty folder would switch off onnx-ir's own checks: give it an absolute one.
            tensor.base_dir = os.fspath(file.resolve().parent)
            data, offset, length = check_location(tensor, file)
            external.setdefault(data, []).append((place, tensor, offset, length))
        elif isinstance(tensor, ir.serde.TensorProtoTensor):
            region = regions.get(tensor.raw.raw_data) if regions else None
            if region is not None:
                used += 1
                tensor = _reconnected(tensor, region)
                put(place, tensor)
            if not isinstance(tensor, FileTensor):
                check_content(tensor, file)
    for data, tensors in external.items():
        source = _open_data(data, hold=len(external) <= _MOST_HELD)
        gaps = _gaps(((offset, offset + length) for _, _, offset, length in tensors), source.size)
        origins.append(source.origin._replace(gaps=gaps))
        for place, tensor, offset, length in tensors:
            if offset + length > source.size:
                raise changed(data)
            connected = ExternalTensor(tensor, Region(source, offset, length))
            connected.meta.update(tensor.meta)
            put(place, connected)
    return used, origins


def _gaps(parts: Iterable[tuple[int, int]], size: int) -> tuple[tuple[int, int], ...]:
    """What some parts of a file leave."""
    found, end = [], 0
    for start, stop in [*sorted(parts), (size, size)]:
        if start > end:
            found.append((end, start))
        end = max(end, stop)
    return tuple(found)


def _reconnected(tensor: ir.serde.TensorProtoTensor, region: Region) -> ir.serde.TensorProtoTensor:
    """A tensor that reads its numbers from the file; one of a wrong size, with its numbers in it."""
    header = tensor.raw
    header.ClearField("raw_data")
    if nbytes_of(tensor) == region.length:
        return FileTensor(header, region)
    header.raw_data = region.source.read(region.offset, region.length)
    return tensor


def _open_data(data: Path, *, hold: bool) -> Source:
    try:
        return Source(data, hold=hold)
    except OSError as error:
        raise ModelFileError(f"{data}: cannot be read: {error.strerror}") from error

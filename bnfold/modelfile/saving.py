"""Saving a model: protobuf gets all but the large ``raw_data``, which go from where they lie into the new file.

What protobuf serialises is a shell of the model (``shells.py``), in which stand-ins take the places of the large
tensors: a header and a marker. So it is small, and the numbers go where the markers are (``wire.py``).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from bnfold.errors import ExecutionError, ModelFileError
from bnfold.modelfile import limits
from bnfold.modelfile.checking import cause_of
from bnfold.modelfile.graphs import all_graphs, places
from bnfold.modelfile.keeping import kept_of, put_back
from bnfold.modelfile.opening import check_unchanged, origins_of
from bnfold.modelfile.output import Output
from bnfold.modelfile.placing import find_places
from bnfold.modelfile.shells import shell_of
from bnfold.modelfile.sparse import SparseTensor, all_protos
from bnfold.modelfile.staging import staged
from bnfold.modelfile.tensors import ExternalTensor, FileTensor, nbytes_of
from bnfold.modelfile.wire import Span, exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator

__all__ = ["Saved", "find_external_files", "save"]

_ALIGNMENT = 4096  # of external data: a page of memory
_TYPED_DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "raw_data")


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        path: The model.
        external: The file beside it that holds its large tensors, or None.
        reason: Why there is one although the model had none and nobody asked for it; otherwise empty.
        unread: Files of external data that the model in their place does not read any more.
    """

    path: Path
    external: Path | None = None
    reason: str = ""
    unread: tuple[Path, ...] = ()


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    sources: Collection[Path] = (),
    external: bool = False,
    accept: Callable[[Path], None] | None = None,
    in_place: bool = False,
) -> Saved:
    """Write a model, all or nothing.

    A model that is too large for one file is written with external data.

    In place of a model with external data, the data file is replaced first, then the model file: whoever opens the
    model between these two renames, or after a crash between them, finds the old model with the new weights. Where its
    data lie in one file, that is the one replaced; where in several, or in one of which it does not read all, so that
    another model may read the rest, they stay, and it reads them no more.

    Args:
        model: What to write.
        path: Where.
        sources: The files that it was made from; none of them is overwritten.
        external: Put weights into ``<name>.data`` beside it. Weights that are external already go there anyway.
        accept: Looks at the complete file before it is put in place, and raises to refuse it.
        in_place: Replace what the model was read from.

    Returns:
        Which files were written.

    Raises:
        ModelFileError: It cannot be written there, would overwrite weights that the model itself reads, or a file that
            it was read from has changed.
    """
    target = Path(path)
    own_files = find_external_files(model)
    found = find_places(target, origins_of(model), {*sources, *own_files}, in_place=in_place)
    external, reason = external or bool(own_files), ""
    found.check(external=external)
    content = _serialised(model, found.location if external else None)
    if not external and content.size > limits.LARGEST:
        external, reason = True, f"{content.size / 2**30:.1f} GiB are more than protobuf can read from one file"
        found.check(external=True)
        content = _serialised(model, found.location)
    if content.size > limits.LARGEST:
        raise ModelFileError(f"{target}: too large for one file, and not because of its weights")
    with staged(target) as temporary:
        content.write(temporary)
        if accept is not None:
            _submit(temporary, accept)
        if in_place:
            check_unchanged(model)
    return Saved(target, found.data if external else None, reason, found.given_up)


def find_external_files(model: ir.Model) -> frozenset[Path]:
    """The files beside the model that hold its weights."""
    found = (place.tensor for graph in all_graphs(model) for place in places(graph))
    return frozenset(Path(tensor.path).resolve() for tensor in found if isinstance(tensor, ir.ExternalTensor))


def _submit(temporary: Path, accept: Callable[[Path], None]) -> None:
    try:
        accept(temporary)
    except OSError as error:  # of whoever looks at the file; staged() would take it for one of writing it
        raise ExecutionError(f"{temporary.name}: could not be checked: {error}") from error


@dataclass
class _Large:
    """A tensor whose numbers protobuf does not see."""

    tensor: ir.TensorProtocol
    nbytes: int


@dataclass
class _Content:
    """A model, ready to be written.

    Attributes:
        pieces: Of the model file.
        location: The name of the file of external data, or None.
        external: What goes there, and at which offsets.
        size: Of the model file, in bytes.
    """

    pieces: list[bytes | _Large] = field(default_factory=list)
    location: str | None = None
    external: dict[int, _Large] = field(default_factory=dict)
    size: int = 0

    def write(self, path: Path) -> None:
        if self.location is not None:
            file = path.parent / self.location
            file.parent.mkdir(parents=True, exist_ok=True)
            with Output(file) as output:
                for offset, large in self.external.items():
                    output.skip_to(offset)
                    output.write_tensor(large.tensor, large.nbytes)
        with Output(path) as output:
            for piece in self.pieces:
                if isinstance(piece, _Large):
                    output.write_tensor(piece.tensor, piece.nbytes)
                else:
                    output.write(piece)


def _serialised(model: ir.Model, location: str | None) -> _Content:
    stand_ins = _StandIns(location)
    try:
        proto = ir.serde.serialize_model(shell_of(model, stand_ins.exchange))
    except Exception as error:  # of onnx-ir, for what it cannot write
        raise ModelFileError(f"onnx-ir cannot write the model: {cause_of(error)}") from error
    stand_ins.put_back_sparse(proto)
    put_back(model, proto)
    try:
        text = proto.SerializeToString(deterministic=True)
    except ValueError as error:
        raise ModelFileError(f"the model is too large for one file: {error}") from error
    pieces = stand_ins.filled_in(text)
    sizes = (piece.nbytes if isinstance(piece, _Large) else len(piece) for piece in pieces)
    return _Content(pieces, location, stand_ins.external, sum(sizes))


class _StandIns:
    """What stands in for the large tensors of a model while protobuf serialises it."""

    def __init__(self, location: str | None) -> None:
        """Nothing stands in for anything yet.

        Args:
            location: Where the large initializers go, relative to the model file; None to leave them in it.
        """
        self.external: dict[int, _Large] = {}
        self._location = location
        self._prefix = os.urandom(16)  # nothing in the model is the same by chance
        self._inline: dict[bytes, _Large] = {}
        self._sparse: dict[bytes, SparseTensor] = {}
        self._offsets: dict[Hashable, int] = {}
        self._end = 0

    def put_back_sparse(self, proto: onnx.ModelProto) -> None:
        """Make sparse initializers of those that stand in for them."""
        for graph in all_protos(proto) if self._sparse else ():
            left = []
            for tensor in graph.initializer:
                if tensor.raw_data in self._sparse:
                    graph.sparse_initializer.append(self._sparse[tensor.raw_data].proto)
                    graph.sparse_initializer[-1].values.name = tensor.name
                else:
                    left.append(tensor)
            if len(left) < len(graph.initializer):
                del graph.initializer[:]
                graph.initializer.extend(left)

    def filled_in(self, text: bytes) -> list[bytes | _Large]:
        """The serialised model with the tensors in place of their markers."""
        marks = list(_find_all(text, self._prefix))
        if len(marks) != len(self._inline):
            raise AssertionError("a marker is lost")
        if not marks:
            return [text]

        def enter(start: int, stop: int) -> bool:
            index = bisect_left(marks, start)
            return index < len(marks) and marks[index] < stop

        def replace(start: int, stop: int) -> tuple[_Large, int]:
            large = self._inline[text[start:stop]]
            return large, large.nbytes

        view = memoryview(text)
        return [
            bytes(view[slice(*piece)]) if isinstance(piece, Span) else piece for piece in exchange(text, enter, replace)
        ]

    def exchange(self, tensor: ir.TensorProtocol, is_initializer: bool) -> ir.TensorProtocol:
        """What stands in for a tensor; it may be itself, where protobuf may see its numbers."""
        if isinstance(tensor, SparseTensor):
            marker = self._prefix[::-1] + len(self._sparse).to_bytes(8)
            self._sparse[marker] = tensor
            return _stand_in(tensor, raw_data=marker)
        nbytes = nbytes_of(tensor)
        is_external = isinstance(tensor, ir.ExternalTensor)
        if nbytes is None or isinstance(tensor, ir.StringTensor):
            return _as_it_was(tensor) if kept_of(tensor) is not None else tensor
        if nbytes < limits.THRESHOLD:
            return _stand_in(tensor, raw_data=tensor.tobytes()) if is_external else _with_metadata_once(tensor)
        is_read = type(tensor) is ir.serde.TensorProtoTensor
        if is_read and tensor.raw.HasField("raw_data") and len(tensor.raw.raw_data) != nbytes:
            return _with_metadata_once(tensor)  # numbers of 4 bits, and more of them than the shape says
        if self._location is not None and (is_external or is_initializer):
            return _stand_in(tensor, external=self._put_outside(_Large(tensor, nbytes)))
        if is_read and not tensor.raw.HasField("raw_data"):
            return _with_metadata_once(tensor)
        if tensor.dtype.bitwidth == 6:  # onnx-ir looks whether there are as many numbers as the shape says
            return _stand_in(tensor, raw_data=tensor.tobytes())
        marker = self._prefix + len(self._inline).to_bytes(8)
        self._inline[marker] = _Large(tensor, nbytes)
        return _stand_in(tensor, raw_data=marker)

    def _put_outside(self, large: _Large) -> dict[str, str]:
        tensor = large.tensor
        key = tensor.region if isinstance(tensor, FileTensor | ExternalTensor) else id(tensor)
        if key not in self._offsets:  # tensors that share their numbers go on sharing them
            self._offsets[key] = self._end
            self.external[self._end] = large
            self._end += -(-large.nbytes // _ALIGNMENT) * _ALIGNMENT
        return {"location": self._location or "", "offset": str(self._offsets[key]), "length": str(large.nbytes)}


def _stand_in(
    tensor: ir.TensorProtocol, *, raw_data: bytes | None = None, external: dict[str, str] | None = None
) -> ir.TensorProtocol:
    """A tensor with another content."""
    header = _header(tensor)
    if raw_data is not None:
        header.raw_data = raw_data
    if external is not None:
        header.data_location = onnx.TensorProto.EXTERNAL
        for key, value in external.items():
            header.external_data.add(key=key, value=value)
    made = ir.serde.TensorProtoTensor(header)
    made.metadata_props.clear()  # onnx-ir would write them a second time
    return made


def _header(tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """A tensor without its numbers; what onnx-ir does not know of it is kept."""
    header = onnx.TensorProto()
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        header.CopyFrom(tensor.header if isinstance(tensor, FileTensor) else tensor.raw)
        for name in _TYPED_DATA:
            header.ClearField(name)
    else:
        header.data_type = tensor.dtype.value
        header.dims.extend(tensor.shape.numpy())
        if tensor.name:
            header.name = tensor.name
        if tensor.doc_string:
            header.doc_string = tensor.doc_string
        if (kept := kept_of(tensor)) is not None:
            kept.merge_into(header)
    _write_metadata(tensor, header)
    return header


def _as_it_was(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """A tensor of strings, of which onnx-ir drops something."""
    header = _header(tensor)
    header.string_data.extend(tensor.string_data() if isinstance(tensor, ir.StringTensor) else ())
    made = ir.serde.TensorProtoTensor(header)
    made.metadata_props.clear()
    return made


def _write_metadata(tensor: ir.TensorProtocol, header: onnx.TensorProto) -> None:
    if {entry.key: entry.value for entry in header.metadata_props} != tensor.metadata_props:
        header.ClearField("metadata_props")
        for key in sorted(tensor.metadata_props):
            header.metadata_props.add(key=key, value=tensor.metadata_props[key])


def _with_metadata_once(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """onnx-ir writes the metadata of a tensor that it has read twice."""
    if not isinstance(tensor, ir.serde.TensorProtoTensor) or not tensor.metadata_props:
        return tensor
    header = onnx.TensorProto()
    header.CopyFrom(tensor.raw)
    _write_metadata(tensor, header)
    made = ir.serde.TensorProtoTensor(header)
    made.metadata_props.clear()
    return made


def _find_all(text: bytes, what: bytes) -> Iterator[int]:
    offset = text.find(what)
    while offset >= 0:
        yield offset
        offset = text.find(what, offset + len(what))

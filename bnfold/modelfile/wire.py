"""The wire format of protobuf, as far as it takes to exchange the large ``raw_data`` of a serialised ModelProto.

A message is a row of fields, each a tag (field number and wire type) and its content; messages within messages and
bytes have their length in front. So to exchange the bytes of a tensor is to write them in place of the others, and to
mend the lengths of the messages around them. Everything else stays bit for bit, known or not.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Blocks", "Span", "Unscannable", "exchange", "varint"]

T = TypeVar("T")

_VARINT, _FIXED64, _BYTES, _GROUP, _END_OF_GROUP, _FIXED32 = range(6)
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_LONGEST_LENGTH = 5  # bytes; a longer one is 0 in its upper bits, or wrong: protobuf shall decide
_DEEPEST = 100  # messages within messages; protobuf's own limit
_BLOCK = 1 << 16


class Unscannable(Exception):  # noqa: N818 - no error: protobuf decides what it is
    """What stands there is no such message."""


@dataclass(frozen=True)
class _Kind:
    """A kind of message: which of its fields are messages with tensors in them, or ``raw_data`` (None)."""

    fields: Mapping[int, _Kind | None]


def _kinds() -> _Kind:
    """Field numbers of onnx.proto."""
    tensor = _Kind({9: None})
    node: dict[int, _Kind | None] = {}
    graph = _Kind({1: _Kind(node), 5: tensor})
    node[5] = _Kind({5: tensor, 6: graph, 10: tensor, 11: graph})  # attribute: t, g, tensors, graphs
    return _Kind({7: graph, 25: _Kind({7: _Kind(node)})})


_MODEL = _kinds()


class Span(NamedTuple):
    """Bytes of the data as they are, from ``start`` to before ``stop``."""

    start: int
    stop: int


class Blocks:
    """Bytes of a file, read in blocks where they are looked at: what is skipped is not read."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        """Nothing is read yet.

        Args:
            read: Gives the bytes at an offset, as many as asked for.
            size: How many there are.
        """
        self._read = read
        self._size = size
        self._start = 0
        self._block = b""

    def __getitem__(self, offset: int) -> int:
        index = offset - self._start
        if not 0 <= index < len(self._block):
            self._start = offset
            self._block = self._read(offset, min(_BLOCK, self._size - offset))
            index = 0
        return self._block[index]

    def __len__(self) -> int:
        return self._size


def exchange(
    data: bytes | Blocks, enter: Callable[[int, int], bool], replace: Callable[[int, int], tuple[T, int] | None]
) -> list[Span | bytes | T]:
    """A serialised ModelProto with other bytes in place of some ``raw_data``.

    Args:
        data: The serialised model.
        enter: Whether to look for ``raw_data`` between two offsets.
        replace: What stands for the ``raw_data`` between two offsets, and how many bytes that is; None to leave it.

    Returns:
        The pieces of the new one, in their order: spans of the old one, lengths in bytes, and what ``replace`` gave.

    Raises:
        Unscannable: Protobuf has to read this one.
    """
    return _Exchange(data, enter, replace).message(0, len(data), _MODEL, 0).pieces


class _Message(Generic[T]):
    """A message in the making: pieces, and what they amount to."""

    def __init__(self, start: int) -> None:
        self.pieces: list[Span | bytes | T] = []
        self.length = 0
        self._start = start  # of what is not in pieces yet

    def keep_until(self, stop: int, go_on: int) -> None:
        """What is in between is dropped."""
        if stop > self._start:
            self.pieces.append(Span(self._start, stop))
            self.length += stop - self._start
        self._start = go_on

    def add(self, pieces: list[Span | bytes | T], length: int) -> None:
        """Length-delimited content, with its length."""
        prefix = varint(length)
        self.pieces.append(prefix)
        self.pieces += pieces
        self.length += len(prefix) + length


class _Exchange(Generic[T]):
    def __init__(
        self,
        data: bytes | Blocks,
        enter: Callable[[int, int], bool],
        replace: Callable[[int, int], tuple[T, int] | None],
    ) -> None:
        self._data = data
        self._enter = enter
        self._replace = replace

    def message(self, start: int, end: int, kind: _Kind, depth: int) -> _Message[T]:
        if depth > _DEEPEST:
            raise Unscannable
        made: _Message[T] = _Message(start)
        offset = start
        while offset < end:
            tag, prefix = self._varint(offset, end, _LONGEST_VARINT)
            number, wire_type = tag >> 3, tag & 7
            content, offset = self._content(prefix, end, tag, depth)
            if wire_type == _BYTES and number in kind.fields and self._enter(content, offset):
                self._look(made, prefix, Span(content, offset), kind.fields[number], depth)
        made.keep_until(end, end)
        return made

    def _content(self, offset: int, end: int, tag: int, depth: int) -> Span:
        """What follows a tag."""
        wire_type = tag & 7
        if wire_type == _VARINT:
            content = Span(offset, self._varint(offset, end, _LONGEST_VARINT)[1])
        elif wire_type in _FIXED:
            content = Span(offset, offset + _FIXED[wire_type])
        elif wire_type == _BYTES:
            length, start = self._varint(offset, end, _LONGEST_LENGTH)
            content = Span(start, start + length)
        elif wire_type == _GROUP:
            content = Span(offset, self._end_of_group(offset, end, tag, depth + 1))
        else:
            raise Unscannable
        if content.stop > end:
            raise Unscannable
        return content

    def _end_of_group(self, offset: int, end: int, start_tag: int, depth: int) -> int:
        """A group is an old kind of message, with a tag at its end rather than a length in front."""
        if depth > _DEEPEST:
            raise Unscannable
        while True:
            tag, offset = self._varint(offset, end, _LONGEST_VARINT)
            if tag & 7 == _END_OF_GROUP:
                if tag >> 3 != start_tag >> 3:
                    raise Unscannable
                return offset
            offset = self._content(offset, end, tag, depth).stop

    def _look(self, made: _Message[T], prefix: int, content: Span, kind: _Kind | None, depth: int) -> None:
        """Exchange what is in a field, if there is something to exchange."""
        if kind is None:
            found = self._replace(*content)
            if found is not None:
                made.keep_until(prefix, content.stop)
                made.add([found[0]], found[1])
            return
        inner = self.message(*content, kind, depth + 1)
        if inner.pieces != [content] and inner.pieces:
            made.keep_until(prefix, content.stop)
            made.add(inner.pieces, inner.length)

    def _varint(self, offset: int, end: int, longest: int) -> tuple[int, int]:
        """A number, and where it ends."""
        data, value = self._data, 0
        for index in range(min(longest, end - offset)):
            byte = data[offset + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value, offset + index + 1
        raise Unscannable


def varint(value: int) -> bytes:
    """A number in base 128, the lowest digit first; the upper bit says that another digit follows."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)

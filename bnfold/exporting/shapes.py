"""What a network takes: one ``InputShape`` an input, as text and as data.

1x3x224x224               an input of fixed sizes
batchx3xHxW               axes that have a name may have any size
batchx3xH=224xW=224       the same; the sizes to try it with
image:batchx3x224x224     an input with a name
tokens:batchx16:int64     and with a type other than float32
max_rows,3,8              commas, where a name has an x in it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["DTYPES", "InputShape", "Symbol", "parse_shapes", "symbols_of"]

DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_FORMS = "give [NAME:]1x3x224x224[:TYPE], or a name for each axis of any size, as in batchx3xHxW"
_NAME = re.compile(r"[A-Za-z_]\w*")
_NO_NAME = re.compile(r"|\d+(x\w+)+")  # nothing, and a shape in front of what is no type


@dataclass(frozen=True)
class Symbol:
    """An axis that may have any size.

    Attributes:
        name: What the graph calls it.
        size: A size that the network takes, at least 2 (torch takes 1 for a constant); None if nobody knows one.
    """

    name: str
    size: int | None = None


@dataclass(frozen=True)
class InputShape:
    """One input of a network.

    Attributes:
        name: What the graph calls it; empty where that is still to be found out.
        axes: Its sizes.
        dtype: Its type, one of ``DTYPES``; empty for whatever type the network's weights have.
    """

    name: str
    axes: tuple[int | Symbol, ...]
    dtype: str = ""

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape, where each symbol has a size."""
        return tuple(axis if isinstance(axis, int) else sizes[axis.name] for axis in self.axes)

    @property
    def dims(self) -> tuple[int | str, ...]:
        """The shape as a graph has it."""
        return tuple(axis if isinstance(axis, int) else axis.name for axis in self.axes)


def parse_shapes(texts: str | Sequence[str]) -> tuple[InputShape, ...]:
    """One shape for each text, by the grammar above.

    Raises:
        BnfoldError: A text is no shape, or two inputs have one name.
    """
    shapes = tuple(_parse(text) for text in ([texts] if isinstance(texts, str) else texts))
    names = [shape.name for shape in shapes if shape.name]
    if len(set(names)) < len(names):
        raise BnfoldError(f"--input-shape: two inputs are called '{max(names, key=names.count)}'")
    return shapes


def symbols_of(shapes: Iterable[InputShape]) -> dict[str, int | None]:
    """Every symbol, and the size that somebody gave it, in the order of first use.

    Raises:
        BnfoldError: One has two sizes.
    """
    found: dict[str, int | None] = {}
    for axis in (axis for shape in shapes for axis in shape.axes if isinstance(axis, Symbol)):
        known = found.get(axis.name)
        if known is not None and axis.size is not None and known != axis.size:
            raise BnfoldError(f"--input-shape: {axis.name} is {known} and {axis.size}")
        found[axis.name] = axis.size if known is None else known
    return found


def _parse(text: str) -> InputShape:
    parts = text.split(":")
    dtype = parts.pop() if len(parts) > 1 and parts[-1] in DTYPES else ""
    if len(parts) > 2 or (len(parts) == 2 and _NO_NAME.fullmatch(parts[0])):
        raise BnfoldError(f"--input-shape {text}: {_FORMS}; the types are {', '.join(DTYPES)}")
    sizes = parts[-1].split("," if "," in parts[-1] else "x")
    return InputShape(parts[0] if len(parts) == 2 else "", tuple(_axis(size, text) for size in sizes), dtype)


def _axis(size: str, text: str) -> int | Symbol:
    name, _, number = size.strip().rpartition("=")
    if not number.isdecimal():
        name, number = number if not name else "=", ""
    if (name and not _NAME.fullmatch(name)) or (number and int(number) < (2 if name else 1)) or not (name or number):
        raise BnfoldError(f"--input-shape {text}: '{size}' is no size; {_FORMS}")
    return Symbol(name, int(number) if number else None) if name else int(number)

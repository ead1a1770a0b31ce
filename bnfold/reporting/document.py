"""A report before it has a format: a title, lines of text, tables.

Every result becomes one of these once (``fold.py``, ``comparison.py``, …), and every format renders
these (``console.py``, ``markdown.py``), so that n results and m formats need n + m pieces of code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Block", "Document", "Style", "Table", "Text", "printable"]

# Control characters, and what Unicode counts as the end of a line: names of nodes may hold them.
_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}

Style = Literal["plain", "good", "bad", "warning", "dim"]


@dataclass(frozen=True)
class Text:
    """One line, with a meaning that a renderer may show as a colour."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True)
class Table:
    """Cells in rows; ``numeric`` names the columns that are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()


Block = Text | Table


@dataclass(frozen=True)
class Document:
    """A title and its blocks, from top to bottom."""

    title: str
    blocks: tuple[Block, ...]


def printable(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey."""
    return text.translate(_UNPRINTABLE)

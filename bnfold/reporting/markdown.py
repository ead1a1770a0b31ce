"""Documents for pull requests and step summaries: GitHub's Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Document, Style, Table, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.reporting.document import Block

__all__ = ["escape", "render", "render_blocks"]

_MARKS: dict[Style, str] = {"plain": "", "good": "✅ ", "bad": "❌ ", "warning": "⚠️ ", "dim": ""}


def render(document: Document) -> str:
    """A heading of the second level, then paragraphs and tables."""
    return f"## {escape(document.title)}\n\n{render_blocks(document.blocks)}"


def render_blocks(blocks: Sequence[Block]) -> str:
    """Paragraphs and tables, without a heading."""
    return "\n\n".join(map(_block, blocks)) + "\n"


def _block(block: Block) -> str:
    if not isinstance(block, Table):
        return _MARKS[block.style] + escape(block.text)
    rules = ("---:" if column in block.numeric else ":---" for column in block.columns)
    lines = [block.columns, tuple(rules), *(tuple(map(escape, row)) for row in block.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Names of nodes hold underscores, stars, pipes and angle brackets; none of them is meant as markup."""
    for character in "\\`*_|<>[]#":
        text = text.replace(character, "\\" + character)
    return printable(text)

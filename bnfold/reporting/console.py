"""Documents for people in front of a terminal (or reading a CI log)."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text as RichText

from bnfold.reporting.document import Document, Style, Table, printable

if TYPE_CHECKING:
    from bnfold.reporting.document import Block

__all__ = ["render", "show"]

_STYLES: dict[Style, str] = {"plain": "", "good": "green", "bad": "bold red", "warning": "yellow", "dim": "dim"}
_UNLIMITED = 1_000_000  # columns


def show(document: Document, console: Console) -> None:
    """Print a document; tables fit themselves to the width of the console."""
    console.print(RichText(printable(document.title), style="bold"))
    for block in document.blocks:
        console.print(_renderable(block), soft_wrap=not isinstance(block, Table))


def render(document: Document) -> str:
    """The same as plain text, for a file or a pipe: one line a row, however long, and no blanks at the ends."""
    buffer = StringIO()
    show(document, Console(file=buffer, width=_UNLIMITED, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _renderable(block: Block) -> RichText | RichTable:
    if not isinstance(block, Table):
        return RichText(printable(block.text), style=_STYLES[block.style])
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in block.columns:
        table.add_column(column, justify="right" if column in block.numeric else "left", overflow="fold")
    for row in block.rows:
        # Names of nodes hold brackets, which rich would read as markup: wrap each cell.
        table.add_row(*(RichText(printable(cell)) for cell in row))
    return table

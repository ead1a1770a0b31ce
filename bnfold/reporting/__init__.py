"""Any result → console, JSON, Markdown.

A result becomes a ``Document`` in the file named for it (``fold.py``, ``comparison.py``, ``timing.py``); ``Report``
pairs the two, and renders them in any format.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bnfold.reporting import console, data, markdown

if TYPE_CHECKING:
    from rich.console import Console

    from bnfold.reporting.document import Document

__all__ = ["Format", "Report"]


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


@dataclass(frozen=True)
class Report:
    """One result, ready to be shown.

    Attributes:
        kind: What sort of result: ``fold``, ``comparison``, ``benchmark``, … (the JSON's ``kind``).
        result: The dataclass itself.
        document: The same for people.
    """

    kind: str
    result: object
    document: Document

    def render(self, format: Format) -> str:  # noqa: A002 - named as on the command line
        """The report as text, ending in a newline."""
        if format is Format.JSON:
            return data.render(self.result, self.kind)
        if format is Format.MARKDOWN:
            return markdown.render(self.document)
        return console.render(self.document)

    def show(self, terminal: Console) -> None:
        """Print the report as a table, with colours where the terminal has them."""
        console.show(self.document, terminal)

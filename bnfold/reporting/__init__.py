"""Any result → console, JSON, Markdown, JUnit, GitHub's annotations; the ratios of a benchmark → a picture.

A result becomes a ``Document`` for people, and ``Suite``s of cases for what counts them, in the file named for it
(``fold.py``, ``comparison.py``, ``timing.py``, …); ``Report`` joins the three, and renders them in any format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bnfold.reporting import console, data, github, markdown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from bnfold.reporting.cases import Suite
    from bnfold.reporting.document import Document
    from bnfold.reporting.pictures import Distribution

__all__ = ["Format", "Picture", "Report"]


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    GITHUB = "github"


class Picture(StrEnum):
    """How the ratios of a benchmark are drawn; only into files."""

    SVG = "svg"
    PNG = "png"


@dataclass(frozen=True)
class Report:
    """One result, ready to be shown.

    Attributes:
        kind: What sort of result: ``fold``, ``comparison``, ``benchmark``, … (the JSON's ``kind``).
        result: The dataclass itself.
        document: The same for people.
        suites: The same as questions and answers.
        extra: What the JSON has besides the fields of the result.
        distributions: What a picture of it shows; empty where there is none.
    """

    kind: str
    result: object
    document: Document
    suites: tuple[Suite, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    distributions: tuple[Distribution, ...] = ()

    def render(self, format: Format) -> str:  # noqa: A002 - named as on the command line
        """The report as text, ending in a newline."""
        if format is Format.JSON:
            return data.render(self.result, self.kind, self.extra)
        if format is Format.MARKDOWN:
            return markdown.render(self.document)
        if format is Format.JUNIT:
            from bnfold.reporting import junit  # XML takes a while to load

            return junit.render(self.kind, self.suites)
        if format is Format.GITHUB:
            return github.render(self.document, self.suites)
        return console.render(self.document)

    def draw(self, picture: Picture) -> bytes:
        """The distributions of the report as the bytes of a picture.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from bnfold.reporting import pictures

        return pictures.draw(self.document.title, self.distributions, picture)

    def show(self, terminal: Console) -> None:
        """Print the report as a table, with colours where the terminal has them."""
        console.show(self.document, terminal)

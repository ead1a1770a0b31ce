"""GitHub shows what a step appends to the file ``GITHUB_STEP_SUMMARY`` as Markdown, on the page of the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bnfold.reporting import Report

__all__ = ["append_summary"]

_MOST_BYTES = 1 << 20  # of a step; GitHub takes nothing of a summary that is larger


def append_summary(report: Report) -> None:
    """Append a report to the summary, if there is one; without its tables where they are too large.

    It is a courtesy: if it cannot be written, the command says so and goes on.
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    try:
        with Path(name).open("ab") as file:
            room = _MOST_BYTES - file.tell()
            # The blank line in front ends whatever was there before.
            texts = (f"\n{text}\n".encode(errors="backslashreplace") for text in _versions(report))
            file.write(next((text for text in texts if len(text) <= room), b""))
    except OSError as error:
        typer.echo(f"bnfold: the step summary cannot be written: {error.strerror or error}", err=True)


def _versions(report: Report) -> tuple[str, str]:
    """The report, and the same without tables."""
    from bnfold.reporting import markdown
    from bnfold.reporting.document import Document, Text

    texts = tuple(block for block in report.document.blocks if isinstance(block, Text))
    return markdown.render(report.document), markdown.render(Document(report.document.title, texts))

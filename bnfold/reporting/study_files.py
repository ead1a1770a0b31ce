"""The files of a study: a page, the same as Markdown with its figures, and the numbers.

study.html      all in one file, for a browser
study.md        for a repository; its figures are in figures/
study.json      every number
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bnfold import modelfile
from bnfold.errors import ModelFileError
from bnfold.reporting import data, markdown, study_page
from bnfold.reporting.document import Text
from bnfold.reporting.study import TITLE, answer, background, environment, heading, numbers, overview

if TYPE_CHECKING:
    from pathlib import Path

    from bnfold.reporting.document import Block
    from bnfold.studying.result import ClaimResult, StudyResult

__all__ = ["render_markdown", "write"]

_FIGURES = "figures"


def write(result: StudyResult, folder: Path) -> None:
    """Write the files into a folder, which is made where missing.

    Raises:
        ModelFileError: They cannot be written there.
    """
    from bnfold.studying.drawing import standalone

    try:
        (folder / _FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be made: {error.strerror}") from error
    texts = {
        **{_figure(claim): standalone(claim.figure) for claim in result.claims},
        "study.html": study_page.render(result),
        "study.json": data.render(result, "study"),
        "study.md": render_markdown(result),
    }
    for name, text in texts.items():
        with modelfile.staged(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def render_markdown(result: StudyResult) -> str:
    """All of a study but the figures, to which it links."""
    head: list[Block] = [overview(result), *(Text(line) for line in environment(result))]
    chapters = "\n".join(map(_chapter, result.claims))
    return f"# {TITLE}\n\n{markdown.render_blocks(head)}\n{chapters}"


def _chapter(claim: ClaimResult) -> str:
    parts = [
        f"## {heading(claim)}\n",
        *(f"> {paragraph}" for paragraph in _texts(claim.explanation.lecture)),
        markdown.render_blocks(answer(claim)),
        f"![{claim.title}]({_figure(claim)})\n",
    ]
    for head, paragraphs in background(claim):
        parts += [f"**{head}**\n", *_texts(paragraphs)]
    parts.append("<details><summary>Every number</summary>\n")
    for label, table in numbers(claim):
        parts.append(markdown.render_blocks([Text(label), table]))
    parts.append("</details>\n")
    parts.append("**References**\n\n" + "".join(map(_reference, claim.explanation.references)))
    parts.append(f"**Run it alone:** `{claim.command}`\n")
    return "\n".join(parts)


def _reference(text: str) -> str:
    """With addresses that can be followed."""
    pieces = re.split(r"(https?://\S+)", text)
    linked = (f"<{piece}>" if index % 2 else markdown.escape(piece) for index, piece in enumerate(pieces))
    return f"- {''.join(linked)}\n"


def _texts(paragraphs: tuple[str, ...]) -> list[str]:
    return [markdown.render_blocks([Text(text)]) for text in paragraphs]


def _figure(claim: ClaimResult) -> str:
    return f"{_FIGURES}/{claim.number:02d}-{claim.name.replace('_', '-')}.svg"

"""A ``StudyResult`` as one HTML page, which needs nothing beside it: no script, no network, no other file.

Light and dark as its reader's system is, and it can be printed.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from bnfold.reporting.document import Table, Text
from bnfold.reporting.study import TITLE, answer, background, environment, heading, numbers, overview

if TYPE_CHECKING:
    from bnfold.reporting.document import Block
    from bnfold.studying.result import ClaimResult, StudyResult

__all__ = ["render"]

_RULES = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #d9d9d9; --shade: #f5f5f3; LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #3d3d3d; --shade: #202020; DARK }
}
body { margin: 2rem auto; max-width: 54rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3.5rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 0.3rem; }
p { margin: 0.5rem 0; }
a { color: var(--c0); }
blockquote { margin: 1rem 0; padding: 0.2rem 1rem; border-left: 4px solid var(--line); font-style: italic; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom-width: 2px; }
.number { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; }
.verdict { font-size: 1.1rem; font-weight: 600; }
.good { color: var(--c2); } .warning { color: var(--c4); } .bad { color: var(--c1); }
.dim { color: var(--soft); font-size: 0.9rem; }
figure { margin: 1.2rem 0; }
figure svg { width: 100%; height: auto; }
details { margin: 1rem 0; background: var(--shade); border-radius: 4px; padding: 0.4rem 0.8rem; }
details td { white-space: nowrap; }
summary { cursor: pointer; }
code { background: var(--shade); padding: 0.1rem 0.35rem; border-radius: 3px; }
@media print {
  :root { color-scheme: light; --ink: #000000; --paper: #ffffff; --line: #bbbbbb; --shade: #ffffff; LIGHT }
  details::details-content { content-visibility: visible; block-size: auto; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  section { break-before: page; }
  h2 { margin-top: 0; border: none; padding: 0; }
  figure, tr { break-inside: avoid; }
}
"""


def render(result: StudyResult) -> str:
    """The page, as HTML that an XML parser reads too."""
    from bnfold.studying.drawing import DARK, LIGHT

    rules = _RULES.replace("LIGHT", LIGHT).replace("DARK", DARK)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
        '<head><meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" />',
        f"<title>{escape(TITLE)}</title><style>{rules}</style></head>",
        f"<body><h1>{escape(TITLE)}</h1>",
        _contents(result),
        *(f'<p class="dim">{escape(line)}</p>' for line in environment(result)),
        *map(_section, result.claims),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _contents(result: StudyResult) -> str:
    """The overview, each title leading to its section."""
    text = _block(overview(result))
    for claim in result.claims:
        title = escape(claim.title)
        text = text.replace(f"<td>{title}</td>", f'<td><a href="#{claim.name}">{title}</a></td>', 1)
    return text


def _section(claim: ClaimResult) -> str:
    lines = [
        f'<section id="{claim.name}"><h2>{escape(heading(claim))}</h2>',
        "<blockquote>",
        *(f"<p>{_prose(text)}</p>" for text in claim.explanation.lecture),
        "</blockquote>",
        *map(_block, answer(claim)),
        f"<figure>{claim.figure}</figure>",
    ]
    for head, paragraphs in background(claim):
        lines += [f"<h3>{escape(head)}</h3>", *(f"<p>{_prose(text)}</p>" for text in paragraphs)]
    lines.append("<details><summary>Every number, with every seed</summary>")
    for label, table in numbers(claim):
        lines += [f"<p>{escape(label)}</p>", _block(table)]
    lines.append("</details><h3>References</h3><ul>")
    lines += [f"<li>{_linked(reference)}</li>" for reference in claim.explanation.references]
    lines.append(f"</ul><p>Run it alone: <code>{escape(claim.command)}</code></p></section>")
    return "\n".join(lines)


def _block(block: Block) -> str:
    if isinstance(block, Text):
        kind = "" if block.style == "plain" else f' class="verdict {block.style}"'
        return f"<p{kind}>{_prose(block.text)}</p>"
    return _table(block)


def _table(table: Table) -> str:
    kinds = [' class="number"' if column in table.numeric else "" for column in table.columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
    rows = (
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _prose(text: str) -> str:
    """Escaped, with ``code`` set as such."""
    return re.sub(r"``(.+?)``", r"<code>\1</code>", escape(text))


def _linked(text: str) -> str:
    """Escaped, with addresses that can be followed."""
    pieces = map(escape, re.split(r"(https?://\S+)", text))
    return "".join(f'<a href="{piece}">{piece}</a>' if index % 2 else piece for index, piece in enumerate(pieces))

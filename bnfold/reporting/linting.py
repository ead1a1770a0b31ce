"""Findings of lints for people, and what the lints say of themselves."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.linting import Finding, LintResult
    from bnfold.linting.base import Lint
    from bnfold.reporting.document import Block

__all__ = ["document", "document_lints", "explained", "suite"]


def document(result: LintResult) -> Document:
    """Each finding with what to do beneath it, and one line that counts them."""
    rows = [row for finding in result.findings for row in _rows(finding)]
    blocks: list[Block] = [Table(("lint", "where", "what, and what to do"), tuple(rows))] if rows else []
    blocks.append(Text(_verdict(result), "good" if result else "bad"))
    if result.ignored:
        blocks.append(Text(f"{_counted(result.ignored, 'more finding')} ignored at these nodes", "dim"))
    if result.findings:
        worst = Counter(finding.code for finding in result.findings).most_common(1)[0][0]
        blocks.append(Text(f"bnfold lint --explain {worst} tells why, and what to do instead", "dim"))
    return Document(result.model, tuple(blocks))


def suite(result: LintResult) -> Suite:
    """One case a finding, and one for each lint that has none."""
    found = {finding.code for finding in result.findings}
    failed = [
        Case(f"{finding.code} {_place(finding)}", Outcome.FAIL, f"{finding.message}; {finding.advice}")
        for finding in result.findings
    ]
    return Suite("lint", (*failed, *(Case(code, Outcome.PASS, "") for code in result.lints if code not in found)))


def document_lints(lints: Sequence[Lint]) -> Document:
    """Every lint on a line."""
    rows = tuple((lint.code, lint.name, lint.explanation.summary) for lint in lints)
    return Document(_counted(len(lints), "lint"), (Table(("code", "name", "what it does"), rows),))


def explained(lint: Lint) -> str:
    """All that a lint says of itself, as Markdown: for ``--explain``, and for the page of all lints."""
    says = lint.explanation
    example = "\n".join(f"    {line}".rstrip() for line in says.example.splitlines())
    parts = [
        f"## {lint.code}: {lint.name}",
        says.summary,
        says.details,
        f"**Why is this bad?** {says.why}",
        f"**Example**\n\n{example}",
        f"**Use instead:** {says.instead}",
        "**References**\n\n" + "\n".join(f"- {_linked(reference)}" for reference in says.reference),
    ]
    return "\n\n".join(part.replace("``", "`") for part in parts if part) + "\n"


def _linked(reference: str) -> str:
    return re.sub(r"https?://\S+", lambda found: f"<{found[0]}>", reference)


def _rows(finding: Finding) -> list[tuple[str, str, str]]:
    return [(finding.code, _place(finding), finding.message), ("", "", f"→ {finding.advice}")]


def _place(finding: Finding) -> str:
    """The node, and the module where that has another name."""
    return f"{finding.node} ({finding.module})" if finding.module not in ("", finding.node) else finding.node


def _verdict(result: LintResult) -> str:
    where = _counted(result.batch_norms, "BatchNormalization")
    if result:
        return f"No findings: {_counted(len(result.lints), 'lint')} looked at {where}"
    counts = sorted(Counter(finding.code for finding in result.findings).items())
    codes = ", ".join(f"{code} × {count}" for code, count in counts)
    return f"{_counted(len(result.findings), 'finding')} in a model with {where}: {codes}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"

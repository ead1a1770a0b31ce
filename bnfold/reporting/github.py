"""Reports as GitHub's workflow commands, which it shows as annotations of the run.

GitHub shows ten of a step and drops the others, so that the worst come first. Nothing but annotations is printed:
a name of a stranger's node must not become a command of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.cases import Outcome, worst_first
from bnfold.reporting.document import printable

if TYPE_CHECKING:
    from bnfold.reporting.cases import Suite
    from bnfold.reporting.document import Document

__all__ = ["error", "render"]

_MOST = 10
_LEVELS = {Outcome.FAIL: "error", Outcome.WARN: "warning"}


def render(document: Document, suites: tuple[Suite, ...]) -> str:
    """One line an annotation; a notice with the title of the report where nothing failed and nothing warns."""
    found = worst_first(suites)
    lines = [
        _command(_LEVELS[case.outcome], f"bnfold {suite}: {case.name}", case.message) for suite, case in found[:_MOST]
    ]
    if len(found) > _MOST:
        lines[-1] += f" (and {len(found) - _MOST} more)"
    if not lines:
        lines = [_command("notice", "bnfold", ": ".join((document.title, *_last(document))))]
    return "".join(f"{line}\n" for line in lines)


def error(message: str) -> str:
    """One annotation: why there is no report."""
    return f"{_command('error', 'bnfold', message)}\n"


def _last(document: Document) -> tuple[str, ...]:
    """The verdict, which is the last line of a document."""
    text = getattr(document.blocks[-1], "text", "") if document.blocks else ""
    return (text,) if text else ()


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    """As @actions/core escapes it: the per cent sign first; line ends are gone already."""
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

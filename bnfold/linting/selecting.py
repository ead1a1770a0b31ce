"""Which lints look: codes and prefixes of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.errors import BnfoldError
from bnfold.linting.lints import LINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.linting.base import Lint

__all__ = ["find_lint", "matching", "selected"]


def selected(select: Sequence[str], ignore: Sequence[str]) -> tuple[Lint, ...]:
    """The lints that are selected and not ignored; all of them where nothing is selected.

    Raises:
        BnfoldError: No lint has such a code, or a code that begins so.
    """
    chosen = {lint for code in select for lint in matching(code)} if select else set(LINTS)
    left = chosen - {lint for code in ignore for lint in matching(code)}
    return tuple(lint for lint in LINTS if lint in left)


def matching(code: str) -> tuple[Lint, ...]:
    """The lints whose codes begin so.

    Raises:
        BnfoldError: There are none.
    """
    found = tuple(lint for lint in LINTS if code and lint.code.startswith(code.upper()))
    if not found:
        raise BnfoldError(f"{code!r} is no code of a lint, nor the beginning of one; bnfold lint --list has them all")
    return found


def find_lint(code: str) -> Lint:
    """The lint of a code, or of a name.

    Raises:
        BnfoldError: There is none.
    """
    for lint in LINTS:
        if code.lower() in (lint.code.lower(), lint.name):
            return lint
    raise BnfoldError(f"{code!r} is no code of a lint; bnfold lint --list has them all")

"""Several values behind one option: ``--level disabled all`` for ``--level disabled --level all``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["spread"]

# Only options whose values look like nothing else: what follows --provider or --keep could be a file.
_LISTS: dict[str, Callable[[str], bool]] = {
    "--level": frozenset(Level).__contains__,
    "--batch": str.isdecimal,
    "--threads": str.isdecimal,
}


def spread(arguments: Sequence[str]) -> list[str]:
    """A command line with the option repeated before each further value of a list."""
    found: list[str] = []
    option, values = "", 0
    for index, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[index:]]
        if argument in _LISTS:
            option, values = argument, 0
        elif option and (not values or _LISTS[option](argument)):
            if values:
                found.append(option)
            values += 1
        else:
            option = ""
        found.append(argument)
    return found

"""Writes ``docs/lints.md``, the page of all lints, from the docstrings of the lints.

``python docs/lints.py`` writes it; with ``--check`` it writes nothing, and exits with 1 where it would.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the lints of this clone, whichever bnfold is installed

from bnfold.linting import LINTS, configuring
from bnfold.reporting.linting import explained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.linting.base import Lint

PAGE = Path(__file__).resolve().parent / "lints.md"

INTRODUCTION = """\
<!-- Written by `python docs/lints.py` from the docstrings of the lints in bnfold/linting/lints/. Change those. -->

# Lints

`bnfold lint model.onnx` warns of what goes wrong with BatchNormalization: in how a network is built (BN1xx), in its
numbers (BN2xx), in how it is or was trained (BN3xx), and in what becomes of it when it is deployed (BN4xx). What can be
folded and what cannot is what the planner of `bnfold fold` says; of an ONNX file nothing is guessed that it does not
hold.

`--select` and `--ignore` take codes or beginnings of codes, `--explain BN103` prints a section of this page. A project
says once what it wants in its `pyproject.toml`; the nearest one with such a table counts, from the working directory
upwards, and options of the command line replace what it says:
"""


def page(lints: Sequence[Lint] = LINTS) -> str:
    """The whole page."""
    rows = [f"| [{lint.code}](#{_anchor(lint)}) | {lint.name} | {lint.explanation.summary} |" for lint in lints]
    table = "\n".join(["| code | name | what it does |", "|:---|:---|:---|", *rows])
    return "\n".join([INTRODUCTION, f"```toml\n{_example()}\n```\n", f"{table}\n", *map(explained, lints)])


def _anchor(lint: Lint) -> str:
    """As GitHub makes it of the heading."""
    return f"{lint.code.lower()}-{lint.name}"


def _example() -> str:
    """What the docstring of the module shows."""
    lines = (configuring.__doc__ or "").splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines[2:]).strip()


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    new = page()
    if not arguments:
        PAGE.write_text(new, encoding="utf-8", newline="\n")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == new:
        return 0
    print("docs/lints.md is stale: run python docs/lints.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

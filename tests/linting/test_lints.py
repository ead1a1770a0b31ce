"""What all lints have in common: how they are explained, numbered, and chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnfold.linting import LINTS
from bnfold.linting.base import PARTS, parse

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "bnfold" / "linting" / "lints"

WHOLE = """Warns of this,
    and of that.

    Not of a third.

    Nor of a fourth.

    Why:
        It is bad, and
        worse.

    Example:
        nn.Linear(
            1, 1)

    Instead:
        Do better.

    Reference:
        A paper, https://arxiv.org/abs/1
        https://onnx.ai
    """


def test_codes_are_in_order_and_each_is_there_once() -> None:
    codes = [lint.code for lint in LINTS]
    assert codes == sorted(set(codes))
    assert all(re.fullmatch(r"BN[1-4]\d\d", code) for code in codes)


def test_there_is_one_lint_a_file_which_is_named_for_what_it_finds() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert {lint.name.replace("-", "_") for lint in LINTS} == set(files)
    for lint in LINTS:
        text = files[lint.name.replace("-", "_")].read_text(encoding="utf-8")
        assert text.startswith(f'"""{lint.code}: '), lint.name
        assert text.count("(Lint):") == 1


@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.code)
def test_every_lint_is_explained_in_all_parts(lint) -> None:
    explanation = lint.explanation
    assert explanation.summary.startswith("Warns of ")
    assert explanation.summary.endswith(".")
    for text in (explanation.why, explanation.example, explanation.instead):
        assert len(text) > 20
    assert all("https://" in reference for reference in explanation.reference)


@pytest.mark.parametrize("lint", LINTS, ids=lambda lint: lint.code)
def test_every_lint_has_its_tests(lint) -> None:
    """One that fires and one that does not, at the least."""
    path = Path(__file__).parent / "lints" / f"test_{lint.name.replace('-', '_')}.py"
    text = path.read_text(encoding="utf-8")
    assert f'CODE = "{lint.code}"' in text
    assert "the_finding(CODE" in text or "found(CODE" in text
    assert "assert not found(CODE" in text


def test_parses_all_parts() -> None:
    found = parse(WHOLE)
    assert found.summary == "Warns of this, and of that."
    assert found.details == "Not of a third.\n\nNor of a fourth."
    assert found.why == "It is bad, and worse."
    assert found.example == "nn.Linear(\n    1, 1)"
    assert found.instead == "Do better."
    assert found.reference == ("A paper, https://arxiv.org/abs/1", "https://onnx.ai")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_or_empty_is_an_error(part) -> None:
    with pytest.raises(ValueError, match=f"and not {', '.join(PARTS)}"):
        parse(WHOLE.replace(f"    {part}:\n", f"    {part}s:\n"))
    empty = re.sub(rf"(    {part}:\n)(?:        .*\n)+", r"\1\n", WHOLE)
    with pytest.raises(ValueError, match=f"nothing under {part}"):
        parse(empty)


@pytest.mark.parametrize("docstring", [None, "", "Warns."])
def test_a_docstring_without_parts_is_an_error(docstring) -> None:
    with pytest.raises(ValueError, match=r"has the parts \(none\)"):
        parse(docstring)


def test_a_docstring_without_a_first_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="in its first line"):
        parse(WHOLE[WHOLE.index("    Why:") :])

"""What all claims have in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnfold.errors import BnfoldError
from bnfold.studying import CLAIMS, find_claim
from bnfold.studying.claim import PARTS, parse

ROOT = Path(__file__).parents[2]

WHOLE = """One thing leads to another.

    Lecture:
        It is said
        so.

    Setup:
        This.

        And that.

    Rule:
        If.

    Omits:
        But.

    Reference:
        A paper, https://arxiv.org/abs/1
        Another, https://arxiv.org/abs/2
    """

each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)


def test_numbers_are_in_order_and_each_is_there_once() -> None:
    numbers = [claim.number for claim in CLAIMS]
    assert numbers == sorted(set(numbers))


def test_there_is_one_claim_a_file() -> None:
    folder = ROOT / "bnfold" / "studying" / "claims"
    files = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py") if path.stem != "__init__"}
    assert {claim.name for claim in CLAIMS} == set(files)
    for claim in CLAIMS:
        assert files[claim.name].startswith(f'"""Claim {claim.number}: ')
        assert files[claim.name].count("(Claim):") == 1
        assert (Path(__file__).parent / "claims" / f"test_{claim.name}.py").is_file()


@each_claim
def test_every_claim_is_explained_in_all_parts(claim) -> None:
    says = claim.explanation
    assert 20 < len(claim.title) < 110
    for part in (says.lecture, says.setup, says.rule, says.omits):
        assert all(len(paragraph) > 30 for paragraph in part)
    assert all(re.search(r"https?://", reference) for reference in says.references)


@each_claim
def test_the_quick_plan_is_a_part_of_the_full_one(claim) -> None:
    assert claim.quick.seeds < claim.full.seeds
    assert claim.full.seeds >= 5
    assert len(claim.cells(claim.quick)) < len(claim.cells(claim.full))
    assert {cell.arm for cell in claim.cells(claim.quick)} == {cell.arm for cell in claim.cells(claim.full)}


@each_claim
def test_every_cell_is_there_once_and_has_a_cost_and_a_seed_that_moves(claim) -> None:
    cells = claim.cells(claim.full)
    assert len(set(cells)) == len(cells)
    assert {cell.arm for cell in cells} == set(claim.arms)
    assert all(claim.cost(cell) > 0 for cell in cells)
    assert {cell.seed for cell in claim.cells(claim.full, 7)} == {seed + 7 for seed in range(claim.full.seeds)}


def test_an_unknown_number_lists_those_there_are() -> None:
    with pytest.raises(BnfoldError, match=r"no claim 99; there are: 1 \(Gradients"):
        find_claim(99)


def test_parses_all_parts() -> None:
    found = parse(WHOLE)
    assert found.summary == "One thing leads to another"
    assert found.lecture == ("It is said so.",)
    assert found.setup == ("This.", "And that.")
    assert (found.rule, found.omits) == (("If.",), ("But.",))
    assert found.references == ("A paper, https://arxiv.org/abs/1", "Another, https://arxiv.org/abs/2")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_or_empty_is_an_error(part) -> None:
    with pytest.raises(ValueError, match=f"and not {', '.join(PARTS)}"):
        parse(WHOLE.replace(f"    {part}:\n", f"    {part}s:\n"))
    empty = re.sub(rf"(    {part}:\n)(?:        .*\n|\n)+", r"\1\n", WHOLE)
    with pytest.raises(ValueError, match=f"nothing under {part}"):
        parse(empty)


@pytest.mark.parametrize("head", ["", "No full stop", "Two\n    lines."])
def test_a_docstring_without_a_first_line_is_an_error(head) -> None:
    with pytest.raises(ValueError, match="does not begin with the claim"):
        parse(head + WHOLE.removeprefix("One thing leads to another."))

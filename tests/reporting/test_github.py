"""GitHub's annotations: escaped, ten at most, the worst first."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.reporting import github
from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

DOCUMENT = Document("b.onnx against a.onnx", (Text("Equivalent", "good"),))


def lines(*cases: Case) -> list[str]:
    return github.render(DOCUMENT, (Suite("verify", cases),)).splitlines()


def fail(name: str, excess: float = float("inf"), message: str = "off") -> Case:
    return Case(name, Outcome.FAIL, message, excess)


def test_failures_are_errors_and_warnings_come_after_them() -> None:
    cases = (Case("w", Outcome.WARN, "a"), Case("p", Outcome.PASS, "b"), Case("n", Outcome.NOTE, "c"), fail("f"))
    assert lines(*cases) == ["::error title=bnfold verify%3A f::off", "::warning title=bnfold verify%3A w::a"]


def test_the_worst_come_first_and_what_has_no_measure_before_them() -> None:
    found = lines(fail("a", 1.5), fail("b", 900.0), fail("interface"), Case("w", Outcome.WARN, "", 1e6))
    assert [re.search("%3A (.*?)::", line)[1] for line in found] == ["interface", "b", "a", "w"]


def test_ten_at_most_and_the_last_says_how_many_more() -> None:
    assert len(lines(*(fail(str(i)) for i in range(10)))) == 10
    found = lines(*(fail(str(i)) for i in range(13)))
    assert len(found) == 10
    assert found[-1].endswith("off (and 3 more)")
    assert "more" not in "".join(found[:-1])


def test_what_passed_is_one_notice_with_the_verdict() -> None:
    assert lines(Case("p", Outcome.PASS, "b")) == ["::notice title=bnfold::b.onnx against a.onnx: Equivalent"]
    table = Document("title", (Table(("a",), (("b",),)),))
    assert github.render(table, ()) == "::notice title=bnfold::title\n"


@pytest.mark.parametrize(
    ("text", "title", "message"),
    [
        ("50%", "50%25", "50%25"),
        ("a,b:c", "a%2Cb%3Ac", "a,b:c"),
        ("%0A", "%250A", "%250A"),
        ("a\nb", r"a\x0ab", r"a\x0ab"),
    ],
)
def test_escapes_as_the_runner_unescapes(text, title, message) -> None:
    assert lines(fail(text, message=text)) == [f"::error title=bnfold verify%3A {title}::{message}"]


@given(st.text(), st.text())
def test_no_name_becomes_a_command_of_its_own(name, message) -> None:
    text = github.render(DOCUMENT, (Suite("verify", (fail(name, message=message),)),))
    assert re.fullmatch(r"::error title=[^:,]*::[^\r\n]*\n", text)
    assert len(text.splitlines()) == 1

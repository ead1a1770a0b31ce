"""JUnit: well-formed, in the structure that CI systems agree on, one testcase a check."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.reporting import junit
from bnfold.reporting.cases import Case, Outcome, Suite

# The schema that Jenkins publishes: for each element its attributes, those it must have, and what it may hold.
STRUCTURE = {
    "testsuites": ({"name", "time", "tests", "failures", "disabled", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {
            "name",
            "tests",
            "failures",
            "errors",
            "time",
            "disabled",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
        },
        {"name", "tests"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "assertions", "time", "classname", "status"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}


def see_structure(element: ET.Element) -> None:
    allowed, required, children = STRUCTURE[element.tag]
    assert required <= element.attrib.keys() <= allowed, element.tag
    for child in element:
        assert child.tag in children, (element.tag, child.tag)
        see_structure(child)


def see_counts(element: ET.Element) -> None:
    cases = element.findall(".//testcase")
    assert int(element.get("tests")) == len(cases)
    assert int(element.get("failures")) == len(element.findall(".//failure"))
    assert element.get("errors") == "0"
    if element.tag == "testsuite":
        assert int(element.get("skipped")) == len(element.findall(".//skipped"))


def rendered(*suites: Suite) -> ET.Element:
    root = ET.fromstring(junit.render("check", suites).encode())
    see_structure(root)
    for element in (root, *root):
        see_counts(element)
    return root


SUITE = Suite(
    "verify",
    (
        Case("interface", Outcome.PASS, "the same"),
        Case("output 'a<b>&\"c'", Outcome.FAIL, "error <3> & more", 2.5),
        Case("inputs", Outcome.NOTE, "left out 1"),
        Case("inputs", Outcome.NOTE, "left out 2"),
        Case("NaN and Inf of 'y'", Outcome.WARN, "3 values"),
    ),
)


def test_every_check_is_a_testcase_and_a_failure_has_its_message() -> None:
    root = rendered(SUITE)
    (suite,) = root
    assert [case.get("classname") for case in suite] == ["bnfold.verify"] * 5
    assert [case.get("name") for case in suite][1] == "output 'a<b>&\"c'"
    (failure,) = root.findall(".//failure")
    assert failure.get("message") == failure.text == "error <3> & more"
    assert suite[4].find("system-out").text == "warning: 3 values"


def test_names_are_unique_for_those_who_take_them_for_keys() -> None:
    names = [case.get("name") for case in rendered(SUITE)[0]]
    assert len(set(names)) == len(names)
    assert names[2:4] == ["inputs", "inputs (2)"]


def test_no_suite_at_all_is_well_formed() -> None:
    assert rendered().get("tests") == "0"


@given(st.text(st.characters()), st.text(st.characters()), st.sampled_from(Outcome))
def test_any_text_is_well_formed(name, message, outcome) -> None:
    root = rendered(Suite("verify", (Case(name, outcome, message),)))
    assert len(root.findall(".//testcase")) == 1


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\n", "\x85", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_spelt_out(character) -> None:
    name = rendered(Suite("verify", (Case(f"a{character}b", Outcome.PASS, ""),)))[0][0].get("name")
    assert name.startswith("a\\")
    assert name.endswith("b")

"""Reports as JUnit XML, which every CI system shows: one testcase a check."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bnfold.reporting.cases import Outcome
from bnfold.reporting.document import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.reporting.cases import Case, Suite

__all__ = ["render"]

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(kind: str, suites: Sequence[Suite]) -> str:
    """The suites as one document, with a newline at its end.

    A failure is a ``failure`` with its message, a note is ``skipped``, and a warning passes, with its message as
    the output of the test.
    """
    cases = [case for suite in suites for case in suite.cases]
    root = ET.Element("testsuites", {"name": f"bnfold {kind}", **_counts(cases)})
    for suite in suites:
        skipped = sum(case.outcome is Outcome.NOTE for case in suite.cases)
        attributes = {"name": suite.name, **_counts(suite.cases), "skipped": str(skipped)}
        element = ET.SubElement(root, "testsuite", attributes)
        seen: Counter[str] = Counter()
        for case in suite.cases:
            seen[case.name] += 1
            again = f" ({seen[case.name]})" if seen[case.name] > 1 else ""  # names are keys, for those who read these
            name = _text(case.name + again)
            _answer(ET.SubElement(element, "testcase", classname=f"bnfold.{suite.name}", name=name), case)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    failures = sum(case.outcome is Outcome.FAIL for case in cases)
    return {"tests": str(len(cases)), "failures": str(failures), "errors": "0"}


def _answer(element: ET.Element, case: Case) -> None:
    message = _text(case.message)
    if case.outcome is Outcome.FAIL:
        ET.SubElement(element, "failure", message=message, type="failure").text = message
    elif case.outcome is Outcome.NOTE:
        ET.SubElement(element, "skipped", message=message)
    elif message:
        warning = "warning: " if case.outcome is Outcome.WARN else ""
        ET.SubElement(element, "system-out").text = warning + message


def _text(text: str) -> str:
    """On one line, and with nothing in it that XML cannot hold, even as a reference."""
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", printable(text))

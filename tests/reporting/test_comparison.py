"""A Comparison for people."""

import pytest

from bnfold.reporting import Format, Report
from bnfold.reporting.comparison import document
from bnfold.verifying import Check, Comparison, Verdict


def comparison(*verdicts):
    checks = [Check(f"output 'y{i}'", verdict, "words", 1.23456, 2.0) for i, verdict in enumerate(verdicts)]
    return Comparison(
        reference="a.onnx",
        candidate="b.onnx",
        equivalent=Verdict.FAIL not in verdicts,
        checks=(Check("interface", Verdict.PASS, "the same"), *checks),
        needed_tolerance=1.5e-7,
        oracle="float64",
        inputs=("normal, seed 0, 2×3",),
        seeds=(0,),
    )


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ([Verdict.PASS], "Equivalent"),
        ([Verdict.NOTE, Verdict.PASS], "Equivalent"),
        ([Verdict.WARN, Verdict.PASS], "Equivalent, with warnings"),
        ([Verdict.PASS, Verdict.FAIL], "Not equivalent: output 'y1'"),
    ],
)
def test_the_last_line_is_the_verdict_in_words(verdicts, words):
    assert document(comparison(*verdicts)).blocks[-1].text == words


def test_each_check_is_a_line_with_its_figure_and_limit():
    table = document(comparison(Verdict.PASS)).blocks[0]
    assert table.rows == (
        ("interface", "pass", "", "", "the same"),
        ("output 'y0'", "pass", "1.23", "2", "words"),
    )


@pytest.mark.parametrize("form", [Format.TABLE, Format.JSON, Format.MARKDOWN])
def test_the_smallest_tolerance_and_the_inputs_are_in_every_format_for_people(form):
    result = comparison(Verdict.PASS)
    text = Report("comparison", result, document(result)).render(form)
    assert "1.5e-07" in text or "1.50e-07" in text
    assert "normal, seed 0, 2×3" in text


def test_a_comparison_that_ended_at_the_interface_has_no_tolerance():
    early = Comparison("a", "b", equivalent=False, checks=(Check("interface", Verdict.FAIL, "no"),))
    assert [block.text for block in document(early).blocks[1:]] == ["Not equivalent: interface"]

"""A Comparison for people."""

import dataclasses
import math

import pytest

from bnfold.reporting import Format, Report
from bnfold.reporting.comparison import document, suite
from bnfold.verifying import Check, Comparison, Divergence, GraphChange, Verdict


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


def test_where_they_part_is_told_in_every_format():
    found = Divergence("r", "q", ("conv", "bn"), 1e-3, 5e3, 2e-3, ((7, 0.9), (1, 0.1)), ("bn",), rest_passes=True)
    result = dataclasses.replace(comparison(Verdict.FAIL), divergence=found)
    texts = [block.text for block in document(result).blocks[3:-1]]
    assert texts == [
        "They part at 'q' ('r' in the reference), where bn was: error 1.00e-03 from the reference's own tensors in "
        "front of it, 5e+03 times the reference's own there; 2.00e-03 in the whole model",
        "Channels with the largest share of it: 7 (90%), 1 (10%)",
        "With the reference's own nodes there, the rest is equivalent",
    ]
    for form in Format:
        assert "bn" in Report("comparison", result, document(result)).render(form)


def test_what_changed_where_they_part_is_told_in_every_format():
    change = GraphChange("conv3", "Conv", "pads", "[1, 1]", "")
    found = Divergence("r", "r", ("conv3",), math.inf, math.inf, math.inf, changes=(change,))
    result = dataclasses.replace(comparison(Verdict.FAIL), divergence=found, changes=(change,))
    line = "Changed there: Conv 'conv3': pads [1, 1] → absent"
    assert line in [block.text for block in document(result).blocks[1:]]
    for form in Format:
        assert "pads" in Report("comparison", result, document(result), (suite(result),)).render(form)


def test_changes_say_what_became_of_a_node():
    assert str(GraphChange("a", "Relu", "operator", "Relu", "Elu (alpha = 2)")) == "'a': Relu → Elu (alpha = 2)"
    assert str(GraphChange("a", "Relu", "node", "Relu", "")) == "Relu 'a' is gone"
    assert str(GraphChange("a", "Relu", "node", "", "Relu")) == "Relu 'a' is new"

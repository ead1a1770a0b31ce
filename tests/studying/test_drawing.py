"""Figures: one text for one set of numbers, colours by name, and nothing from outside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from bnfold.studying import find_claim
from bnfold.studying.drawing import DARK, LIGHT, draw, standalone, strips
from tests.helpers.studies import made

CLAIM = find_claim(3)


def figure(claim=CLAIM):
    return draw(claim, made(claim, lambda arm, at: {"accuracy": 0.5, "tuned": len(arm) / 20 + at / 100}))


@pytest.fixture(scope="module")
def svg():
    return figure()


def test_the_same_numbers_give_the_same_text(svg) -> None:
    assert figure() == svg


def test_is_xml_with_a_label_and_text_that_can_be_searched(svg) -> None:
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == CLAIM.title
    words = " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "standard deviation of the initial weights" in words
    assert "without BN" in words


def test_every_colour_is_a_variable_or_the_ink_of_the_page(svg) -> None:
    assert "currentColor" in svg
    assert set(re.findall(r"var\((--\w+)", svg)) >= {"--c0", "--c1", "--soft"}
    assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg)
    for name in set(re.findall(r"var\((--\w+)", svg)):
        assert f"{name}: #" in LIGHT
        assert f"{name}: #" in DARK


def test_names_are_those_of_the_claim_and_refer_to_what_is_there(svg) -> None:
    names = re.findall(r'\bid="([^"]+)"', svg)
    assert len(set(names)) == len(names)
    assert all(name.startswith("claim3-") for name in names)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) <= set(names)


def test_has_no_date_and_nothing_from_outside(svg) -> None:
    assert "metadata" not in svg
    assert not re.search(r"(?<!xmlns=\")(?<!xlink=\")https?://", svg)


def test_a_file_of_its_own_is_dark_where_pages_are(svg) -> None:
    text = standalone(svg)
    ET.fromstring(text.encode())
    assert "prefers-color-scheme: dark" in text
    assert DARK in text
    assert text.count("<svg") == 1


def test_strips_have_a_dot_for_every_seed_and_a_line_at_the_mean() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    strips(axes, {"a": (1.0, 3.0), "b": (5.0,)})
    dots, means = axes.get_lines()[::2], axes.get_lines()[1::2]
    assert [list(line.get_xdata()) for line in dots] == [[1.0, 3.0], [5.0]]
    assert [list(line.get_xdata()) for line in means] == [[2.0, 2.0], [5.0, 5.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert len({line.get_marker() for line in dots}) == 2

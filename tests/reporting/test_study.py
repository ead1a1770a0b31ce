"""A study as a page, as Markdown, and as files."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bnfold.errors import ModelFileError
from bnfold.reporting import markdown, study_page
from bnfold.reporting.study import document, numbers, suite
from bnfold.reporting.study_files import render_markdown, write
from bnfold.studying import Part, StudyResult, Verdict
from bnfold.studying.claim import Explanation, Quantity
from bnfold.studying.result import ClaimResult, Run

HTML = "{http://www.w3.org/1999/xhtml}"
FIGURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text id="claim3-t">a &lt; b</text></svg>'
NASTY = '<script>alert(1)</script> & "quotes" | pipes'


def claim(number, verdict, *, axis="rate"):
    explanation = Explanation(
        summary="A title",
        lecture=(f"It is said {NASTY}.",),
        setup=("One.", "Two."),
        rule=("If.",),
        omits=("But.",),
        references=("A paper, https://arxiv.org/abs/1", f"{NASTY} http://example.org/a?b=1&c=2"),
    )
    runs = tuple(
        Run(arm, at, seed, 3, {"x": at + seed, **({"lost": float("inf")} if arm == "b" else {}), "list": [1.0]})
        for arm in ("a", "b")
        for at in ((0.5, 1.0) if axis else (0.0,))
        for seed in (0, 1)
    )
    return ClaimResult(
        number=number,
        name=f"claim_{number}",
        title="A title",
        explanation=explanation,
        verdict=verdict,
        parts=(Part(f"so {NASTY}", "1 < 2", True, core=True), Part("and so", "2", False)),
        axis=axis,
        quantities=(Quantity("x", "the x", ".2f"), Quantity("lost", "the lost", ".0f"), Quantity("none", "nothing")),
        runs=runs,
        command=f"bnfold study {number}",
        figure=FIGURE.replace("claim3", f"claim{number}"),
        seconds=1.5,
    )


@pytest.fixture
def result():
    return StudyResult(
        quick=False,
        seed=0,
        claims=(claim(2, Verdict.REPRODUCES), claim(3, Verdict.PARTLY, axis=""), claim(7, Verdict.DOES_NOT)),
        command="bnfold study 2 3 7",
        versions={"torch": "2.13.0"},
        machine="A processor",
    )


class Visitor(HTMLParser):
    """What a page would load, and the names in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.targets += [attributes["href"]] if tag == "a" else []
        self.loads += [attributes[name] for name in ("src", "data", "srcset", "action") if name in attributes]
        if tag != "a" and not attributes.get("href", "#").startswith("#"):
            self.loads.append(attributes["href"])


def visited(page):
    visitor = Visitor()
    visitor.feed(page)
    return visitor


def test_the_page_is_well_formed_and_needs_nothing_beside_it(result) -> None:
    page = study_page.render(result)
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert len(root.findall(f".//{HTML}section")) == 3
    visitor = visited(page)
    assert visitor.loads == []
    assert not {"script", "link", "iframe", "img", "object"} & set(visitor.tags)
    assert "@import" not in page
    assert "url(http" not in page


def test_names_are_there_once_and_links_lead_to_them(result) -> None:
    visitor = visited(study_page.render(result))
    assert len(set(visitor.ids)) == len(visitor.ids)
    inside = {target.removeprefix("#") for target in visitor.targets if target.startswith("#")}
    assert inside == {"claim_2", "claim_3", "claim_7"} <= set(visitor.ids)


def test_text_is_text(result) -> None:
    root = ET.fromstring(study_page.render(result).removeprefix("<!DOCTYPE html>"))
    text = " ".join(root.itertext())
    assert text.count(f"It is said {NASTY}.") == 3
    assert f"so {NASTY}" in text
    links = {link.attrib["href"] for link in root.iter(f"{HTML}a")}
    assert {"https://arxiv.org/abs/1", "http://example.org/a?b=1&c=2"} <= links


def test_the_page_says_all_that_is_known_of_a_claim(result) -> None:
    (section, *_) = ET.fromstring(study_page.render(result).removeprefix("<!DOCTYPE html>")).iter(f"{HTML}section")
    text = " ".join("".join(section.itertext()).split())
    for words in ("2. A title", "Verdict: reproduces", "yes (core)", "One.", "Two.", "If.", "But.", "bnfold study 2"):
        assert words in text
    assert "seed 0" in text
    assert "∞" in text


def test_is_dark_where_its_reader_is_and_printed_on_white(result) -> None:
    page = study_page.render(result)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert set(re.findall(r"var\((--\w+)\)", page)) <= set(re.findall(r"(--\w+):", page))


def test_every_seed_has_a_column_and_every_place_a_row(result) -> None:
    (label, table), (_, lost) = numbers(result.claims[0])
    assert label == "the x"
    assert table.columns == ("arm", "rate", "seed 0", "seed 1", "mean")
    assert table.rows[0] == ("a", "0.5", "0.50", "1.50", "1.00")
    assert [row[:2] for row in table.rows] == [("a", "0.5"), ("a", "1"), ("b", "0.5"), ("b", "1")]
    assert [row[-1] for row in lost.rows] == ["∞", "∞"]


def test_without_an_axis_there_is_no_column_for_it(result) -> None:
    (_, table), *_ = numbers(result.claims[1])
    assert table.columns == ("arm", "seed 0", "seed 1", "mean")
    assert table.rows[0] == ("a", "0.00", "1.00", "0.50")


def test_the_overview_has_each_verdict(result) -> None:
    text = markdown.render(document(result))
    for verdict in ("reproduces", "partly", "does not"):
        assert f"| A title | {verdict} | 1 of 2 |" in text
    assert "A processor" in text
    assert [case.outcome for case in suite(result).cases] == ["pass", "note", "note"]


def test_markdown_links_to_figures_that_are_written(result, tmp_path) -> None:
    write(result, tmp_path / "new")
    text = (tmp_path / "new" / "study.md").read_text(encoding="utf-8")
    assert text == render_markdown(result)
    figures = re.findall(r"!\[A title\]\((.+)\)", text)
    assert figures == ["figures/02-claim-2.svg", "figures/03-claim-3.svg", "figures/07-claim-7.svg"]
    for figure in figures:
        ET.parse(tmp_path / "new" / figure)
    assert "<script>" not in text.replace("\\<script\\>", "")
    for head in ("# BatchNorm", "## 2. A title", "**Set-up**", "**References**", "**Run it alone:** `bnfold study 2`"):
        assert head in text


def test_json_has_the_numbers_and_no_times(result, tmp_path) -> None:
    write(result, tmp_path)
    found = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert found["kind"] == "study"
    assert found["claims"][0]["runs"][0] == {
        "arm": "a", "at": 0.5, "seed": 0, "epochs": 3, "numbers": {"x": 0.5, "list": [1.0]}
    }  # fmt: skip
    assert not {"seconds", "figure"} & set(found["claims"][0])
    slower = replace(result, claims=tuple(replace(one, seconds=99.0) for one in result.claims))
    write(slower, tmp_path / "slower")
    assert (tmp_path / "slower" / "study.json").read_bytes() == (tmp_path / "study.json").read_bytes()


def test_a_folder_that_cannot_be_made_is_an_error(result, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="cannot be made"):
        write(result, tmp_path / "file")

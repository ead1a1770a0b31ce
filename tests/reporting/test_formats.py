"""Documents and results in every format."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from bnfold.reporting import Format, Report, data
from bnfold.reporting.document import Document, Table, Text


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Result:
    name: str = "a_b"
    ratio: float = float("inf")
    lost: float = float("nan")
    colour: Colour = Colour.RED
    path: Path = Path("x") / "y"
    parts: tuple[object, ...] = ({"k": 1},)
    model: object = field(default=None, metadata={"json": False})


DOCUMENT = Document(
    "one [bold] title",
    (Table(("name", "count"), (("node_[0]|x", "3"),), frozenset({"count"})), Text("well", "good"), Text("ill", "bad")),
)


def test_json_has_its_version_first_and_loses_no_number():
    report = json.loads(data.render(Result(), "thing"))
    assert list(report)[:2] == ["schema_version", "kind"]
    assert report["kind"] == "thing"
    assert (report["ratio"], report["lost"]) == ("inf", "nan")
    assert (report["colour"], report["parts"]) == ("red", [{"k": 1}])
    assert Path(report["path"]) == Path("x") / "y"
    assert "model" not in report


def test_only_results_become_json():
    with pytest.raises(TypeError, match="a result is a dataclass"):
        data.render([], "thing")


def test_names_with_brackets_survive_the_console():
    text = Report("thing", Result(), DOCUMENT).render(Format.TABLE)
    assert "one [bold] title" in text
    assert "node_[0]|x" in text


def test_markdown_marks_verdicts_and_escapes_names():
    text = Report("thing", Result(), DOCUMENT).render(Format.MARKDOWN)
    assert "| :--- | ---: |" in text
    assert r"node\_\[0\]\|x" in text
    assert "✅ well" in text
    assert "❌ ill" in text


@pytest.mark.parametrize("form", Format)
def test_every_format_ends_in_a_newline(form):
    assert Report("thing", Result(), DOCUMENT).render(form).endswith("\n")

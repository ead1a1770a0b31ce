"""The ratios of the pairs, drawn."""

import importlib.util
import xml.etree.ElementTree as ET

import pytest

from bnfold.errors import MissingDependencyError
from bnfold.reporting import Picture, pictures
from bnfold.reporting.distributions import distribution
from bnfold.reporting.pictures import Distribution, draw
from tests.benchmarking.cells import ratios

FASTER = Distribution("level all, latency", (1.1, 1.2, 1.15), 1.15, 1.09, 1.21, "faster")
SAME = Distribution("level all, load", (0.99, 1.0, 1.02, 1.01), 1.005, 0.98, 1.03, "no change")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


def svg(*cells, title="b against a"):
    return ET.fromstring(draw(title, cells, Picture.SVG))


def texts(root):
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def dots(root, row):
    """The places of the dots of a row, from left to right."""
    (group,) = (node for node in root.iter(f"{SVG}g") if node.get("id") == f"pairs-{row}")
    return sorted((float(use.get("x")), float(use.get("y"))) for use in group.iter(f"{SVG}use"))


@pytest.mark.usefixtures("matplotlib")
def test_every_pair_is_a_dot_and_every_cell_a_row_with_its_interval_in_words():
    root = svg(FASTER, SAME)
    assert (len(dots(root, 0)), len(dots(root, 1))) == (3, 4)
    assert max(y for _, y in dots(root, 0)) < min(y for _, y in dots(root, 1))  # from top to bottom
    assert max(x for x, _ in dots(root, 1)) < min(x for x, _ in dots(root, 0))  # 1.02 is left of 1.1
    said = texts(root)
    for text in ("b against a", FASTER.label, SAME.label, "1.09 to 1.21, faster", "0.98 to 1.03, no change"):
        assert text in said


@pytest.mark.usefixtures("matplotlib")
def test_twice_as_fast_is_as_far_from_1_as_half_as_fast():
    root = svg(Distribution("a cell", (0.5, 1.0, 2.0), 1.0, 0.4, 2.5, "inconclusive"))
    half, one, twice = (x for x, _ in dots(root, 0))
    assert one - half == pytest.approx(twice - one, rel=1e-3)
    assert {"0.5×", "1×", "2×"} <= set(texts(root))


@pytest.mark.usefixtures("matplotlib")
def test_1_is_to_be_seen_where_all_ratios_are_far_from_it():
    assert "1×" in texts(svg(Distribution("a cell", (3.0, 3.1), 3.05, 2.9, 3.2, "faster")))


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0.975, 1.052, [0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 1.04, 1.05]),
    (0.985, 1.1, [1.0, 1.02, 1.04, 1.06, 1.08, 1.1]),
    (0.98, 2.9, [1.0, 1.5, 2.0, 2.5]),
    (0.39, 6.0, [0.5, 1.0, 2.0, 5.0]),
])  # fmt: skip
def test_ticks_are_round_and_1_is_one_of_them(low, high, expected):
    assert pictures.ticks(low, high) == pytest.approx(expected)


@pytest.mark.usefixtures("matplotlib")
def test_names_are_no_markup_and_need_be_no_text():
    names = ("$x^2$ <b> & \x1b[0m", "größer 猫", "\udcff.onnx", "a_b.onnx against $c_d$")
    *labels, title = names
    said = texts(svg(*(Distribution(name, (1.0, 1.1), 1.05, 0.9, 1.2, "no change") for name in labels), title=title))
    assert {"$x^2$ <b> & \\x1b[0m", "größer 猫", "\\udcff.onnx", title} <= set(said)


@pytest.mark.usefixtures("matplotlib")
def test_the_same_cells_give_the_same_bytes_in_either_format():
    for picture in Picture:
        assert draw("a title", [FASTER, SAME], picture) == draw("a title", [FASTER, SAME], picture)


@pytest.mark.usefixtures("matplotlib")
def test_a_png_grows_with_its_rows():
    one, many = (draw("a title", [FASTER] * rows, Picture.PNG) for rows in (1, 12))
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    heights = [int.from_bytes(file[20:24], "big") for file in (one, many)]
    assert heights[1] > 2 * heights[0]


@pytest.mark.usefixtures("matplotlib")
def test_drawing_changes_no_setting_of_matplotlib(matplotlib):
    before = dict(matplotlib.rcParams)
    draw("a title", [FASTER], Picture.SVG)
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"matplotlib is not installed: .*'bnfold\[plot\]'"):
        pictures.draw("a title", [FASTER], Picture.SVG)


def test_a_timing_becomes_a_row():
    times = ratios(2.0, 2.1, 1.9)
    row = distribution("level all, latency", times)
    assert (row.label, row.ratios, row.verdict) == ("level all, latency", times.speedups, "faster")
    assert (row.low, row.middle, row.high) == (times.low, times.speedup, times.high)

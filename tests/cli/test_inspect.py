"""``bnfold inspect``: what would go where, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.helpers.models import model_of

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"

# The first stays, blocked by another node on each route; the second goes, through a Relu and into two nodes.
MIXED = """
    g (float[N,2,6] x, float[3,2,3] w, float[3,3,1] v, float[2] scale, float[2] bias, float[2] mean, float[2] var,
       float[3] positive_scale, float[3] zero_bias, float[3] zero_mean, float[3] var2) => (float[N,3,6] y) {
        h = Tanh (x)
        n = BatchNormalization (h, scale, bias, mean, var)
        c = Conv <pads = [1,1]> (n, w)
        r = Relu (c)
        m = BatchNormalization (r, positive_scale, zero_bias, zero_mean, var2)
        y = Conv (m, v)
    }
"""


@pytest.fixture
def model(tmp_path) -> Path:
    ir.save(model_of(MIXED, dtype="float"), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def table(out: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    rows = [line for line in out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_shows_every_route_with_what_blocks_it(model, command) -> None:
    code, out, err = command("inspect", model, "--format", "markdown")
    assert (code, err) == (0, "")
    assert [row[:3] for row in table(out) if row[1] == "folded"] == [["m", "folded", "forward"]]
    stays = [row for row in table(out) if row[1] != "folded"]
    assert [row[:3] for row in stays] == [
        ["n", "kept", "back"],
        ["", "", "forward"],
        ["", "", "shift back, scale forward"],
    ]
    for row, blocker in zip(stays, ("Tanh 'h' is", "Conv 'c' pads with zeros", "Tanh 'h' is"), strict=True):
        assert row[3].startswith(blocker)


def test_shows_each_node_that_takes_part_on_a_line(model, command) -> None:
    """With the last Conv asked to stay, the second goes back, through the Relu."""
    _, out, _ = command("inspect", model, "--keep", "y", "--format", "markdown")
    rows = [row for row in table(out) if row[0] != "n" and row[3].split()[0] in ("Conv", "through")]
    assert [row[:2] for row in rows if row[0]] == [["m", "folded"]]
    assert next(row[2:] for row in rows) == ["back", "Conv c (w)"]
    assert ["", "", "", "through r"] in rows


def test_says_what_changes_in_total_and_changes_nothing(model, command) -> None:
    before = model.read_bytes()
    code, out, _ = command("inspect", model)
    assert code == 0
    assert out.splitlines()[-1] == "1 of 2 folded, 6 nodes → 5"
    assert model.read_bytes() == before
    assert [file.name for file in model.parent.iterdir()] == ["model.onnx"]


def test_agrees_with_fold(model, command) -> None:
    _, inspected, _ = command("inspect", model, "--format", "json")
    _, folded, _ = command("fold", model, "--format", "json", "--no-verify")
    inspected, folded = json.loads(inspected), json.loads(folded)
    assert (inspected.pop("kind"), folded.pop("kind")) == ("inspection", "fold")
    assert folded.pop("verification") is None  # inspect runs nothing that could be verified
    assert inspected == folded


def test_one_that_is_no_affine_has_a_reason_and_no_route(tmp_path, command) -> None:
    path = Path(shutil.copy(DIGITS, tmp_path / "model.onnx"))
    _, out, _ = command("inspect", path, "--keep", "bn1", "--format", "markdown")
    assert ["bn1", "kept", "", "asked to stay"] in table(out)


def test_a_model_without_any_is_no_error(tmp_path, command) -> None:
    ir.save(model_of("g (float[2] x) => (float[2] y) { y = Relu (x) }", dtype="float"), tmp_path / "model.onnx")
    code, out, _ = command("inspect", tmp_path / "model.onnx")
    assert code == 0
    assert "No BatchNormalization in this model" in out


def test_writes_the_report_where_it_was_asked_to(model, command) -> None:
    path = model.with_name("report.json")
    assert command("inspect", model, "--report", f"json={path}")[0] == 0
    assert [entry["node"] for entry in json.loads(path.read_text())["folded"]] == ["m"]


def test_refuses_to_write_its_report_over_the_model(model, command) -> None:
    ir.save(ir.load(model), model, external_data="weights.bin", size_threshold_bytes=0)
    for place in (model, model.with_name("weights.bin")):
        before = place.read_bytes()
        code, out, err = command("inspect", model, "--report", f"json={place}")
        assert (code, out) == (2, "")
        assert "would overwrite another file" in err
        assert place.read_bytes() == before


def test_refuses_what_is_no_model(tmp_path, command) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    code, out, err = command("inspect", tmp_path / "model.onnx")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_fold_has_no_second_way_to_look(model, command) -> None:
    code, _, err = command("fold", model, "--dry-run")
    assert code == 2
    assert "--dry-run" in err

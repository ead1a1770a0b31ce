"""``action.yml``: its steps are run as a runner runs them, with the inputs in their environment."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from bnfold import modelfile
from tests.verifying.networks import random_network

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "models" / "digits_cnn" / "model.onnx"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="composite actions run in bash")


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A repository that holds models."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    network = random_network(5, operator="Gemm", layers=2, widths=(4, 8), var=(0.1, 2.0), batch="N")
    modelfile.save(network.reference(), folder / "a.onnx")
    modelfile.save(network.folded(), folder / "b c.onnx")
    modelfile.save(network.folded("one bias lost"), folder / "wrong.onnx")
    shutil.copy(DIGITS, folder / "model.onnx")
    return folder


def test_no_expression_is_inside_a_script() -> None:
    """It would be pasted into the text, and run."""
    for step in STEPS:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        for text in step["env"].values():
            assert EXPRESSION.fullmatch(text)


def test_every_input_is_used_and_described() -> None:
    used = {name for step in STEPS for text in step["env"].values() for name in EXPRESSION.findall(text)}
    used |= {name for step in STEPS for name in re.findall(r"inputs\.([\w-]+)", step.get("if", ""))}
    assert used == ACTION["inputs"].keys()
    assert all(entry["description"] for entry in ACTION["inputs"].values())


def test_installs_what_lies_beside_it_unless_told_not_to(act, tmp_path) -> None:
    act(model="none.onnx", extra="gpu")
    assert (tmp_path / "pip.txt").read_text().splitlines() == ["-m", "pip", "install", "/some where/bnfold[gpu]"]
    (tmp_path / "pip.txt").unlink()
    act(model="none.onnx", install="false")
    assert not (tmp_path / "pip.txt").exists()


def test_checks_a_model(act, workspace) -> None:
    code, log, outputs, summary = act(
        model="model.onnx",
        output="out put.onnx",
        strict="true",
        min_speedup="0.001",
        timeout="300",
        report="junit=a b.xml\njson=a.json\n",
    )
    assert code == 0, log
    assert log.startswith("::notice title=bnfold::")
    assert outputs == {"exit-code": "0"}
    assert summary.count("## ") == 1
    assert "✅ Yes" in summary
    assert (workspace / "out put.onnx").exists()
    assert (workspace / "a.json").exists()
    assert ET.parse(workspace / "a b.xml").getroot().get("failures") == "0"


def test_a_no_fails_the_step_with_annotations(act) -> None:
    code, log, outputs, summary = act(model="model.onnx", keep="bn1\nbn[23]\n", strict="true", bench="false")
    assert (code, outputs) == (1, {"exit-code": "1"})
    assert log == (
        "::error title=bnfold check%3A fold::1 of 4 BatchNormalizations folded; "
        "bn1: asked to stay; bn2: asked to stay; bn3: asked to stay\n"
    )
    assert "❌ No" in summary


def test_verifies_a_candidate(act) -> None:
    assert act(command="verify", model="a.onnx", candidate="b c.onnx")[0] == 0
    code, log, outputs, _ = act(command="verify", model="a.onnx", candidate="wrong.onnx")
    assert (code, outputs) == (1, {"exit-code": "1"})
    assert log.startswith("::error title=bnfold verify%3A weight '")
    assert "::error title=bnfold verify%3A output 'y'::" in log


def test_other_arguments_are_handed_on(act, workspace) -> None:
    assert act(command="verify", model="a.onnx", candidate="b c.onnx", arguments="--report\njunit=x y.xml")[0] == 0
    assert (workspace / "x y.xml").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"model": "none.onnx"},
        {"model": "--help"},
        {"model": ""},
        {"command": "verify", "model": "a.onnx"},
        {"command": "train", "model": "a.onnx"},
        {"command": "check", "model": "a.onnx", "candidate": "b c.onnx", "bench": "false"},
        {"command": "verify", "model": "a.onnx", "candidate": "b c.onnx", "strict": "true"},
        {"command": "verify", "model": "a.onnx", "candidate": "b c.onnx", "bench": "false"},
        {"command": "verify", "model": "a.onnx", "candidate": "b c.onnx", "output": "d.onnx"},
        {"command": "verify", "model": "a.onnx", "candidate": "b c.onnx", "keep": "bn1"},
        {"command": "verify", "model": "a.onnx", "candidate": "b c.onnx", "min_speedup": "1.1"},
        {"model": "model.onnx", "strict": "yes"},
        {"model": "model.onnx", "keep": "typo"},
    ],
)
def test_what_cannot_be_used_is_exit_2(act, given) -> None:
    code, log, outputs, summary = act(**given)
    assert (code, outputs) == (2, {"exit-code": "2"}), log
    assert log.startswith("::error title=bnfold::")
    assert "Traceback" not in log
    assert summary == ""


HOSTILE = """$(touch pwned)`touch pwned`"; touch pwned; "'; touch pwned; '"""


@pytest.mark.parametrize("name", [name for name in ACTION["inputs"] if name not in {"install", "extra"}])
@pytest.mark.parametrize("text", [HOSTILE, "*"])
def test_nothing_in_an_input_is_run(act, workspace, name, text) -> None:
    before = sorted(workspace.iterdir())
    act(**({"model": "none.onnx"} | {name.replace("-", "_"): text}))
    assert sorted(workspace.iterdir()) == before


@pytest.mark.parametrize("flag", ["strict", "bench"])
def test_a_flag_that_is_neither_true_nor_false_is_not_passed_over(act, flag) -> None:
    code, log, *_ = act(model="a.onnx", **{flag: "True"})
    assert code == 2
    assert "true or false, not 'True'" in log

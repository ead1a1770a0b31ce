"""``bnfold verify``: exit codes, and what goes to stdout, stderr and files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bnfold import modelfile
from tests.helpers.models import parse
from tests.verifying.networks import random_network


@pytest.fixture
def command(command, monkeypatch, tmp_path):
    """As everywhere here, in a folder with models."""
    network = random_network(5, operator="Gemm", layers=2, widths=(4, 8), var=(0.1, 2.0), batch="N")
    modelfile.save(network.reference(), tmp_path / "a.onnx")
    modelfile.save(network.folded(), tmp_path / "b.onnx")
    modelfile.save(network.folded("one bias lost"), tmp_path / "wrong.onnx")
    modelfile.save(parse("g (float[2] x) => (float[2] y) { y = Unheard(x) }"), tmp_path / "unheard.onnx")
    (tmp_path / "empty.onnx").touch()
    monkeypatch.chdir(tmp_path)
    return command


def test_equivalent_models_exit_with_0_and_a_table(command):
    code, out, err = command("verify", "a.onnx", "b.onnx")
    assert (code, err) == (0, "")
    assert "b.onnx against a.onnx" in out
    assert "output 'y'" in out
    assert "smallest tolerance that would have passed" in out
    assert out.strip().endswith("Equivalent")


def test_models_that_differ_exit_with_1_and_the_verdict_in_words(command):
    code, out, err = command("verify", "a.onnx", "wrong.onnx")
    assert (code, err) == (1, "")
    assert out.strip().endswith("Not equivalent: weight 'bias0', output 'y'")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("none.onnx", "b.onnx"), 2, "none.onnx: no such file"),
        (("a.onnx", "empty.onnx"), 2, "empty.onnx: the file is empty"),
        (("a.onnx", "."), 2, "is a folder"),
        (("a.onnx", "b.onnx", "--report", "xml=out"), 2, "--report xml=out"),
        (("a.onnx", "b.onnx", "--provider", "cuda:device"), 2, "--provider cuda:device: give NAME"),
        (("a.onnx", "b.onnx", "--provider", "brandnew"), 3, "provider brandnew: missing"),
        (("a.onnx", "b.onnx", "--provider", "azure"), 3, "a.onnx: azure did not run it: 4 of"),
        (("a.onnx", "b.onnx", "--inputs", "nowhere"), 2, "nowhere: no such file or folder"),
        (("a.onnx", "b.onnx", "--tolerance", "much"), 2, "--tolerance much: give NUMBER or OUTPUT:NUMBER"),
        (("unheard.onnx", "unheard.onnx"), 3, "reference: unheard.onnx: onnxruntime refuses the model"),
    ],
)
def test_what_cannot_be_checked_is_one_line_on_stderr(command, arguments, code, words):
    assert command("verify", *arguments)[0] == code
    _, out, err = command("verify", *arguments)
    assert out == ""
    assert err.startswith("bnfold: ")
    assert words in err
    assert err.count("\n") == 1


def test_json_is_all_that_goes_to_stdout_and_a_report_can_go_to_a_file(command, tmp_path):
    code, out, _ = command("verify", "a.onnx", "wrong.onnx", "--format", "json", "--report", "markdown=out.md")
    report = json.loads(out)
    assert code == 1
    assert (report["schema_version"], report["kind"], report["equivalent"]) == (1, "comparison", False)
    assert report["checks"][-1]["verdict"] == "fail"
    assert report["checks"][-1]["limit"] == 2.0
    assert report["seeds"] == [0, 1, 2, 3, 4, 5]
    assert "❌ Not equivalent" in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_a_fresh_process_says_the_same(command, tmp_path):
    base = [sys.executable, "-m", "bnfold", "verify", "a.onnx"]
    for candidate, code in (("b.onnx", 0), ("wrong.onnx", 1), ("none.onnx", 2)):
        done = subprocess.run([*base, candidate], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr


def test_levels_are_compared_side_by_side(command):
    code, out, err = command("verify", "a.onnx", "b.onnx", "--level", "all", "--level", "basic", "--jobs", "2")
    assert (code, err) == (0, "")
    assert "output 'y' (cpu, all)" in out
    assert "output 'y' (cpu, basic)" in out
    assert "Run on cpu, disabled; cpu, all; cpu, basic" in out


def test_a_tolerance_by_output_decides(command):
    assert command("verify", "a.onnx", "wrong.onnx", "--tolerance", "y:100")[0] == 0
    code, out, _ = command("verify", "a.onnx", "b.onnx", "--tolerance", "0", "--oracle", "never")
    assert code == 1
    assert "as asked for" in out


def test_bisect_tells_where_and_save_repro_keeps_it(command, tmp_path):
    code, out, err = command("verify", "a.onnx", "wrong.onnx", "--bisect", "--save-repro", "repro")
    assert (code, err) == (1, f"{Path('repro', 'README.md')} tells how to show it again\n")
    assert "They part at " in out
    assert "the rest is equivalent" in out
    assert (tmp_path / "repro" / "README.md").is_file()
    code, out, err = command("verify", "a.onnx", "wrong.onnx", "--save-repro", "repro")
    assert (code, out) == (2, "")
    assert "is not empty" in err


def test_where_they_part_is_an_annotation_and_a_case(command):
    code, out, _ = command(
        "verify", "a.onnx", "wrong.onnx", "--bisect", "--format", "github", "--report", "junit=a.xml"
    )
    assert code == 1
    (line,) = (line for line in out.splitlines() if "where they part" in line)
    assert line.startswith("::error title=bnfold verify%3A where they part::They part at ")
    assert 'name="where they part"' in Path("a.xml").read_text()


@pytest.mark.parametrize("words", [("--format", "github"), ("--format=github",)])
def test_what_cannot_be_checked_is_an_annotation_where_those_are_asked_for(command, words):
    code, out, err = command("verify", "a.onnx", "none.onnx", *words)
    assert (code, out) == (2, "::error title=bnfold::none.onnx: no such file\n")
    assert err == "bnfold: none.onnx: no such file\n"
    assert command("verify", "a.onnx", "none.onnx", "--format", "json")[1] == ""


def test_a_report_to_a_dash_is_no_file_of_that_name(command, tmp_path):
    code, out, err = command("verify", "a.onnx", "b.onnx", "--report", "json=-")
    assert (code, out) == (2, "")
    assert "--format json prints to stdout" in err
    assert not (tmp_path / "-").exists()

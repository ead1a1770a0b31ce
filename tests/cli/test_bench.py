"""``bnfold bench``: exit codes, and what goes to stdout, stderr and files."""

import json
from xml.etree import ElementTree as ET

import pytest

from bnfold import modelfile
from bnfold.reporting import pictures
from tests.helpers.models import parse
from tests.verifying.networks import random_network


@pytest.fixture
def command(command, monkeypatch, tmp_path):
    """As everywhere here, in a folder with models."""
    network = random_network(5, operator="Gemm", layers=2, widths=(4, 8), batch="N")
    modelfile.save(network.reference(), tmp_path / "a.onnx")
    modelfile.save(network.folded(), tmp_path / "b.onnx")
    modelfile.save(parse("g (float[2] x) => (float[2] y) { y = Unheard(x) }"), tmp_path / "unheard.onnx")
    monkeypatch.chdir(tmp_path)
    return command


def test_prints_both_levels_and_exits_with_0_whatever_is_faster(command):
    code, out, err = command("bench", "a.onnx", "b.onnx", "--pairs", "2")
    assert (code, err) == (0, "")
    assert "Level disabled: " in out
    assert "Level all (the default of onnxruntime): " in out
    assert "BatchNormalizations" in out


def test_json_holds_every_pair_of_every_place(command):
    code, out, _ = command(
        *("bench", "a.onnx", "b.onnx", "--pairs", "2", "--level", "basic", "all", "--batch", "1"),
        *("--batch", "3", "--threads", "2", "--warmup", "1", "--no-loads", "--provider", "cpu", "--format", "json"),
    )
    report = json.loads(out)
    assert code == 0
    assert (report["kind"], report["processes"], report["warmup"]) == ("benchmark", False, 1)
    assert [(cell["batch"], cell["level"]) for cell in report["cells"]] == [
        (1, "basic"), (1, "all"), (3, "basic"), (3, "all"),
    ]  # fmt: skip
    for cell in report["cells"]:
        (fed,) = cell["inputs"]
        assert fed.split(" ")[1].startswith(f"{cell['batch']}×")
        assert (cell["provider"], cell["threads"]) == ("cpu", 2)
        assert len(cell["latency"]["speedups"]) == 2
        assert cell["load"] is None
    assert report["reference"]["batch_normalizations"] == 2


def test_a_budget_is_in_seconds(command):
    arguments = ("--pairs", "2", "--level", "all", "--no-loads", "--time-budget", "6", "--format", "json")
    code, out, _ = command("bench", "a.onnx", "b.onnx", *arguments)
    assert code == 0
    assert len(json.loads(out)["cells"][0]["latency"]["speedups"]) > 2


def test_latencies_come_from_processes_if_they_are_asked_to(command):
    arguments = ("--pairs", "2", "--level", "all", "--processes", "--format", "json")
    code, out, _ = command("bench", "a.onnx", "b.onnx", *arguments)
    report = json.loads(out)
    assert (code, report["processes"]) == (0, True)
    assert len(report["cells"][0]["load"]["speedups"]) == 2


def test_a_speed_up_that_is_not_shown_is_exit_1_and_every_report_says_so(command):
    demands = ("--min-speedup", "0.000001@disabled", "--min-speedup", "1000000")
    arguments = ("bench", "a.onnx", "b.onnx", "--pairs", "2", "--no-loads")
    code, out, err = command(*arguments, *demands, "--report", "junit=a.xml")
    assert (code, err) == (1, "")
    *_, shown, missed = out.splitlines()
    assert shown.startswith("Speed-up 1e-06@disabled demanded: shown: ")
    assert missed.startswith("Speed-up 1e+06@all demanded: not shown: ")
    root = ET.parse("a.xml").getroot()
    assert root.get("failures") == "1"
    code, _, _ = command(*arguments, *demands[:2])
    assert code == 0


def test_where_the_time_goes_is_told_if_it_is_asked_for(command):
    arguments = ("bench", "a.onnx", "b.onnx", "--pairs", "2", "--level", "disabled", "--no-loads")
    code, out, err = command(*arguments, "--profile")
    assert (code, err) == (0, "")
    assert "Where the time goes: level disabled" in out
    assert "Where the time goes" not in command(*arguments)[1]


@pytest.mark.parametrize(("name", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_ratios_are_drawn_into_a_file(command, tmp_path, name, start):
    pytest.importorskip("matplotlib")
    arguments = ("bench", "a.onnx", "b.onnx", "--pairs", "2", "--level", "disabled", "--no-loads")
    code, out, err = command(*arguments, "--report", f"{name}=ratios.{name}", "--report", "json=bench.json")
    assert (code, err) == (0, "")
    assert "Level disabled: " in out
    assert (tmp_path / f"ratios.{name}").read_bytes().startswith(start)
    assert json.loads((tmp_path / "bench.json").read_text())["kind"] == "benchmark"


def test_a_picture_that_cannot_be_drawn_costs_no_measurement(command, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures.importlib.util, "find_spec", lambda name: None)
    code, out, err = command("bench", "none.onnx", "none.onnx", "--report", "svg=ratios.svg")
    assert (code, out) == (2, "")
    assert "pip install 'bnfold[plot]'" in err
    assert not (tmp_path / "ratios.svg").exists()


@pytest.mark.parametrize("arguments", [
    ("verify", "a.onnx", "b.onnx"), ("check", "a.onnx"), ("inspect", "a.onnx"), ("fold", "a.onnx", "-o", "c.onnx"),
])  # fmt: skip
def test_other_commands_have_no_picture(command, arguments):
    code, out, err = command(*arguments, "--report", "png=ratios.png")
    assert (code, out) == (2, "")
    assert "--report png=ratios.png: only bench has a picture to draw" in err


def test_a_picture_is_no_format_for_stdout_and_an_unknown_one_is_told_of_both(command):
    assert command("bench", "a.onnx", "b.onnx", "--format", "svg")[:2] == (2, "")
    code, _, err = command("bench", "a.onnx", "b.onnx", "--report", "gif=ratios.gif")
    assert code == 2
    assert "one of table, json, markdown, junit, github, svg, png" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("none.onnx", "b.onnx"), 2),
        (("a.onnx", "b.onnx", "--pairs", "1"), 2),
        (("a.onnx", "b.onnx", "--level", "most"), 2),
        (("a.onnx", "b.onnx", "--batch", "0"), 2),
        (("a.onnx", "b.onnx", "--threads", "0"), 2),
        (("a.onnx", "b.onnx", "--time-budget", "0"), 2),
        (("a.onnx", "b.onnx", "--min-speedup", "1.05@most"), 2),
        (("a.onnx", "b.onnx", "--min-speedup", "1.05@basic", "--level", "all"), 2),
        (("a.onnx", "b.onnx", "--provider", "brandnew:"), 2),
        (("a.onnx", "b.onnx", "--provider", "brandnew"), 3),
        (("a.onnx", "unheard.onnx"), 2),
        (("unheard.onnx", "unheard.onnx"), 3),
    ],
)
def test_what_cannot_be_timed_has_nothing_on_stdout(command, arguments, code):
    end, out, err = command("bench", *arguments)
    assert (end, out) == (code, "")
    assert err
    assert "Traceback" not in err

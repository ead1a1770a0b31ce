"""``bnfold lint``."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from bnfold.linting import LINTS
from tests.helpers.lints import GOOD, built

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn" / "model.onnx"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    """Where no pyproject.toml of ours is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path) -> Path:
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 0.5> (")
    ir.save(built(text, scale=[1, 0, 1, 1]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def good(tmp_path) -> Path:
    ir.save(built(), tmp_path / "good.onnx")
    return tmp_path / "good.onnx"


def test_findings_exit_with_1_and_say_what_to_do(model, command) -> None:
    code, out, err = command("lint", model)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == str(model)
    assert any(line.startswith("BN201   n") and "outside 1e-6…0.01" in line for line in lines)
    assert any(line.strip().startswith("→ take them out of Conv 'c' and Conv 'y'") for line in lines)
    assert "2 findings in a model with 1 BatchNormalization: BN201 × 1, BN203 × 1" in lines
    assert lines[-1].startswith("bnfold lint --explain BN20")


def test_no_findings_exit_with_0(good, command) -> None:
    code, out, _ = command("lint", good)
    assert code == 0
    assert f"No findings: {len(LINTS)} lints looked at 1 BatchNormalization" in out


def test_options_select_and_ignore(model, command) -> None:
    assert command("lint", model, "--select", "BN1,BN3")[0] == 0
    assert command("lint", model, "--ignore", "BN201", "--ignore", "BN203")[0] == 0
    code, out, _ = command("lint", model, "--select", "BN2", "--ignore", "BN203", "--format", "json")
    assert code == 1
    assert [finding["code"] for finding in json.loads(out)["findings"]] == ["BN201"]


def test_json_has_all_of_a_finding(model, command) -> None:
    _, out, _ = command("lint", model, "--select", "BN203", "--format", "json")
    report = json.loads(out)
    assert (report["kind"], report["batch_norms"], report["lints"]) == ("lint", 1, ["BN203"])
    (finding,) = report["findings"]
    assert (finding["node"], finding["lint"], finding["module"]) == ("n", "dead-channels", "")
    assert finding["figures"]["channels"] == 1


def test_github_shows_an_annotation_for_each(model, command) -> None:
    code, out, _ = command("lint", model, "--format", "github")
    assert code == 1
    assert [line.split("::")[1] for line in out.splitlines()] == [
        "error title=bnfold lint%3A BN201 n",
        "error title=bnfold lint%3A BN203 n",
    ]


def test_github_has_a_notice_when_all_is_well(good, command) -> None:
    code, out, _ = command("lint", good, "--format", "github")
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith("::notice title=bnfold::")
    assert "No findings" in out


def test_markdown_and_junit_hold_the_same(model, command) -> None:
    _, out, _ = command("lint", model, "--format", "markdown")
    assert "| BN201 | n | its epsilon is 0.5" in out
    _, out, _ = command("lint", model, "--format", "junit")
    assert 'failures="2"' in out
    assert 'name="BN102"' in out


def test_judges_for_another_dtype(good, command) -> None:
    assert command("lint", good, "--dtype", "float16")[0] == 0
    code, _, err = command("lint", good, "--dtype", "int4")
    assert code == 2
    assert "'int4' is no dtype" in err


def test_the_configuration_is_read_and_options_replace_it(model, command) -> None:
    project = model.with_name("pyproject.toml")
    project.write_text('[tool.bnfold.lint]\nignore = ["BN201", "BN203"]')
    assert command("lint", model)[0] == 0
    assert command("lint", model, "--ignore", "BN201")[0] == 1
    project.write_text('[tool.bnfold.lint]\nselect = ["BN1"]')
    assert command("lint", model)[0] == 0
    assert command("lint", model, "--select", "BN2")[0] == 1
    project.write_text('[tool.bnfold.lint.per-file-ignores]\n"model.*" = ["BN2"]')
    assert command("lint", model)[0] == 0


def test_what_is_ignored_at_a_node_is_counted(model, command) -> None:
    model.with_name("pyproject.toml").write_text('[tool.bnfold.lint.per-node-ignores]\n"n*" = ["BN2"]\nx = ["BN1"]')
    code, out, _ = command("lint", model)
    assert code == 0
    assert "2 more findings ignored at these nodes" in out


def test_the_dtype_of_the_configuration_counts(model, command) -> None:
    model.with_name("pyproject.toml").write_text('[tool.bnfold.lint]\nselect = ["BN205"]\nexport-dtype = "float16"')
    text = GOOD.replace("BatchNormalization (", "BatchNormalization <epsilon = 1e-7> (")
    ir.save(built(text, scale=[300, 1, 1, 1], var=[1e-8, 1, 1, 1]), model)
    assert command("lint", model)[0] == 1
    assert command("lint", model, "--dtype", "bfloat16")[0] == 0


def test_a_configuration_that_is_wrong_exits_with_2(model, command) -> None:
    model.with_name("pyproject.toml").write_text("[tool.bnfold.lint]\nslect = []")
    code, out, err = command("lint", model)
    assert (code, out) == (2, "")
    assert "has no key 'slect'" in err


def test_list_has_every_lint(command) -> None:
    code, out, _ = command("lint", "--list")
    assert code == 0
    for lint in LINTS:
        assert lint.code in out
        assert lint.name in out


@pytest.mark.parametrize("name", ["BN103", "bn103", "redundant-bias"])
def test_explain_prints_all_parts(name, command) -> None:
    code, out, _ = command("lint", "--explain", name)
    assert code == 0
    for part in (
        "## BN103: redundant-bias",
        "**Why is this bad?**",
        "**Example**",
        "**Use instead:**",
        "<https://arxiv",
    ):
        assert part in out


@pytest.mark.parametrize(
    "arguments",
    [("--explain", "BN1"), (DIGITS, "--select", "BN9"), (DIGITS, "--ignore", "nonsense"), (DIGITS, "--select", "")],
)
def test_an_unknown_code_exits_with_2(arguments, command) -> None:
    code, out, err = command("lint", *arguments)
    assert (code, out) == (2, "")
    assert "bnfold lint --list has them all" in err


def test_no_model_exits_with_2(command) -> None:
    code, _, err = command("lint")
    assert code == 2
    assert "--list" in err


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_is_no_model_exits_with_2(tmp_path, command, content) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    code, out, err = command("lint", tmp_path / "model.onnx")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(("name", "message"), [
    ("net.py", "give the name of the network, {path}:NAME; it has: Net"),
    ("net.pt2", "a program has no training mode to look at: give its .onnx file, or its code"),
])  # fmt: skip
def test_code_without_its_network_is_told_from_an_onnx_file(tmp_path, command, name, message) -> None:
    path = tmp_path / name
    path.write_text("def Net(): ...")
    code, out, err = command("lint", path)
    assert (code, out) == (2, "")
    assert message.format(path=path) in err


def test_refuses_to_write_its_report_over_the_model(model, command) -> None:
    before = model.read_bytes()
    assert command("lint", model, "--report", f"json={model}")[0] == 2
    assert model.read_bytes() == before


def test_writes_the_report_where_it_was_asked_to(model, command) -> None:
    path = model.with_name("lint.json")
    assert command("lint", model, "--report", f"json={path}")[0] == 1
    assert json.loads(path.read_text())["kind"] == "lint"


# PyTorch modules


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(rate)
        self.last = nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.norm.num_batches_tracked += 9
        self.norm.running_mean += 1

    def forward(self, image):
        return self.last(self.dropout(self.norm(self.conv(image))))

class Two(Net):
    def forward(self, left, right):
        return self.norm(self.conv(left)), self.norm(self.conv(right))
"""


@pytest.fixture
def net(tmp_path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


def test_a_module_is_linted_as_it_is_trained(net, command) -> None:
    code, out, err = command("lint", f"{net}:Net", "--input-shape", "Nx3x8x8", "--select", "BN101", "--format", "json")
    assert (code, err) == (1, "")
    document = json.loads(out)
    assert document["model"] == f"{net}:Net"
    assert [(finding["code"], finding["module"]) for finding in document["findings"]] == [("BN101", "norm")]
    assert command("lint", f"{net}:Net", "--input-shape", "Nx3x8x8", "--select", "BN101", "--arg", "rate=0.0")[0] == 0


def test_a_module_of_two_inputs_is_linted(net, command) -> None:
    code, out, _ = command("lint", f"{net}:Two", "--input-shape", "2x3x8x8", "--input-shape", "2x3x8x8")
    assert code == 0, out
    assert "looked at 2 BatchNormalizations" in out  # one for each call


def test_weights_are_loaded_before_a_module_is_linted(net, command, tmp_path) -> None:
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(NET, namespace)  # noqa: S102 - the text above
    module = namespace["Net"]()
    module.norm.eps = 0.5  # which no file of weights holds
    module.norm.running_var *= 1e-9
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    options = ("--input-shape", "Nx3x8x8", "--select", "BN202", "--weights", tmp_path / "weights.pt")
    assert command("lint", f"{net}:Net", *options)[0] == 1
    assert command("lint", f"{net}:Net", *options[:-2])[0] == 0


def test_a_network_of_the_zoo_is_linted_with_its_weights(command, monkeypatch) -> None:
    monkeypatch.chdir(DIGITS.parents[2])
    code, out, _ = command("lint", "digits_cnn", "--select", "BN103", "--format", "json")
    assert code == 1
    assert [finding["module"] for finding in json.loads(out)["findings"]] == ["bn1", "bn4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NET:Net"], "what does it take? Give --input-shape"),
        (["NET"], "it has: Net, Two"),
        (["NET:Nothing", "--input-shape", "Nx3x8x8"], "Nothing"),
        (["NET:Net", "--input-shape", "Nx4x8x8"], "does not take"),
        (["NET:Net", "--input-shape", "Nx3x8x8", "--weights", "none.pt"], "none.pt: no such file"),
        (["mlp"], "no such file; run 'bnfold train mlp'"),
        (["program.pt2:x", "--input-shape", "2"], "program.pt2"),
        (["model.onnx", "--input-shape", "2"], "--input-shape is for a PyTorch module"),
    ],
)
def test_what_cannot_be_linted_is_an_error_of_one_line(arguments, words, net, command) -> None:
    code, out, err = command("lint", *[argument.replace("NET", str(net)) for argument in arguments])
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1

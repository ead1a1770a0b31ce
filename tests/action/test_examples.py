"""``examples/ci``: what a repository of models puts into its own CI, run as it stands there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx_ir as ir
import pytest
import yaml

from tests.helpers.models import model_of

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "models" / "digits_cnn" / "model.onnx"
EXAMPLES = ROOT / "examples" / "ci"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="CI runs in bash")


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A repository that holds one model."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    shutil.copy(DIGITS, folder / "model.onnx")
    return folder


@pytest.fixture
def sigmoid(workspace) -> Path:
    """In this test the model has a BatchNormalization that stays."""
    text = """
        g (float[N,4,5] x, BN4) => (float[N,4,5] y) {
            h = Sigmoid (x)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = Sigmoid (n)
        }
    """
    ir.save(model_of(text, dtype="float"), workspace / "model.onnx")
    return workspace


def github() -> dict[str, str]:
    (job,) = yaml.safe_load((EXAMPLES / "github.yml").read_text())["jobs"].values()
    checkout, step = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    return {name.replace("-", "_"): str(value).lower() for name, value in step["with"].items()}


def test_github_needs_five_lines() -> None:
    lines = (EXAMPLES / "github.yml").read_text().split("    steps:\n")[1].splitlines()
    assert len(lines) == 5


def test_github_says_yes(act) -> None:
    code, log, _, summary = act(**github())
    assert code == 0, log
    assert "✅ Yes" in summary


def test_github_says_no(act, sigmoid) -> None:
    code, log, _, _ = act(**github())
    assert code == 1
    assert "::error title=bnfold check%3A fold::0 of 1 BatchNormalizations folded" in log


def gitlab(workspace: Path, programs: Path) -> int:
    (job,) = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text()).values()
    assert job["artifacts"]["reports"]["junit"] == "bnfold.xml"
    environment = {**os.environ, "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}
    script = "\n".join(["set -eo pipefail", *job["script"]])
    command = [shutil.which("bash"), "-c", script]
    return subprocess.run(command, cwd=workspace, env=environment, check=False).returncode


def test_gitlab_says_yes(workspace, programs, tmp_path) -> None:
    assert gitlab(workspace, programs) == 0
    assert (tmp_path / "pip.txt").read_text().splitlines() == ["install", "bnfold[cpu]"]
    assert ET.parse(workspace / "bnfold.xml").getroot().get("failures") == "0"


def test_gitlab_says_no_and_has_its_report(sigmoid, programs) -> None:
    assert gitlab(sigmoid, programs) == 1
    assert ET.parse(sigmoid / "bnfold.xml").getroot().get("failures") == "1"


def test_the_tests_of_a_repository_of_models(workspace) -> None:
    shutil.copy(DIGITS, workspace / "optimised.onnx")
    shutil.copy(EXAMPLES / "test_models.py", workspace)
    plugin = ("-p", "no:cacheprovider", "-p", "bnfold.pytest_plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin],
        cwd=workspace,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr

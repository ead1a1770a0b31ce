"""Runs the steps of ``action.yml`` as a runner does, with programs of this clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
EXPRESSION = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


@pytest.fixture
def programs(tmp_path) -> Path:
    """A folder for PATH: ``bnfold`` of this clone, and ``pip`` that only writes down what it is asked."""
    folder = tmp_path / "programs"
    folder.mkdir()
    path = os.pathsep.join([str(ROOT), *sys.path])
    write(folder / "bnfold", f'PYTHONPATH="{path}" exec "{sys.executable}" -P -m bnfold "$@"')
    write(folder / "pip", f'printf "%s\\n" "$@" >> "{tmp_path}/pip.txt"')
    write(folder / "python", f'printf "%s\\n" "$@" >> "{tmp_path}/pip.txt"')
    return folder


def write(file: Path, script: str) -> None:
    file.write_text(f"#!/usr/bin/env bash\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def act(programs, workspace, tmp_path):
    """``act(model="a.onnx", …)`` runs the action with these inputs: its exit code, log, outputs and summary."""

    def run(**given: str) -> tuple[int, str, dict[str, str], str]:
        inputs = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
        names = {name.replace("_", "-"): value for name, value in given.items()}
        assert names.keys() <= inputs.keys()
        log, code = "", 0
        for step in ACTION["runs"]["steps"]:
            if not code and holds(step.get("if"), inputs | names):
                done = run_step(step, inputs | names)
                log, code = log + done.stdout + done.stderr, done.returncode
        lines = (tmp_path / "output").read_text().splitlines() if (tmp_path / "output").exists() else []
        summary = tmp_path / "summary.md"
        outputs = dict(line.split("=", 1) for line in lines)
        return code, log, outputs, summary.read_text(encoding="utf-8") if summary.exists() else ""

    def run_step(step: dict, inputs: dict[str, str]) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "step.sh"
        script.write_text(step["run"])
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "GITHUB_ACTION_PATH": "/some where/bnfold",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            **{name: EXPRESSION.sub(lambda found: inputs[found[1]], text) for name, text in step["env"].items()},
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", script]  # what "shell: bash" means
        return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)

    return run


def holds(condition: str | None, inputs: dict[str, str]) -> bool:
    if condition is None:
        return True
    name, value = re.fullmatch(r"inputs\.([\w-]+) == '(\w+)'", condition).groups()
    return inputs[name] == value

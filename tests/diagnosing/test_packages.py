"""What is installed is read from metadata, and repaired by exact commands."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from bnfold.diagnosing import packages
from bnfold.diagnosing.environment import Package
from bnfold.diagnosing.machine import _quota, look_at_machine

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIP = [sys.executable, "-m", "pip"]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install("onnxruntime-gpu", "1.30.0")`` puts the metadata of a distribution in front of all others."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, version: str, module: str = "") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "top_level.txt").write_text(f"{module}\n" if module else "")

    return write


def commands(problem) -> list[list[str]]:
    return [shlex.split(line) for line in problem.repairs]


def test_one_onnxruntime_is_no_problem() -> None:
    (only,) = packages.providing("onnxruntime")
    assert only.name.startswith("onnxruntime")
    assert packages.conflicts([only]) == []
    assert packages.outdated() == []


def test_two_are_found_by_their_metadata_and_repaired_together(install) -> None:
    (here,) = packages.providing("onnxruntime")
    install("onnxruntime-gpu", "1.30.0", "onnxruntime")
    found = packages.providing("onnxruntime")
    assert found == (here, Package("onnxruntime-gpu", "1.30.0"))
    (problem,) = packages.conflicts(found)
    assert "onnxruntime and onnxruntime-gpu are both installed" in problem.message
    assert commands(problem) == [
        [*PIP, "uninstall", "-y", "onnxruntime", "onnxruntime-gpu"],
        [*PIP, "install", "onnxruntime-gpu[cuda,cudnn]==1.30.0"],
    ]


def test_a_name_spelt_differently_is_the_same_distribution(install) -> None:
    install("OnnxRuntime", "9.9", "onnxruntime")
    assert [entry.name for entry in packages.providing("onnxruntime")] == ["onnxruntime"]


def test_of_several_that_of_the_gpu_is_kept() -> None:
    names = ("onnxruntime", "onnxruntime-directml", "onnxruntime-gpu")
    (problem,) = packages.conflicts([Package(name, "1.0") for name in names])
    assert commands(problem)[1] == [*PIP, "install", "onnxruntime-gpu[cuda,cudnn]==1.0"]
    (problem,) = packages.conflicts([Package(name, "1.0") for name in names[:2]])
    assert commands(problem)[1] == [*PIP, "install", "onnxruntime-directml==1.0"]


def test_none_at_all_is_a_problem() -> None:
    (problem,) = packages.conflicts([])
    assert commands(problem) == [[*PIP, "install", "bnfold[cpu]"]]


def test_a_version_that_is_too_old_is_a_problem(install) -> None:
    install("onnx", "1.9.1")
    install("torch", "2.10.0+cpu")
    (problem,) = packages.outdated()
    assert problem.message == "onnx 1.9.1 is older than 1.21"
    assert commands(problem) == [[*PIP, "install", "onnx>=1.21"]]


def test_the_oldest_versions_are_those_of_the_project() -> None:
    extras = PYPROJECT["optional-dependencies"]
    demanded = dict(one.split(">=") for one in (*PYPROJECT["dependencies"], *extras["cpu"], *extras["torch"]))
    assert packages.OLDEST.items() <= demanded.items()


def test_plugins_are_known_by_their_name(install) -> None:
    install("onnxruntime_ep_openvino", "1.8.1")
    assert Package("onnxruntime-ep-openvino", "1.8.1") in packages.plugins()


@pytest.mark.parametrize(
    ("provider", "installed", "expected"),
    [
        ("cuda", ["onnxruntime"], ["uninstall -y onnxruntime", "install onnxruntime-gpu[cuda,cudnn]"]),
        ("cuda", ["onnxruntime-gpu"], ["install onnxruntime-gpu[cuda,cudnn]"]),
        ("cuda", [], ["install onnxruntime-gpu[cuda,cudnn]"]),
        ("tensorrt", ["onnxruntime-gpu"], ["install onnxruntime-gpu[cuda,cudnn] tensorrt"]),
        ("openvino", ["onnxruntime"], ["install onnxruntime-ep-openvino"]),
        ("coreml", ["onnxruntime"], []),
    ],
)
def test_a_provider_has_its_repair(provider, installed, expected) -> None:
    repairs = packages.repairs_of(provider, [Package(name, "1.30") for name in installed])
    assert [shlex.split(line) for line in repairs] == [[*PIP, *words.split()] for words in expected]


def test_the_machine_has_a_processor() -> None:
    machine = look_at_machine()
    assert machine.processor
    assert 1 <= machine.usable <= machine.cores


@pytest.mark.parametrize(("text", "quota"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None)])
def test_a_control_group_may_have_a_quota(tmp_path, text, quota) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert _quota(tmp_path / "cpu.max") == quota
    assert _quota(tmp_path / "missing") is None

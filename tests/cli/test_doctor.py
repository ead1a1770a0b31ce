"""``bnfold doctor``: exit 1 when something is broken, with the commands that mend it."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET


def test_says_what_is_here(command) -> None:
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    assert "CPUExecutionProvider" in out
    assert "onnx-ir" in out
    assert out.splitlines()[-1] == "Nothing is broken"


def test_two_distributions_of_onnxruntime_are_exit_1_with_the_repair(command, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "onnxruntime_gpu-1.30.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.30.0\n")
    (folder / "top_level.txt").write_text("onnxruntime\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, _ = command(
        "doctor", "--report", f"junit={tmp_path / 'a.xml'}", "--report", f"json={tmp_path / 'a.json'}"
    )
    assert code == 1
    assert "-m pip uninstall -y onnxruntime onnxruntime-gpu\n" in out
    assert out.splitlines()[-1].endswith("-m pip install 'onnxruntime-gpu[cuda,cudnn]==1.30.0'")
    assert len(ET.parse(tmp_path / "a.xml").findall(".//failure")) == 1
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["kind"] == "doctor"
    assert len(report["problems"][0]["repairs"]) == 2


def test_a_provider_asked_for_and_missing_is_exit_1(command) -> None:
    code, out, _ = command("doctor", "--provider", "qnn", "--format", "github")
    assert code == 1
    assert out == "::error title=bnfold doctor%3A problem 1::no qnn among the providers that are installed here\n"

"""``doctor`` tries every provider in a process of its own; plugins that are broken are broken in every way."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bnfold

# What onnxruntime-ep-NAME packages have, with libraries that are none.
PLUGIN = '''
"""A provider that does not work."""
import os, signal

def get_ep_name():
    {before}
    return "BrokenExecutionProvider"

def get_library_path():
    return {library!r}
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs a plugin whose library is ``content``, after doing ``before``."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(content: bytes, before: str = "pass") -> None:
        library = tmp_path / "libbroken.so"
        library.write_bytes(content)
        text = PLUGIN.format(before=before, library=str(library))
        (tmp_path / "onnxruntime_ep_broken.py").write_text(text)
        folder = tmp_path / "onnxruntime_ep_broken-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-broken\nVersion: 1.0\n")

    return write


def state(result: bnfold.Environment, name: str):
    (found,) = [entry for entry in result.providers if entry.name == name]
    return found


def test_the_cpu_runs_and_nothing_is_broken_here() -> None:
    result = bnfold.doctor()
    assert result, result.problems
    assert state(result, "CPUExecutionProvider").runs
    versions = {entry.name: entry.version for entry in result.packages}
    assert versions.keys() == {"onnx", "onnx-ir", "onnxruntime", "numpy", "ml-dtypes", "torch"}
    assert versions["onnx"]
    assert result.bnfold == bnfold.__version__


def test_what_is_built_in_and_runs_nothing_is_told_apart() -> None:
    for entry in bnfold.doctor().providers:
        assert entry.loads or not entry.runs
        assert bool(entry.reason) is not entry.runs


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_provider_that_runs_may_be_asked_for(name) -> None:
    assert bnfold.doctor(providers=[name])


def test_one_that_is_not_there_is_a_problem_with_its_repair() -> None:
    result = bnfold.doctor(providers=["cpu", "tensorrt"])
    assert not result
    (problem,) = result.problems
    assert "tensorrt" in problem.message.casefold()
    assert "onnxruntime-gpu[cuda,cudnn]" in problem.repairs[-1]


def test_a_plugin_whose_library_is_none_has_its_reason(plugin) -> None:
    plugin(b"not a library")
    result = bnfold.doctor()
    assert result  # nobody asked for it
    broken = state(result, "onnxruntime_ep_broken")
    assert (broken.origin, broken.loads, broken.runs) == ("onnxruntime-ep-broken", False, False)
    assert "libbroken.so" in broken.reason
    assert "\x1b" not in broken.reason
    assert "onnxruntime_src" not in broken.reason


def test_a_plugin_that_crashes_takes_nobody_along(plugin) -> None:
    plugin(b"", "os.kill(os.getpid(), signal.SIGSEGV)")
    result = bnfold.doctor()
    assert state(result, "onnxruntime_ep_broken").reason == "the runtime crashed with SIGSEGV"
    assert state(result, "CPUExecutionProvider").runs


def test_a_plugin_that_never_ends_is_ended(plugin) -> None:
    plugin(b"", "__import__('time').sleep(600)")
    result = bnfold.doctor(timeout=20)
    assert state(result, "onnxruntime_ep_broken").reason == "did not finish within 20 s"


def test_an_onnxruntime_that_cannot_be_imported_is_a_problem(tmp_path, monkeypatch) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError('libfoo.so.13: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    result = bnfold.doctor()
    (problem,) = result.problems
    assert problem.message == "onnxruntime cannot be imported: libfoo.so.13: cannot open"
    assert result.providers == ()


def test_loads_nothing_heavy_into_this_process() -> None:
    script = "import sys, bnfold; bnfold.doctor(); print({'numpy', 'onnx', 'onnxruntime', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""The plugin of pytest, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bnfold import modelfile
from tests.verifying.networks import random_network

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "onnx", "onnx_ir", "onnxruntime", "torch", "rich", "typer", "ml_dtypes"}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A reference, its fold, a fold that is wrong, and a file that is no model."""
    folder = tmp_path_factory.mktemp("models")
    network = random_network(5, operator="Gemm", layers=2, widths=(4, 8), var=(0.1, 2.0), batch="N")
    modelfile.save(network.reference(), folder / "a.onnx")
    modelfile.save(network.folded(), folder / "b.onnx")
    modelfile.save(network.folded("one bias lost"), folder / "wrong.onnx")
    (folder / "empty.onnx").touch()
    return folder


@pytest.fixture
def pytest_run(models, tmp_path):
    """``pytest_run(body, *options)`` runs a test file with pytest in a fresh process beside the models."""

    def run(body: str, *options: str, ini: str = "", code: int = 0) -> str:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\n{ini}")
        (tmp_path / "test_models.py").write_text(f"import pytest\n{body}")
        for model in models.iterdir():
            (tmp_path / model.name).write_bytes(model.read_bytes())
        # No entry points: ours may be that of another clone, and some plugins take longer to load than all the rest.
        plugin = ("-p", "no:cacheprovider", "-p", "bnfold.pytest_plugin")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugin, *options],
            cwd=tmp_path,
            env={**environment(), "COLUMNS": "200", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def call(candidate: str, options: str = "", before: str = "", after: str = "pass") -> str:
    return f"""{before}
def test_models(assert_equivalent):
    result = assert_equivalent("a.onnx", "{candidate}"{options})
    {after}
"""


def test_equivalent_models_pass_and_give_their_comparison(pytest_run) -> None:
    out = pytest_run(call("b.onnx", after="assert result.equivalent and result.outputs[0].error_ratio < 2"))
    assert "1 passed" in out


def test_models_that_differ_fail_with_the_table_and_no_traceback_of_ours(pytest_run) -> None:
    out = pytest_run(call("wrong.onnx"), code=1)
    assert re.search(r'^> +result = assert_equivalent\("a.onnx", "wrong.onnx"\)$', out, re.MULTILINE)
    assert "wrong.onnx against a.onnx" in out
    assert re.search(r"output 'y' +fail +\d+", out)
    assert re.search(r"Not equivalent: weight '.+', output 'y'", out)
    assert "pytest_plugin.py" not in out
    assert "During handling" not in out


def test_a_model_that_cannot_be_used_fails_with_one_line(pytest_run) -> None:
    out = pytest_run(call("empty.onnx"), code=1)
    assert "ModelFileError: empty.onnx: the file is empty" in out
    assert "pytest_plugin.py" not in out
    assert "During handling" not in out


def test_a_model_in_memory_is_taken_too(pytest_run) -> None:
    assert "1 passed" in pytest_run(
        "import onnx_ir as ir\ndef test_it(assert_equivalent): assert_equivalent(ir.load('a.onnx'), 'b.onnx')"
    )


# Who says how long a run may take: nothing runs in a millionth of a second

NEVER = "0.000001"


@pytest.mark.parametrize(
    ("options", "marker", "command_line", "ini", "passes"),
    [
        ("", "", (), "", True),
        ("", "", (), NEVER, False),
        ("", "", ("--bnfold-timeout=60",), NEVER, True),
        ("", "", (f"--bnfold-timeout={NEVER}",), "60", False),
        ("", "@pytest.mark.bnfold(timeout=60)", (f"--bnfold-timeout={NEVER}",), "", True),
        ("", f"@pytest.mark.bnfold(timeout={NEVER})", ("--bnfold-timeout=60",), "", False),
        (", timeout=60", f"@pytest.mark.bnfold(timeout={NEVER})", (), "", True),
        (f", timeout={NEVER}", "@pytest.mark.bnfold(timeout=60)", (), "", False),
    ],
)
def test_the_closest_timeout_counts(pytest_run, options, marker, command_line, ini, passes) -> None:
    body, ini = call("b.onnx", options, marker), f"bnfold_timeout = {ini}\n" if ini else ""
    out = pytest_run(body, *command_line, ini=ini, code=not passes)
    assert ("did not finish within" in out) is not passes


def test_a_marker_of_the_test_wins_over_one_of_the_module(pytest_run) -> None:
    body = call("b.onnx", before="@pytest.mark.bnfold(timeout=60)")
    assert "1 passed" in pytest_run(f"pytestmark = pytest.mark.bnfold(timeout={NEVER})\n{body}")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon"])
def test_a_timeout_that_is_none_is_said_at_once(pytest_run, value) -> None:
    out = pytest_run(call("b.onnx"), ini=f"bnfold_timeout = {value}\n", code=4)
    assert f"a timeout of '{value}'" in out
    assert "Traceback" not in out


def test_a_marker_without_names_is_said(pytest_run) -> None:
    assert "takes options by name" in pytest_run(call("b.onnx", before="@pytest.mark.bnfold(60)"), code=1)


def test_an_option_that_verify_does_not_have_is_an_error(pytest_run) -> None:
    assert "unexpected keyword argument 'nonsense'" in pytest_run(call("b.onnx", ", nonsense=1"), code=1)


def test_is_in_the_help_of_pytest(pytest_run) -> None:
    assert "--bnfold-timeout" in pytest_run("", "--help")
    assert "@pytest.mark.bnfold" in pytest_run("", "--markers")
    assert "assert_equivalent" in pytest_run("", "--fixtures", code=0)


# Every run of pytest pays for it


def test_loads_nothing_heavy_before_it_is_used(pytest_run) -> None:
    listing = f"import sys\ndef test_it(): assert not {HEAVY!r} & set(sys.modules)"
    assert "1 passed" in pytest_run(listing)
    used = f"{listing}\n{call('b.onnx', after='assert True')}"
    assert "2 passed" in pytest_run(used)
    requested = f"import sys\ndef test_it(assert_equivalent): assert not {HEAVY!r} & set(sys.modules)"
    assert "1 passed" in pytest_run(requested)


def test_the_entry_point_is_the_plugin(tmp_path) -> None:
    """As it is installed: by metadata alone, without being named on the command line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = project["entry-points"]["pytest11"]
    folder = tmp_path / "entries" / "bnfold_entries-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bnfold-entries\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    (tmp_path / "test_it.py").write_text("def test_it(assert_equivalent): assert callable(assert_equivalent)")
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "entries"), env["PYTHONPATH"]])
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

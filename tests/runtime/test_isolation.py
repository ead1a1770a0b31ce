"""A call in a child process is like a call, and whatever becomes of the child is an error of ours."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import ExecutionError, MissingDependencyError, ModelError, VerificationError
from bnfold.runtime.isolation import default_memory_limit, run_isolated

HERE = Path(__file__).parent
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read in /proc")


@pytest.fixture(autouse=True)
def victims_can_be_imported(monkeypatch):
    """Through sys.path alone: the child must find what this process finds."""
    monkeypatch.syspath_prepend(HERE)


def call(function, timeout=60.0, memory_limit=None, stop=None, **kwargs):
    limits = {"timeout": timeout, "memory_limit": memory_limit, "stop": stop}
    return run_isolated(f"victims:{function}", kwargs, subject="model.onnx", **limits)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z" if Path("/proc").is_dir() else True


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_returns_what_the_function_returns():
    np.testing.assert_array_equal(call("add", left=np.arange(3.0), right=1), [1.0, 2.0, 3.0])


def test_noise_on_stdout_and_stderr_does_no_harm(capfd):
    assert call("chatter", value={"x": 1}) == {"x": 1}
    assert capfd.readouterr() == ("", "")


def test_a_child_starts_without_what_takes_long_and_is_seldom_used():
    loaded = call("load", modules=["bnfold.verifying.oracle"])
    assert "onnx_ir" in loaded
    assert not {"sympy.core", "torch", "onnxruntime"} & set(loaded)


def test_what_times_does_not_load_the_folding_rules():
    loaded = call("load", modules=["bnfold.benchmarking.measuring", "bnfold.runtime.alone"])
    assert not {"bnfold.folding", "onnx", "onnx_ir"} & set(loaded)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_signal_is_an_execution_error_that_names_it_and_the_model(name):
    with pytest.raises(ExecutionError, match=rf"^model\.onnx: the runtime crashed with {name}"):
        call("die", signal=signal.Signals[name])


def test_an_early_exit_is_an_execution_error_with_the_last_words():
    with pytest.raises(ExecutionError, match=r"^model\.onnx: the child process ended with status 7: out of luck$"):
        call("leave", status=7, message="first\nout of luck")


def test_a_child_that_takes_too_long_is_killed(tmp_path):
    start = time.monotonic()
    with pytest.raises(ExecutionError, match=r"^model\.onnx: did not finish within 2 s$"):
        call("hang", timeout=2.0, pid_file=tmp_path / "pid")
    assert time.monotonic() - start < 30
    if (tmp_path / "pid").exists():
        assert not is_running(int((tmp_path / "pid").read_text()))


@needs_proc
def test_a_child_that_takes_too_much_memory_is_killed():
    with pytest.raises(ExecutionError, match=r"^model\.onnx: took more than 300 MiB of memory$"):
        call("eat", memory_limit=300 << 20, mebibytes=1000)


@needs_proc
def test_address_space_is_not_memory():
    """As threads and GPU drivers do: much is reserved and little is used."""
    assert call("reserve", memory_limit=300 << 20, mebibytes=100_000) == 100_000


def test_a_child_is_stopped_from_another_thread():
    stop = threading.Event()
    stop.set()
    with pytest.raises(ExecutionError, match="stopped, for another run failed"):
        call("eat", stop=stop, mebibytes=1)


@needs_proc
def test_by_default_a_child_may_take_most_of_the_memory_there_is():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < default_memory_limit() < total


def test_errors_of_ours_arrive_as_they_were():
    with pytest.raises(ModelError, match=r"^this model is not for me$"):
        call("refuse")
    with pytest.raises(MissingDependencyError, match=r"^onnxruntime is not installed: pip install 'bnfold\[cpu\]'$"):
        call("miss")
    with pytest.raises(VerificationError, match=r"^they differ$") as caught:
        call("doubt")
    assert caught.value.comparison == {"a": "comparison"}


def test_a_bug_arrives_with_the_traceback_of_the_child():
    with pytest.raises(RuntimeError, match=r"(?s)in the child process.*1 // 0.*ZeroDivisionError"):
        call("stumble")


def test_the_temporary_files_of_a_child_that_crashes_are_cleared_away(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ExecutionError):
        call("litter")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_current_folder_does_not_hide_a_module(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit('not the module that you mean')")
    monkeypatch.chdir(tmp_path)
    assert call("add", left=1, right=2) == 3


def test_the_main_module_of_the_user_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.append({str(HERE)!r})\n"
        "print('once')\n"
        "from bnfold.runtime.isolation import run_isolated\n"
        "print(run_isolated('victims:add', {'left': 1, 'right': 2}, subject=''))\n"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "once\n3\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_no_child_survives_its_parent(tmp_path, name):
    pid_file = tmp_path / "pid"
    script = (
        "from pathlib import Path\n"
        "from bnfold.runtime.isolation import run_isolated\n"
        f"run_isolated('victims:hang', {{'pid_file': Path({str(pid_file)!r})}}, subject='')\n"
    )
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    wait_for(pid_file.exists)
    child = int(pid_file.read_text())
    assert is_running(child)

    parent.send_signal(signal.Signals[name])

    assert parent.wait(20) == -signal.Signals[name]
    wait_for(lambda: not is_running(child))

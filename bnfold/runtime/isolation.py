"""Calls a function in a fresh process, so that a crash in a runtime is an error and not the end.

A plain ``python -m`` child instead of multiprocessing: that would import the user's ``__main__`` again. The two
sides exchange pickles through files in a temporary folder that only they use.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.runtime.child import Answer

__all__ = ["TIMEOUT", "run_isolated"]

TIMEOUT = 600.0  # seconds; long enough for any model that a person waits for


def run_isolated(function: str, kwargs: Mapping[str, object], *, subject: str, timeout: float = TIMEOUT) -> Any:
    """Call ``function`` in a child process and return what it returns.

    Args:
        function: Where it is: ``"bnfold.runtime.sessions:run"``.
        kwargs: Its arguments; they and its result travel as pickles.
        subject: What the call is about, the model's path say; error messages start with it.
        timeout: Seconds until the child is killed.

    Raises:
        BnfoldError: Whatever the function raised of ours, as it was.
        ExecutionError: The child was killed by a signal, ended without an answer, or took too long.
        RuntimeError: The function raised something else: a bug, with the child's traceback.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        request, response, noise = (Path(folder, name) for name in ("request", "response", "noise"))
        request.write_bytes(pickle.dumps((function, dict(kwargs))))
        status = _run([sys.executable, "-P", "-m", "bnfold.runtime.child", request, response], noise, timeout)
        if response.exists():
            return _unpack(pickle.loads(response.read_bytes()))  # noqa: S301 - written by our own child
        raise ExecutionError(f"{subject}: {_obituary(status, timeout, noise)}")


def _run(command: list[str | Path], noise: Path, timeout: float) -> int | None:
    """The exit status of a command, or None if it took too long; it never outlives this call."""
    with (
        noise.open("wb") as sink,
        # Nothing is ever written to stdin: the child reads it to notice that this process is gone.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=sink, stderr=sink, env=_environment(noise.parent)
        ) as process,
    ):
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:  # Ctrl-C as well
            process.kill()


def _environment(folder: Path) -> dict[str, str]:
    """The child imports from where this process imports, whatever was done to ``sys.path``.

    Its temporary files go to ``folder``, so that they do not outlive a child that crashes.
    """
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - as text
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), os.fspath(folder))}


def _unpack(answer: Answer) -> object:
    kind, content = answer
    if kind == "returned":
        return content
    if kind == "raised":
        cls, args, attributes = content
        error = cls.__new__(cls, *args)  # not cls(*args): some take other arguments than they keep
        error.__dict__.update(attributes)
        raise error
    raise RuntimeError(f"in the child process:\n{content}")


def _obituary(status: int | None, timeout: float, noise: Path) -> str:
    if status is None:
        return f"did not finish within {timeout:g} s"
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the runtime crashed with {name}{hint}"
    lines = noise.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the child process ended with status {status}" + (f": {lines[-1]}" if lines else "")

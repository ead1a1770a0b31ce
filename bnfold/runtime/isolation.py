"""Calls a function in a fresh process, so that a crash in a runtime is an error and not the end.

A plain ``python -m`` child instead of multiprocessing: that would import the user's ``__main__`` again. The two
sides exchange pickles through files in a temporary folder that only they use.

The limit on memory is one on what is resident, read every few milliseconds by this process: RLIMIT_AS would count
address space, of which threads, arenas and GPU drivers reserve many times what they use. Where there is no /proc
(macOS, Windows) there is no limit.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.errors import ExecutionError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from bnfold.runtime.child import Answer

__all__ = ["TIMEOUT", "default_memory_limit", "run_isolated"]

TIMEOUT = 600.0  # seconds; long enough for any model that a person waits for
_EVERY = 0.02  # seconds between two looks at a child
_SHARE = 0.8  # of the machine's memory, which a child may have by default
_MIB = 1 << 20


def default_memory_limit() -> int | None:
    """Most of this machine's or container's memory, in bytes; None where that cannot be told."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    with suppress(OSError, ValueError):  # no such file, or "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return int(_SHARE * total)


def run_isolated(
    function: str,
    kwargs: Mapping[str, object],
    *,
    subject: str,
    timeout: float = TIMEOUT,
    memory_limit: int | None = None,
    stop: threading.Event | None = None,
) -> Any:
    """Call ``function`` in a child process and return what it returns.

    Args:
        function: Where it is: ``"bnfold.runtime.sessions:run"``.
        kwargs: Its arguments; they and its result travel as pickles.
        subject: What the call is about, the model's path say; error messages start with it.
        timeout: Seconds until the child is killed.
        memory_limit: Bytes of memory beyond which the child is killed; None for ``default_memory_limit()``.
        stop: Once set, the child is killed: for calls from several threads.

    Raises:
        BnfoldError: Whatever the function raised of ours, as it was.
        ExecutionError: The child was killed by a signal, ended without an answer, took too long or too much memory.
        RuntimeError: The function raised something else: a bug, with the child's traceback.
    """
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        request, response, noise = (Path(folder, name) for name in ("request", "response", "noise"))
        request.write_bytes(pickle.dumps((function, dict(kwargs))))
        command: list[str | Path] = [sys.executable, "-P", "-m", "bnfold.runtime.child", request, response]
        ended = _run(command, noise, timeout, memory_limit or default_memory_limit(), stop)
        if response.exists():
            return _unpack(pickle.loads(response.read_bytes()))  # noqa: S301 - written by our own child
        raise ExecutionError(f"{subject}: {ended if isinstance(ended, str) else _obituary(ended, noise)}")


def _run(
    command: list[str | Path], noise: Path, timeout: float, memory_limit: int | None, stop: threading.Event | None
) -> int | str:
    """The exit status of a command, or why it was killed; it never outlives this call."""
    end = time.monotonic() + timeout
    with (
        noise.open("wb") as sink,
        # Nothing is ever written to stdin: the child reads it to notice that this process is gone.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=sink, stderr=sink, env=_environment(noise.parent)
        ) as process,
    ):
        try:
            while True:
                try:
                    return process.wait(_EVERY)
                except subprocess.TimeoutExpired:
                    if time.monotonic() > end:
                        return f"did not finish within {timeout:g} s"
                    if memory_limit is not None and _resident(process.pid) > memory_limit:
                        return f"took more than {memory_limit / _MIB:.0f} MiB of memory"
                    if stop is not None and stop.is_set():
                        return "stopped, for another run failed"
        finally:  # Ctrl-C as well
            process.kill()


def _resident(pid: int) -> int:
    """The memory of a process, in bytes; 0 where that cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # not Linux, or just gone
        return 0


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


def _obituary(status: int, noise: Path) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the runtime crashed with {name}{hint}"
    lines = noise.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the child process ended with status {status}" + (f": {lines[-1]}" if lines else "")

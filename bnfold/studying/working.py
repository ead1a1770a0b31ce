"""Runs cells in child processes of one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from bnfold.errors import ExecutionError
from bnfold.studying.protocol import read_answer, request

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bnfold.studying.claim import Cell, Numbers

__all__ = ["Done", "Task", "usable_cores", "work"]

Task: TypeAlias = "tuple[int, Cell]"
"""A claim's number, and one of its cells."""

Done: TypeAlias = "tuple[Task, Numbers, float]"
"""A task, its numbers, and the seconds that it took."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(tasks: Sequence[Task], workers: int) -> Generator[Done, None, None]:
    """Run tasks side by side, and give each when it is done.

    What a run yields depends on its task alone, and so neither on how many workers there are nor on their order.

    Args:
        tasks: In the order in which they are begun.
        workers: Child processes, at most.

    Raises:
        ExecutionError: A child process ended without an answer.
        RuntimeError: A run raised something: a bug.
    """
    waiting = deque(tasks)
    answers: SimpleQueue[tuple[Task, str]] = SimpleQueue()
    children = [_start() for _ in range(min(workers, len(tasks)))]
    feeders = [threading.Thread(target=_feed, args=(child, waiting, answers), daemon=True) for child in children]
    try:
        for feeder in feeders:
            feeder.start()
        for _ in tasks:
            task, line = answers.get()
            if not line:
                raise ExecutionError("a child process of the study ended without an answer (out of memory?)")
            yield task, *read_answer(line)
    finally:  # Ctrl-C as well
        waiting.clear()
        for child in children:
            child.kill()
        for child, feeder in zip(children, feeders, strict=True):
            feeder.join()
            _close(child)


def _start() -> subprocess.Popen[str]:
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - as text
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bnfold.studying.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        text=True,
        encoding="utf-8",
    )


def _close(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # what was not yet sent to it
            if pipe is not None:
                pipe.close()
    child.wait()


def _feed(child: subprocess.Popen[str], waiting: deque[Task], answers: SimpleQueue[tuple[Task, str]]) -> None:
    """Give a child one task after another; an empty answer says that it is gone."""
    if child.stdin is None or child.stdout is None:
        raise AssertionError("both are pipes")
    while waiting:
        try:
            task = waiting.popleft()
        except IndexError:  # the other took the last
            return
        try:
            child.stdin.write(request(*task))
            child.stdin.flush()
            line = child.stdout.readline()
        except (OSError, ValueError):
            line = ""
        answers.put((task, line))
        if not line:
            return

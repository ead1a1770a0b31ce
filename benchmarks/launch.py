"""Run one command and measure it: ``python -I -S benchmarks/launch.py SECONDS COMMAND …`` prints a line of JSON.

``{"seconds": …, "peak_kib": …, "code": …}``: wall seconds of the whole process; the most memory that was resident in it
(of files that it maps, the part that was in memory, too); its exit status, negative for a signal, and null when SECONDS
ran out and it was killed. Linux only.

Why a process of its own: the peak that the kernel gives for a command begins with the size of whoever started it, and
a Python is larger than all that ``cp`` ever needs. So a shell of one MiB starts the command and leaves, and what it
leaves behind is adopted, and waited for, from here.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

_ADOPT = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
# The command waits for a line, or the end, of standard input: until the shell is gone, which could reap it otherwise.
_START = 'exec 3<&0; { read -r _ <&3; exec 3<&-; exec "$@"; } >/dev/null & echo $!'


def launch(command: list[str], limit: float) -> dict[str, float | int | None]:
    """Run a command to its end, or kill it, and all that it started, after ``limit`` seconds.

    Raises:
        OSError: this system has no process that adopts.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_ADOPT, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no orphan can be adopted")
    late: list[bool] = []
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _START, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )

    def kill(*_: object) -> None:
        late.append(True)
        os.killpg(shell.pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGINT, kill)
    signal.setitimer(signal.ITIMER_REAL, limit)
    process = int(shell.stdout.readline())
    shell.wait()
    start = time.perf_counter()
    shell.stdin.close()
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = None if late else os.waitstatus_to_exitcode(status)
    return {"seconds": seconds, "peak_kib": usage.ru_maxrss, "code": code}


if __name__ == "__main__":
    print(json.dumps(launch(sys.argv[2:], float(sys.argv[1]))))

"""The processor, and how much of it there is for this process."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path

from bnfold.diagnosing.environment import Machine

__all__ = ["look_at_machine"]


def look_at_machine() -> Machine:
    """What this system says of its processor."""
    cores = os.cpu_count() or 1
    return Machine(
        processor=_processor(),
        cores=cores,
        usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        quota=_quota(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    with suppress(OSError, ValueError):
        limit, period = file.read_text(encoding="utf-8").split()
        return int(limit) / int(period)
    return None

"""How much memory a program takes at its peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What getrusage tells of a child may be the peak of its parent, from before the child was another program.
PEAK = """
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def run(program: str, *arguments: object) -> str:
    """What a program prints; it may call ``peak()``, which gives bytes."""
    command = [sys.executable, "-c", PEAK + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

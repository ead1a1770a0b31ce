"""Where the time goes, for people: a table for each place that was profiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.document import Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bnfold.benchmarking import Profile
    from bnfold.reporting.document import Block

__all__ = ["blocks"]

_COLUMNS = ("operator", "reference", "its kernels", "candidate", "its kernels ", "saved")


def blocks(profiles: Iterable[Profile]) -> list[Block]:
    """A line that says what was profiled, and a table of operators with their sum."""
    return [block for profile in profiles for block in (Text(_title(profile)), _table(profile))]


def _title(profile: Profile) -> str:
    threads = f"{profile.threads} thread{'s' * (profile.threads != 1)}"
    where = f"level {profile.level}, {profile.provider}, {threads}, {', '.join(profile.inputs)}"
    return f"Where the time goes: {where}; median of {profile.runs} inferences, which profiling slows"


def _table(profile: Profile) -> Table:
    rows = [
        _row(time.op_type, time.reference, time.reference_kernels, time.candidate, time.candidate_kernels)
        for time in profile.op_times
    ]
    total = _row(
        "all",
        sum(time.reference for time in profile.op_times),
        sum(time.reference_kernels for time in profile.op_times),
        sum(time.candidate for time in profile.op_times),
        sum(time.candidate_kernels for time in profile.op_times),
    )
    return Table(_COLUMNS, (*rows, total), numeric=frozenset(_COLUMNS[1:]))


def _row(name: str, reference: float, before: int, candidate: float, after: int) -> tuple[str, ...]:
    saved = f"{round((reference - candidate) * 1000, 3) + 0.0:+.3f} ms"  # no minus before a 0
    return name, f"{reference * 1000:.3f} ms", str(before), f"{candidate * 1000:.3f} ms", str(after), saved

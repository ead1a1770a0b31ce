"""What is said between a study and its child processes, and the one thing that these do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from bnfold.studying.claims import find_claim

if TYPE_CHECKING:
    from bnfold.studying.claim import Cell, Numbers

__all__ = ["read_answer", "request", "run_cell"]


def run_cell(number: int, cell: Cell) -> Numbers:
    """The numbers of one run of a claim; the caller's random state is left as it was."""
    from bnfold.training.seeding import one_seeded_thread

    with one_seeded_thread(cell.seed):
        return find_claim(number).measure(cell)


def request(number: int, cell: Cell) -> str:
    """The line that asks for a run."""
    return json.dumps({"claim": number, "cell": asdict(cell)}) + "\n"


def read_answer(line: str) -> tuple[Numbers, float]:
    """What a line that answers says: the numbers, and the seconds that they took.

    Raises:
        RuntimeError: The run raised something: a bug.
    """
    answer = json.loads(line)
    if "bug" in answer:
        raise RuntimeError(f"in the child process:\n{answer['bug']}")
    return answer["numbers"], answer["seconds"]

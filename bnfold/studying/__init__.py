"""``study(claims) → StudyResult``: what the lecture on BatchNorm claims, on real data, with a verdict by a rule.

The files, in the order in which to read them:

    claims/        one claim a file: its docstring explains it, ``measure`` runs it, ``judge`` says what came out
    claim.py       what a claim is, and the plan by which it is tried
    verdict.py     a claim has parts; one rule makes the verdict of them
    runs.py        the numbers, with what verdicts and figures ask of them
    data.py        the data
    networks.py    the networks
    fitting.py     the training loop
    working.py     cells run side by side, in child processes
    worker.py      such a process
    protocol.py    what is said between the two
    store.py       finished cells, so that an interrupted study goes on where it was
    drawing.py     figures
    result.py      what a study yields
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bnfold.diagnosing.machine import look_at_machine
from bnfold.errors import BnfoldError
from bnfold.studying.claim import Cell, Claim, Numbers
from bnfold.studying.claims import CLAIMS, find_claim
from bnfold.studying.drawing import draw
from bnfold.studying.result import ClaimResult, Run, StudyResult
from bnfold.studying.runs import Runs
from bnfold.studying.store import Store
from bnfold.studying.verdict import Part, Verdict, verdict_of
from bnfold.studying.working import Task, usable_cores, work
from bnfold.training.files import versions
from bnfold.training.progress import progress_bar
from bnfold.zoo import data as datasets
from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = ["CLAIMS", "Claim", "ClaimResult", "Part", "Run", "Runs", "StudyResult", "Verdict", "find_claim", "study"]

_Found = dict[Task, tuple[Numbers, float]]


def study(
    claims: Sequence[int] = (),
    *,
    folder: str | os.PathLike[str] | None = None,
    quick: bool = False,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
) -> StudyResult:
    """Try claims of the lecture on BatchNorm.

    Every run has one thread and a seed, so that the same seed gives the same numbers on the same machine with the same
    versions, however many run side by side.

    Args:
        claims: Their numbers; all if there are none.
        folder: Where finished runs are kept (in its subfolder ``runs``), so that the same study goes on where it was
            interrupted; None keeps nothing.
        quick: Fewer seeds, shorter runs, and wider limits: a minute instead of a quarter of an hour.
        seed: The first of the seeds; the others follow.
        jobs: Runs side by side; as many as there are cores if None.
        progress: Show a progress bar on stderr, if that is a terminal.

    Raises:
        MissingDependencyError: torch, matplotlib, scikit-learn or mlxtend is not installed, and needed.
        BnfoldError: There is no claim of such a number, or a setting makes no sense.
        ExecutionError: A child process crashed.
    """
    if not 0 <= seed < 2**31:
        raise BnfoldError(f"--seed {seed}: give a number from 0 to 2**31 - 1")
    if jobs is not None and jobs < 1:
        raise BnfoldError(f"--jobs {jobs}: give 1 or more")
    chosen = [find_claim(number) for number in sorted(set(claims))] or list(CLAIMS)
    require("torch", "sklearn", "matplotlib")
    for name in dict.fromkeys(name for claim in chosen for name in claim.data):
        datasets.load(name)  # what is missing is said now
    cells = {claim: claim.cells(claim.quick if quick else claim.full, seed) for claim in chosen}
    store = Store(Path(folder) / "runs", versions()) if folder is not None else None
    found = _measure(cells, store, jobs or usable_cores(), progress=progress)
    return StudyResult(
        quick=quick,
        seed=seed,
        claims=tuple(
            _conclude(claim, {cell: found[claim.number, cell] for cell in cells[claim]}, quick=quick, seed=seed)
            for claim in chosen
        ),
        command=_command(sorted(set(claims)), quick=quick, seed=seed),
        versions=versions(),
        machine=look_at_machine().processor,
    )


def _measure(cells: Mapping[Claim, Sequence[Cell]], store: Store | None, jobs: int, *, progress: bool) -> _Found:
    """The numbers of all cells: those that are kept, and those that are run now, and kept."""
    found: _Found = {}
    for claim in cells:
        for cell in cells[claim]:
            kept = store.load(claim, cell) if store is not None else None
            if kept is not None:
                found[claim.number, cell] = kept
    missing = [(claim.number, cell) for claim in cells for cell in cells[claim] if (claim.number, cell) not in found]
    with progress_bar(progress) as bar, closing(work(missing, jobs)) as done:
        counted = bar.add_task("studying", total=sum(map(_cost, missing)))
        for task, numbers, seconds in done:
            claim = find_claim(task[0])
            if store is not None:
                store.save(claim, task[1], numbers, seconds)
            found[task] = numbers, seconds
            bar.update(
                counted, advance=_cost(task), description=f"claim {claim.number}: {claim.name.replace('_', ' ')}"
            )
    return found


def _cost(task: Task) -> float:
    """How long a run may take, beside others: for the time that is left."""
    number, cell = task
    return find_claim(number).cost(cell)


def _conclude(claim: Claim, found: Mapping[Cell, tuple[Numbers, float]], *, quick: bool, seed: int) -> ClaimResult:
    """The verdict and the figure, from the numbers alone."""
    runs = Runs({cell: numbers for cell, (numbers, _) in found.items()}, quick=quick)
    parts = claim.judge(runs)
    return ClaimResult(
        number=claim.number,
        name=claim.name,
        title=claim.title,
        explanation=claim.explanation,
        verdict=verdict_of(parts),
        parts=parts,
        axis=claim.axis,
        quantities=claim.quantities,
        runs=tuple(Run(**asdict(cell), numbers=numbers) for cell, numbers in runs.numbers.items()),
        command=_command([claim.number], quick=quick, seed=seed),
        figure=draw(claim, runs),
        seconds=sum(seconds for _, seconds in found.values()),
    )


def _command(claims: Sequence[int], *, quick: bool, seed: int) -> str:
    words = ["bnfold study", *map(str, claims), *(["--quick"] if quick else []), *([f"--seed {seed}"] if seed else [])]
    return " ".join(words)

"""Numbers of a claim that were made and not measured, and a claim that is quick enough to be run often."""

from __future__ import annotations

from bnfold.studying.claim import Plan
from bnfold.studying.runs import Runs


def made(claim, numbers, *, quick=False, plan=None):
    """The runs of a claim's plan, with ``numbers(arm, at)`` for every seed.

    Args:
        claim: Whose cells they are.
        numbers: What each arm yields at each place.
        quick: Whether the wider limits count.
        plan: Instead of the claim's own.
    """
    cells = claim.cells(plan or (claim.quick if quick else claim.full))
    return Runs({cell: numbers(cell.arm, cell.at) for cell in cells}, quick=quick)


def holding(claim, runs):
    """Which parts hold, as letters: ``yyn``."""
    return "".join("y" if part.holds else "n" for part in claim.judge(runs))


def tiny(claim, *at, epochs=1, seeds=1):
    """What every arm measures in a plan of a few epochs."""
    from bnfold.studying.protocol import run_cell

    plan = Plan(seeds=seeds, at=at or claim.quick.at[:1], epochs=epochs)
    return Runs({cell: run_cell(claim.number, cell) for cell in claim.cells(plan)}, quick=True)

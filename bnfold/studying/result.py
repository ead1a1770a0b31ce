"""What a study yields: data first, shown by ``bnfold.reporting.study``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bnfold.studying.claim import Explanation, Quantity
    from bnfold.studying.verdict import Part, Verdict

__all__ = ["ClaimResult", "Run", "StudyResult"]


@dataclass(frozen=True)
class Run:
    """The numbers of one run.

    Attributes:
        arm: What was tried.
        at: Where on the axis along which the arms are compared, such as a learning rate.
        seed: Of the weights and the order of the batches.
        epochs: Passes over the training data; 0 where nothing was trained.
        numbers: By name: one each, or a list, such as one an epoch.
    """

    arm: str
    at: float
    seed: int
    epochs: int
    numbers: Mapping[str, float | list[float]]


@dataclass(frozen=True)
class ClaimResult:
    """What became of one claim.

    Attributes:
        number: That of the claim.
        name: That of its module.
        title: The claim, on one line.
        explanation: What the lecture says, the set-up, the rule, and what the lecture leaves out.
        verdict: What the parts make of it: it reproduces where every part holds; it does not where none does, or one
            that is its core does not; else partly.
        parts: What the claim says, one by one, and whether it was so.
        axis: What ``at`` of the runs is; empty where there is one place only.
        quantities: What to show of the numbers.
        runs: Every run, in the order of arms, places and seeds.
        command: What makes the same again.
        figure: The numbers drawn, as SVG.
        seconds: On one core, of all runs together.
    """

    number: int
    name: str
    title: str
    explanation: Explanation
    verdict: Verdict
    parts: tuple[Part, ...]
    axis: str
    quantities: tuple[Quantity, ...]
    runs: tuple[Run, ...]
    command: str
    figure: str = field(metadata={"json": False}, repr=False)
    seconds: float = field(metadata={"json": False})  # the same numbers, the same bytes


@dataclass(frozen=True)
class StudyResult:
    """The claims that were studied, each with its verdict.

    Attributes:
        quick: Whether there were fewer seeds and shorter runs, and wider limits.
        seed: The first of the seeds.
        claims: In the order of their numbers.
        command: What makes the same again.
        versions: What decides about the numbers.
        machine: The processor.
    """

    quick: bool
    seed: int
    claims: tuple[ClaimResult, ...]
    command: str
    versions: Mapping[str, str]
    machine: str

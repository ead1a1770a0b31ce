"""What a claim of the lecture is, and the plan by which it is tried."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bnfold.studying.runs import Runs
    from bnfold.studying.verdict import Part

__all__ = ["PARTS", "Cell", "Claim", "Explanation", "Numbers", "Plan", "Quantity", "parse"]

PARTS = ("Lecture", "Setup", "Rule", "Omits", "Reference")

Numbers: TypeAlias = Mapping[str, float | list[float]]
"""What a run yields: numbers by name, or lists of them, such as one an epoch."""


@dataclass(frozen=True)
class Cell:
    """One run: the least that is done, or found done when a study is resumed.

    Attributes:
        arm: What is tried, such as ``sigmoid, BN``.
        at: Where on the axis along which the arms are compared, such as a learning rate.
        seed: Of the weights and the order of the batches.
        epochs: Passes over the training data; 0 where nothing is trained.
    """

    arm: str
    at: float
    seed: int
    epochs: int = 0


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes:
        seeds: How many runs there are of the same.
        at: The places on the axis.
        epochs: Passes over the training data; 0 where nothing is trained.
    """

    seeds: int
    at: tuple[float, ...]
    epochs: int = 0


@dataclass(frozen=True)
class Quantity:
    """One of the numbers of a run that the report shows with every seed.

    Attributes:
        name: What the run calls it.
        label: What it is, in words.
        spec: How it is written, as in ``format(number, spec)``.
    """

    name: str
    label: str
    spec: str = ".3f"


class Claim(ABC):
    """One claim of the lecture, and what shows it.

    Its docstring has the claim in its first line, and then, in five parts, what the lecture says, the set-up, the rule
    of the verdict, what the lecture leaves out, and the references. ``measure`` makes numbers; the verdict and the
    figure are made of these numbers alone, so that a study that was resumed says the same.

    Attributes:
        number: By which it is chosen.
        arms: What is compared, in the order of figures and tables.
        axis: What ``at`` is, such as ``learning rate``; empty where the arms are compared at one place only.
        full: What runs by default.
        quick: What runs with ``--quick``.
        quantities: What the tables show.
        data: The data sets, as ``bnfold.zoo.data`` calls them.
    """

    number: ClassVar[int]
    arms: ClassVar[tuple[str, ...]]
    axis: ClassVar[str]
    full: ClassVar[Plan]
    quick: ClassVar[Plan]
    quantities: ClassVar[tuple[Quantity, ...]]
    data: ClassVar[tuple[str, ...]] = ("digits",)

    @property
    def name(self) -> str:
        """That of its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """The first line of its docstring, without the full stop."""
        return self.explanation.summary

    @property
    def explanation(self) -> Explanation:
        """The parts of its docstring.

        Raises:
            ValueError: It has other parts.
        """
        return parse(type(self).__doc__)

    def cells(self, plan: Plan, seed: int = 0) -> tuple[Cell, ...]:
        """What a plan runs: every arm at every place, with the seeds from ``seed`` on."""
        return tuple(
            Cell(arm, at, number, plan.epochs)
            for arm in self.arms
            for at in plan.at
            for number in range(seed, seed + plan.seeds)
        )

    def cost(self, cell: Cell) -> float:
        """How long a cell takes, in any unit that is the same for all claims: seconds, roughly."""
        return 0.02 * max(cell.epochs, 1)

    @abstractmethod
    def measure(self, cell: Cell) -> Numbers:
        """One run. Torch's default generator is seeded with the cell's seed, and one thread computes."""

    @abstractmethod
    def judge(self, runs: Runs) -> tuple[Part, ...]:
        """The parts of the claim, and which of them hold."""

    @abstractmethod
    def draw(self, runs: Runs, figure: Figure) -> None:
        """Draw the numbers; colours and fonts are set, see ``drawing.py``."""


@dataclass(frozen=True)
class Explanation:
    """What the docstring of a claim says.

    Attributes:
        summary: The claim, on one line.
        lecture: What the lecture says, in paragraphs.
        setup: What is run, in paragraphs.
        rule: When the claim reproduces, in paragraphs.
        omits: What the lecture leaves out, in paragraphs.
        references: A line each.
    """

    summary: str
    lecture: tuple[str, ...]
    setup: tuple[str, ...]
    rule: tuple[str, ...]
    omits: tuple[str, ...]
    references: tuple[str, ...]


def parse(docstring: str | None) -> Explanation:
    """The parts of a docstring.

    Raises:
        ValueError: One is missing, empty, or not in its place.
    """
    summary, *pieces = re.split(r"^(\w+):$\n?", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    parts = dict(zip(pieces[::2], pieces[1::2], strict=True))
    if tuple(pieces[::2]) != PARTS:
        raise ValueError(f"has the parts {', '.join(pieces[::2]) or '(none)'}, and not {', '.join(PARTS)}")
    if empty := [name for name, text in parts.items() if not text.strip()]:
        raise ValueError(f"has nothing under {empty[0]}")
    if not re.fullmatch(r".+\.\s*", summary):
        raise ValueError("does not begin with the claim, on one line")
    return Explanation(
        summary=summary.strip().removesuffix("."),
        lecture=_paragraphs(parts["Lecture"]),
        setup=_paragraphs(parts["Setup"]),
        rule=_paragraphs(parts["Rule"]),
        omits=_paragraphs(parts["Omits"]),
        references=tuple(line.strip() for line in parts["Reference"].strip().splitlines()),
    )


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))

"""What the runtime did by itself: the BatchNormalizations that onnxruntime folds at load.

Where it folds all that went, a faster candidate is not to be expected, and no change is a normal answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnfold.errors import ExecutionError
from bnfold.runtime.isolation import TIMEOUT, run_isolated
from bnfold.runtime.sessions import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bnfold.runtime.optimised import BatchNorm, Optimised
    from bnfold.runtime.sources import Opened

__all__ = ["Fates", "LevelFolds", "OwnFolds", "matches", "own_folds"]


@dataclass(frozen=True)
class Fates:
    """What onnxruntime makes of some BatchNormalizations, as it loads the model.

    Attributes:
        folded: How many it folds into another node, or finds to be of no use.
        depthwise: How many it turns into depthwise 1×1 convolutions: as much work as before, under another name.
        left: How many it leaves as they are.
    """

    folded: int
    depthwise: int
    left: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.folded + self.depthwise + self.left


@dataclass(frozen=True)
class LevelFolds:
    """What onnxruntime does by itself at one of its levels.

    Attributes:
        level: How much it may optimise.
        reference: What becomes of the BatchNormalizations of the reference.
        candidate: What becomes of those of the candidate.
        gone: What becomes, in the reference, of those that the candidate does not have any more.
    """

    level: Level
    reference: Fates
    candidate: Fates
    gone: Fates


@dataclass(frozen=True)
class OwnFolds:
    """What onnxruntime folds by itself, on the CPU; functions are inlined, and count once for each call.

    Attributes:
        levels: One entry for each level that was asked for.
        refusal: Why there is none; empty where there is.
    """

    levels: tuple[LevelFolds, ...]
    refusal: str = ""

    def at(self, level: str) -> LevelFolds | None:
        """The entry of a level; None if it was not asked for, or could not be told."""
        return next((entry for entry in self.levels if entry.level == level), None)


def own_folds(left: Opened, right: Opened, levels: Iterable[Level | str], timeout: float = TIMEOUT) -> OwnFolds:
    """What onnxruntime makes of both models at each of some levels.

    What cannot be told is no reason to lose what was timed: it is said, and not raised.
    """
    asked = list(dict.fromkeys(map(Level, levels)))
    try:
        reference, candidate = (_optimised(model, asked, timeout) for model in (left, right))
    except ExecutionError as error:
        return OwnFolds((), str(error))
    gone = set(range(len(reference[0]))) - matches(reference[0], candidate[0])
    entries = (
        LevelFolds(
            level,
            _fates(reference[0], there, range(len(reference[0]))),
            _fates(candidate[0], here, range(len(candidate[0]))),
            _fates(reference[0], there, gone),
        )
        for level, there, here in zip(asked, reference[1], candidate[1], strict=True)
    )
    return OwnFolds(tuple(entries))


def _optimised(model: Opened, levels: Sequence[Level], timeout: float) -> tuple[tuple[BatchNorm, ...], list[Optimised]]:
    found: tuple[tuple[BatchNorm, ...], list[Optimised]] = run_isolated(
        "bnfold.runtime.optimised:optimised",
        {"path": model.path, "levels": list(levels)},
        subject=model.name,
        timeout=timeout,
    )
    return found


def _fates(before: Sequence[BatchNorm], after: Optimised, chosen: Collection[int]) -> Fates:
    """Of those ``before`` that are ``chosen``, by index."""
    left = matches(before, after.left, all_of_them=True)
    unfolded = left | matches(before, after.depthwise, all_of_them=True)
    numbers = [len(indices & set(chosen)) for indices in (unfolded, left)]
    return Fates(len(chosen) - numbers[0], numbers[0] - numbers[1], numbers[1])


def matches(before: Sequence[BatchNorm], after: Sequence[BatchNorm], *, all_of_them: bool = False) -> set[int]:
    """Which of those ``before`` are there ``after``, by index.

    They are the same that write the same tensor; of the others those of the same name; of the others those that read
    the same parameters. In the bodies of an If two may write tensors of the same name: each counts once.

    Args:
        before: All that there were.
        after: Some of them, and more unless it is ``all_of_them``.
        all_of_them: Each ``after`` is one of those ``before``, so that what has no match stands for the next one.
    """
    found: set[int] = set()
    rest = list(after)
    for aspect in ("output", "name", "parameters"):
        for one in list(rest):
            wanted = getattr(one, aspect)
            same = (
                index
                for index, other in enumerate(before)
                if wanted and getattr(other, aspect) == wanted and index not in found
            )
            if (index := next(same, None)) is not None:
                found.add(index)
                rest.remove(one)
    if all_of_them:
        found.update([index for index in range(len(before)) if index not in found][: len(rest)])
    return found

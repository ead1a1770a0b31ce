"""All outputs of two models on the same inputs, those with float64 to judge by and those without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from bnfold.verifying.comparison import Check, Verdict
from bnfold.verifying.edges import edges
from bnfold.verifying.judging import OutputRuns, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Outputs
    from bnfold.verifying.comparison import OutputFigures

    Neighbours = Callable[[Sequence[InputSet]], Sequence[Sequence[Outputs]]]

__all__ = ["Witnesses", "judge_outputs"]


@dataclass(frozen=True)
class Witnesses:
    """What is run only where the outputs of the two models leave a doubt; each takes some of the sets of inputs.

    Attributes:
        of_reference: The neighbours of the reference.
        of_candidate: Those of the candidate.
        exactly: The candidate in float64; None where that cannot be had.
    """

    of_reference: Neighbours
    of_candidate: Neighbours
    exactly: Callable[[Sequence[InputSet]], Sequence[Outputs | None]]


def judge_outputs(
    inputs: Sequence[InputSet],
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    exact: Sequence[Outputs | None],
    witnesses: Witnesses,
    tolerances: Mapping[str, float],
) -> tuple[list[Check], list[OutputFigures]]:
    """The checks and figures of every output.

    Args:
        inputs: The sets that both models took.
        reference: The reference's outputs for each.
        candidate: The candidate's.
        exact: The reference's function in float64 for each; None where there was no oracle.
        witnesses: Asked on some of the sets, if there is a doubt.
        tolerances: What outputs may differ by, by name; ``""`` is for all others.
    """
    covered = [index for index, truth in enumerate(exact) if truth is not None]
    uncovered = [index for index, truth in enumerate(exact) if truth is None]
    parts = [
        (
            [inputs[index] for index in indices],
            [reference[index] for index in indices],
            [candidate[index] for index in indices],
            [truth for index in indices if (truth := exact[index]) is not None] or None,
            _once(witnesses.of_reference, [inputs[index] for index in indices]),
        )
        for indices in (covered, uncovered)
        if indices
    ]
    second = _Second(witnesses, inputs, covered)
    checks, figures = [], []
    for name in reference[0]:
        found_of = []
        for number, part in enumerate(parts):
            found, figure = _judge(_runs_of(name, *part), tolerances.get(name, tolerances.get("")), second)
            note = f" on {len(part[0])} further inputs" if number else ""
            checks += [replace(check, name=f"{check.name}{note}") for check in found]
            found_of.append(figure)
        figures.append(_worst(found_of))
    return checks, figures


class _Second:
    """What the candidate's witnesses say of single sets, asked once for all outputs.

    Args:
        witnesses: Who.
        inputs: All sets.
        covered: Which of them are meant, by index.
    """

    def __init__(self, witnesses: Witnesses, inputs: Sequence[InputSet], covered: Sequence[int]) -> None:
        self._sets = [inputs[index] for index in covered]
        self._exactly = cache(lambda index: witnesses.exactly([self._sets[index]])[0])
        self._neighbours = cache(lambda index: witnesses.of_candidate([self._sets[index]])[0])

    def exactly(self, name: str, index: int) -> NDArray[np.generic] | None:
        outputs = self._exactly(index)
        return None if outputs is None else outputs[name]

    def neighbours(self, name: str, index: int) -> list[NDArray[np.generic]]:
        return [outputs[name] for outputs in self._neighbours(index)]


def _judge(runs: OutputRuns, tolerance: float | None, second: _Second) -> tuple[list[Check], OutputFigures]:
    """As ``judge``, without the sets on which rounding decides, if those are all that is wrong."""
    checks, figures = judge(runs, tolerance)
    if tolerance is not None or all(check.verdict is not Verdict.FAIL for check in checks):
        return checks, figures
    left_out = edges(runs, partial(second.exactly, runs.name), partial(second.neighbours, runs.name))
    if not left_out:
        return checks, figures
    rest, of_rest = judge(runs.without(left_out))
    names = ", ".join(runs.sets[index] for index in left_out)
    message = f"left out, for rounding decides there, while float64 finds the two models equal: {names}"
    return [Check(f"inputs of '{runs.name}'", Verdict.WARN, message), *rest], replace(
        of_rest, needed_tolerance=figures.needed_tolerance
    )


def _once(neighbours: Neighbours, inputs: Sequence[InputSet]) -> Callable[[], Sequence[Sequence[Outputs]]]:
    """The neighbours' outputs, run when they are first asked for, for all outputs of the model."""
    return cache(lambda: neighbours(inputs))


def _worst(figures: Sequence[OutputFigures]) -> OutputFigures:
    """One output's figures over all its inputs: the ratio is of those that have one."""
    return replace(
        figures[0],
        needed_tolerance=max(figure.needed_tolerance for figure in figures),
        nonfinite_mismatches=sum(figure.nonfinite_mismatches for figure in figures),
    )


def _runs_of(
    name: str,
    inputs: Sequence[InputSet],
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    exact: Sequence[Outputs] | None,
    neighbours: Callable[[], Sequence[Sequence[Outputs]]],
) -> OutputRuns:
    """What is known about one output."""
    expected = [outputs[name] for outputs in reference]
    return OutputRuns(
        name=name,
        sets=[str(one) for one in inputs],
        reference=expected,
        candidate=[outputs[name] for outputs in candidate],
        exact=None if exact is None else [outputs[name] for outputs in exact],
        neighbours=lambda: [
            [outputs[name] for outputs in of_set if outputs[name].shape == array.shape]
            for of_set, array in zip(neighbours(), expected, strict=True)
        ],
    )

"""All outputs of two models on the same inputs, those with float64 to judge by and those without."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from bnfold.verifying.judging import OutputRuns, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Outputs
    from bnfold.verifying.comparison import Check, OutputFigures

    Neighbours = Callable[[Sequence[InputSet]], Sequence[Sequence[Outputs]]]

__all__ = ["judge_outputs"]


def judge_outputs(
    inputs: Sequence[InputSet],
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    exact: Sequence[Outputs | None],
    neighbours: Neighbours,
    tolerances: Mapping[str, float],
) -> tuple[list[Check], list[OutputFigures]]:
    """The checks and figures of every output.

    Args:
        inputs: The sets that both models took.
        reference: The reference's outputs for each.
        candidate: The candidate's.
        exact: The reference's function in float64 for each; None where there was no oracle.
        neighbours: Runs the neighbours on some of the sets.
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
            _once(neighbours, [inputs[index] for index in indices]),
        )
        for indices in (covered, uncovered)
        if indices
    ]
    checks, figures = [], []
    for name in reference[0]:
        found_of = []
        for number, part in enumerate(parts):
            found, figure = judge(_runs_of(name, *part), tolerances.get(name, tolerances.get("")))
            note = f" on {len(part[0])} further inputs" if number else ""
            checks += [replace(check, name=f"{check.name}{note}") for check in found]
            found_of.append(figure)
        figures.append(_worst(found_of))
    return checks, figures


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

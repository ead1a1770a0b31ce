"""Where models run beside the CPU without optimisations: on other execution providers, and at other levels.

In each setting the reference runs again, and the candidate is compared with it there: a provider that computes in a
smaller type makes both err, and the ratio of the two says as much as on the CPU.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from bnfold.errors import BnfoldError, ExecutionError
from bnfold.runtime.providers import CPU, Provider, parse
from bnfold.runtime.sessions import Level, Refusal
from bnfold.verifying.comparison import Check, Verdict
from bnfold.verifying.outputs import judge_outputs
from bnfold.verifying.running import LEVEL, naming

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from bnfold.runtime.inputs import InputSet
    from bnfold.runtime.sessions import Outputs
    from bnfold.verifying.comparison import OutputFigures
    from bnfold.verifying.running import Runner

    Run = Outputs | Refusal
    Compared = tuple[list[Check], list[OutputFigures]]

T = TypeVar("T")

__all__ = ["Setting", "compare_there", "further_settings", "side_by_side"]


@dataclass(frozen=True)
class Setting:
    """An execution provider, and how much onnxruntime may optimise."""

    provider: Provider = CPU
    level: Level = LEVEL

    def __str__(self) -> str:
        return f"{self.provider}, {self.level}"


def further_settings(providers: Sequence[str], levels: Sequence[str]) -> list[Setting]:
    """All that were asked for but the first, the CPU without optimisations, which is always there.

    Raises:
        BnfoldError: There is no such level, or a provider's options cannot be read.
    """
    try:
        asked = [LEVEL, *map(Level, levels)]
    except ValueError as error:
        raise BnfoldError(f"level: {error}; the levels are {', '.join(Level)}") from None
    places = [CPU, *(parse(provider) for provider in providers)]
    places = [place if not place.is_cpu else CPU for place in places]
    pairs = dict.fromkeys(Setting(place, level) for place in places for level in asked)
    return [setting for setting in pairs if setting != Setting()]


def compare_there(
    setting: Setting,
    runner: Runner,
    paths: tuple[str, str],
    inputs: Sequence[InputSet],
    exact: Sequence[Outputs | None],
    tolerances: Mapping[str, float],
) -> Compared:
    """The checks and figures of one setting.

    Args:
        setting: Where.
        runner: Runs models there.
        paths: The reference and the candidate.
        inputs: The sets that both take on the CPU.
        exact: What they give in float64; None where that is not known.
        tolerances: As for ``judge_outputs``.

    Raises:
        ProviderError: The provider did not run one of the models.
        ExecutionError: A model could not be run there, or takes no input there.
    """
    with naming("reference"):
        reference, of_reference = runner.run_there(paths[0], inputs)
    with naming("candidate"):
        candidate, of_candidate = runner.run_there(paths[1], inputs)
    checks = _refusals(setting, inputs, reference, candidate)
    if not setting.provider.is_cpu:
        checks.insert(0, _provided(setting, of_reference, of_candidate))
    sets, expected, got, truth = [], [], [], []
    for index, (left, right) in enumerate(zip(reference, candidate, strict=True)):
        if not isinstance(left, Refusal) and not isinstance(right, Refusal):
            sets.append(inputs[index])
            expected.append(left)
            got.append(right)
            truth.append(exact[index])
    if not sets:
        raise ExecutionError(f"{setting}: no input was taken by both models; {checks[-1].message}")
    found, figures = judge_outputs(sets, expected, got, truth, runner.witnesses(*paths), tolerances)
    checks += [replace(check, name=f"{check.name} ({setting})") for check in found]
    return checks, [replace(one, provider=str(setting.provider), level=str(setting.level)) for one in figures]


def _provided(setting: Setting, of_reference: str, of_candidate: str) -> Check:
    message = "ran every Conv, ConvTranspose, Gemm, MatMul and BatchNormalization of both"
    for role, others in (("reference", of_reference), ("candidate", of_candidate)):
        message += f"; elsewhere, of the {role}: {others}" if others else ""
    return Check(f"provider ({setting})", Verdict.PASS, message)


def _refusals(
    setting: Setting, inputs: Sequence[InputSet], reference: Sequence[Run], candidate: Sequence[Run]
) -> list[Check]:
    checks = []
    for one, left, right in zip(inputs, reference, candidate, strict=True):
        if isinstance(left, Refusal):
            checks.append(Check(f"inputs ({setting})", Verdict.NOTE, f"the reference refuses {one}: {left.reason}"))
        elif isinstance(right, Refusal):
            checks.append(Check(f"inputs ({setting})", Verdict.FAIL, f"the candidate refuses {one}: {right.reason}"))
    return checks


def side_by_side(jobs: int, tasks: Sequence[Callable[[], T]], stop: threading.Event) -> list[T]:
    """What each task returns, in order; several at a time, and the same as one after the other.

    The error of the first task that fails is raised, in the order of the tasks, and ends the others through ``stop``.
    """
    if jobs <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:  # Ctrl-C as well: nothing goes on behind our back
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

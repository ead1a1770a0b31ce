"""What ``verify`` found: data first, shown by ``bnfold.reporting.comparison``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Comparison", "OutputFigures", "Verdict"]


class Verdict(StrEnum):
    """How one check came out; only ``fail`` makes two models not equivalent."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"
    NOTE = "note"


@dataclass(frozen=True)
class Check:
    """One question that was asked, and its answer.

    Attributes:
        name: What was looked at, such as ``interface`` or ``output 'logits'``.
        verdict: How it came out.
        message: The answer in words.
        figure: What was measured, if that is a number.
        limit: What the figure may be at most.
    """

    name: str
    verdict: Verdict
    message: str
    figure: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class OutputFigures:
    """The numbers of one graph output, over all inputs.

    Attributes:
        name: The output.
        dtype: Its type, such as ``float32``.
        error_ratio: Error of the candidate over error of the reference, both against float64; None without an oracle
            and for integers.
        needed_tolerance: The smallest t with ``max|candidate − reference| ≤ t·max|reference|`` on every input.
        nonfinite_mismatches: At how many positions NaN or Inf stands in one of the two only.
        provider: The execution provider that both ran on.
        level: How much onnxruntime was allowed to optimise.
    """

    name: str
    dtype: str
    error_ratio: float | None
    needed_tolerance: float
    nonfinite_mismatches: int
    provider: str = "cpu"
    level: str = "disabled"


@dataclass(frozen=True)
class Comparison:
    """Whether a candidate computes what its reference computes; true in a condition if it does.

    Attributes:
        reference: The model that is right: its path, or its graph's name.
        candidate: The model that was judged.
        equivalent: No check failed.
        checks: Every question asked, in order.
        outputs: The figures of each graph output; empty when the interfaces already differ.
        needed_tolerance: The smallest tolerance that would have accepted every output; None if nothing ran.
        oracle: What the outputs were judged against: ``float64``, or ``tolerance`` where float64 was out of reach.
        level: How much onnxruntime was allowed to optimise, at least once; ``settings`` has all.
        inputs: What the models were fed, such as ``normal, seed 0, batch 16``.
        seeds: The seeds of those inputs that were made up.
        settings: Where they ran, such as ``cpu, disabled`` and ``openvino, all``.
    """

    reference: str
    candidate: str
    equivalent: bool
    checks: tuple[Check, ...]
    outputs: tuple[OutputFigures, ...] = ()
    needed_tolerance: float | None = None
    oracle: str | None = None
    level: str = "disabled"
    inputs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.equivalent

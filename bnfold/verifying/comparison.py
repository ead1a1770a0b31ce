"""What ``verify`` found: data first, shown by ``bnfold.reporting.comparison``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.verifying.certificate import GraphChange

__all__ = ["Check", "Comparison", "Divergence", "OutputFigures", "Verdict"]


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
class Divergence:
    """The first pair of tensors that parts: one of the reference, and what stands in its place.

    Attributes:
        reference: The reference's tensor.
        candidate: The candidate's.
        nodes: The nodes that compute it, of both, from the nearest tensors that both have.
        local_error: ‖candidate − reference‖₂ / ‖reference‖₂ where both start from the reference's own tensors.
        local_ratio: The same difference over the error that the reference itself makes in these nodes.
        accumulated_error: ‖candidate − reference‖₂ / ‖reference‖₂ in the runs of the whole models.
        worst_channels: Indices of axis 1, the worst first, each with its share of the local error, from 0 to 1.
        sites: The affines of the reference there, which the candidate does not have.
        rest_passes: Whether the candidate is equivalent once the reference's own nodes stand there; None if that could
            not be tried.
        is_hidden: Only random tensors in front of the nodes show it, and the local error is that on these.
        changes: What these nodes have otherwise besides weights.
    """

    reference: str
    candidate: str
    nodes: tuple[str, ...]
    local_error: float
    local_ratio: float
    accumulated_error: float
    worst_channels: tuple[tuple[int, float], ...] = ()
    sites: tuple[str, ...] = ()
    rest_passes: bool | None = None
    is_hidden: bool = False
    changes: tuple[GraphChange, ...] = ()


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
        divergence: Where the two part; None unless that was asked for and found.
        changes: What the candidate has otherwise besides weights and affines: attributes, operators, nodes.
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
    divergence: Divergence | None = None
    changes: tuple[GraphChange, ...] = ()

    def __bool__(self) -> bool:
        return self.equivalent

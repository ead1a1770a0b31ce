"""What the certificate says of each weight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Certificate", "Finding", "GraphChange", "WeightCheck"]


# A fold in float32 rounds about six times on the way to a weight, where ours rounds once: no worse than its reference,
# which rounds as often. What is further off was computed otherwise.
_ROUNDINGS = 16.0


class Finding(StrEnum):
    """What was found of a constant."""

    CERTIFIED = "certified"
    WRONG = "wrong"
    OPEN = "not certified"


@dataclass(frozen=True)
class WeightCheck:
    """One constant of the candidate, beside what the reference says that it must be.

    Attributes:
        node: The reference's node that reads it, by its name or by what it writes; the candidate's where it is new.
        op_type: What that node is.
        constant: The constant.
        finding: How it came out.
        ulps: How far it lies off at most, in units in the last place of its type; None where that is not known.
        index: Where that is.
        stored: The number there.
        expected: What it should be, in float64.
        reason: Why it is not certified.
        sites: The affines next to the node that the candidate does not have any more.
        terms: The same distance, in units of the largest term that it is a sum of: what cancels has lost those bits
            before it was stored.
        is_changed: Whether it has other bytes than in the reference.
        is_excused: Whether a number in it, of float64 or a sum that cancels, is more than 1 ulp off, and certified, for
            float64 tells no more.
        is_in_body: Whether a node in the body of another one reads it.
    """

    node: str
    op_type: str
    constant: str
    finding: Finding
    ulps: float | None = None
    index: tuple[int, ...] = ()
    stored: float | None = None
    expected: float | None = None
    reason: str = ""
    sites: tuple[str, ...] = ()
    terms: float = 0.0
    is_changed: bool = True
    is_excused: bool = False
    is_in_body: bool = False

    @property
    def is_rounding(self) -> bool:
        """Whether it is so near that a fold which rounds at each of its steps has it so."""
        return self.ulps is not None and min(self.ulps, self.terms) <= _ROUNDINGS

    def __str__(self) -> str:
        where = f"{self.op_type} '{self.node}': {self.constant}"
        if self.finding is Finding.CERTIFIED:
            return f"{where} is {'right to what float64 tells' if self.is_excused else 'the rounded one'}"
        if self.finding is Finding.OPEN:
            return f"{where} is not certified: {self.reason}"
        by = f" at {list(self.index)}: {self.stored:.9g} instead of {self.expected:.9g}" if self.index else ""
        off = f"{self.ulps:.3g} ulp off{by}" if self.ulps is not None else self.reason
        return f"{where} is {off}" + (f" (from {', '.join(self.sites)})" if self.sites else "")


@dataclass(frozen=True)
class GraphChange:
    """Something that the candidate has otherwise than the reference, besides weights.

    Attributes:
        node: The reference's node, by its name or by what it writes; the candidate's where it is new.
        op_type: What that node is.
        what: An attribute or an input of constants, such as ``pads``; or ``operator``, if another one stands there; or
            ``node``, if it is gone or new.
        before: What the reference has; empty where it has none.
        after: What the candidate has; empty where it has none.
    """

    node: str
    op_type: str
    what: str
    before: str
    after: str

    @property
    def is_in_place(self) -> bool:
        """Whether both models have a node there."""
        return self.what != "node"

    def __str__(self) -> str:
        if self.what == "operator":
            return f"'{self.node}': {self.before} → {self.after}"
        if self.what == "node":
            return f"{self.op_type} '{self.node}' is {'new' if self.after else 'gone'}"
        return f"{self.op_type} '{self.node}': {self.what} {self.before or 'absent'} → {self.after or 'absent'}"


@dataclass(frozen=True)
class Certificate:
    """The weights that the candidate has otherwise than the reference, each recomputed in float64.

    Attributes:
        weights: Those that changed, and those that should have.
        removed: The nodes of the reference, affines all, that the candidate does not have, with their operators.
        joined: The nodes of the reference that became part of one convolution, with the branches beside them, likewise.
        lost: The other nodes of the reference for which nothing was found in the candidate, likewise.
        added: The candidate's constant terms that the reference does not have.
        extra: The candidate's other nodes that stand for none of the reference, likewise.
        changes: All of that which is no weight and no affine, attributes that differ included.
        pairs: For each tensor of the reference that the candidate has with the same content, what it is called there,
            in the order of the graph.
        reason: Why the graphs are not alike enough to compare, or empty.
        is_named: Whether nodes are called as in the models: not where these call functions, which were written out.
    """

    weights: tuple[WeightCheck, ...] = ()
    removed: tuple[tuple[str, str], ...] = ()
    joined: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    added: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    changes: tuple[GraphChange, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    is_named: bool = True

    def of(self, finding: Finding) -> tuple[WeightCheck, ...]:
        """Those that came out in one way."""
        return tuple(check for check in self.weights if check.finding is finding)

"""What a lint reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Finding", "LintResult"]


@dataclass(frozen=True)
class Finding:
    """Something that a lint warns of, at one place.

    Attributes:
        code: Of the lint, such as ``BN103``.
        lint: Its name, such as ``bias-before-batch-norm``.
        node: The name of the node, or of the row of nodes.
        op_type: What it is.
        module: The PyTorch module that it comes from, as far as the model tells it; or empty.
        message: What is so, with the numbers.
        advice: What to do.
        figures: The numbers alone, by name, for programs.
    """

    code: str
    lint: str
    node: str
    op_type: str
    module: str
    message: str
    advice: str
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class LintResult:
    """The findings of one model; true when there are none.

    Attributes:
        model: What was looked at.
        batch_norms: How many BatchNormalizations it has.
        lints: The codes of the lints that looked.
        findings: In the order of the graph.
        ignored: How many more there would be, had nobody asked to ignore them at these nodes.
    """

    model: str
    batch_norms: int
    lints: tuple[str, ...]
    findings: tuple[Finding, ...]
    ignored: int = 0

    def __bool__(self) -> bool:
        return not self.findings

"""What a lint is, and what its docstring has to say."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING, ClassVar

from bnfold.linting.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bnfold.linting.facts import BatchNorm, Network

__all__ = ["PARTS", "Explanation", "Lint", "parse"]

PARTS = ("Why", "Example", "Instead", "Reference")


class Lint(ABC):
    """One thing to warn of.

    Its docstring says what it does, and then, in four parts, why that is bad, an example, what to do instead, and where
    that is known from; ``bnfold lint --explain`` and ``docs/lints.md`` show it.

    Attributes:
        code: By which it is selected and ignored.
    """

    code: ClassVar[str]

    @property
    def name(self) -> str:
        """That of the class, ``in-such-letters``."""
        return re.sub(r"(?<=.)(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def explanation(self) -> Explanation:
        """The parts of its docstring.

        Raises:
            ValueError: It has other parts.
        """
        return parse(type(self).__doc__)

    @abstractmethod
    def look(self, network: Network) -> Iterator[Finding]:
        """Each place that it warns of, in the order of the graph."""

    def at(self, place: BatchNorm, message: str, advice: str, **figures: float) -> Finding:
        """A finding at a BatchNormalization."""
        op_type = "BatchNormalization"
        return Finding(self.code, self.name, place.name, op_type, place.module, message, advice, figures)


@dataclass(frozen=True)
class Explanation:
    """What the docstring of a lint says.

    Attributes:
        summary: What the lint warns of, on one line.
        details: When it does and when it does not, in paragraphs; or empty.
        why: Why that is bad, in paragraphs.
        example: As it stands.
        instead: What to do, in paragraphs.
        reference: Where that is known from, a line each.
    """

    summary: str
    details: str
    why: str
    example: str
    instead: str
    reference: tuple[str, ...]


def parse(docstring: str | None) -> Explanation:
    """The parts of a docstring.

    Raises:
        ValueError: One is missing, empty, or not in its place.
    """
    head, *pieces = re.split(r"^(\w+):$\n?", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    parts = dict(zip(pieces[::2], map(dedent, pieces[1::2]), strict=True))
    if tuple(pieces[::2]) != PARTS:
        raise ValueError(f"has the parts {', '.join(pieces[::2]) or '(none)'}, and not {', '.join(PARTS)}")
    if empty := [name for name, text in parts.items() if not text.strip()]:
        raise ValueError(f"has nothing under {empty[0]}")
    summary, _, details = head.partition("\n\n")
    if not summary.strip():
        raise ValueError("does not say in its first line what the lint warns of")
    return Explanation(
        summary=" ".join(summary.split()),
        details=_paragraphs(details),
        why=_paragraphs(parts["Why"]),
        example=parts["Example"].strip("\n"),
        instead=_paragraphs(parts["Instead"]),
        reference=tuple(parts["Reference"].strip().splitlines()),
    )


def _paragraphs(text: str) -> str:
    """Each on one line, with an empty line between."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\n+", text.strip()))

"""What a fold did: where each affine went, or why it stayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bnfold import modelfile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

__all__ = ["Absorption", "Attempt", "FoldResult", "Folded", "Kept", "Merged"]


@dataclass(frozen=True)
class Absorption:
    """A node that took something in.

    Attributes:
        node: Its name.
        op_type: What it is now.
        constants: The names of the constants that changed or were added, and of attributes that did.
    """

    node: str
    op_type: str
    constants: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """An affine that is gone.

    Attributes:
        node: The name of the node that it was.
        op_type: What that node was.
        route: ``back`` into what writes its input, ``forward`` into what reads its output, or the shift back and the
            scale forward.
        into: The nodes that took it in.
        through: The names of the nodes that carried it.
        conditioning: The largest shift that another reader of a tensor takes off again, in standard deviations of that
            tensor: each doubling costs that reader a bit. 0 when nobody has to.
    """

    node: str
    op_type: str
    route: str
    into: tuple[Absorption, ...]
    through: tuple[str, ...]
    conditioning: float = 0.0

    @property
    def is_batch_norm(self) -> bool:
        """Whether it was a BatchNormalization, rather than constants that are added or multiplied."""
        return self.op_type == "BatchNormalization"


@dataclass(frozen=True)
class Attempt:
    """One route that was tried, and what blocked it.

    Attributes:
        route: Where scale and shift were to go.
        node: The name of the node that blocked.
        op_type: What that node is.
        reason: Why; it continues the sentence "Relu 'relu1' …".
        reach: How many tensors it had re-expressed by then: the route with the most came closest.
    """

    route: str
    node: str
    op_type: str
    reason: str
    reach: int

    def __str__(self) -> str:
        return f"{self.route}: {self.obstacle}"

    @property
    def obstacle(self) -> str:
        """What blocked, as a sentence."""
        return f"{self.op_type} '{self.node}' {self.reason}"


@dataclass(frozen=True)
class Kept:
    """An affine that stays.

    Attributes:
        node: The name of the node.
        op_type: What it is.
        reason: Why, in one line.
        hint: What would help, or empty.
        warning: What is wrong with the model itself, or empty.
        attempts: The routes that were tried, when the reason is that all are blocked; the one that came closest first.
    """

    node: str
    op_type: str
    reason: str
    hint: str = ""
    attempts: tuple[Attempt, ...] = ()
    warning: str = ""

    @property
    def is_batch_norm(self) -> bool:
        """Whether it is a BatchNormalization, rather than constants that are added or multiplied."""
        return self.op_type == "BatchNormalization"


@dataclass(frozen=True)
class Merged:
    """A branch of a sum that went into another.

    Attributes:
        nodes: The names of the nodes that are gone; none where the branch was the tensor itself.
        sum: The name of the sum.
        into: The convolution that took the branch in.
    """

    nodes: tuple[str, ...]
    sum: str
    into: Absorption


@dataclass(frozen=True)
class FoldResult:
    """A folded model and the account of it.

    Attributes:
        model: The new model; the one that was given is untouched.
        folded: The affines that are gone, in the order of the graph.
        kept: Those that stay, likewise.
        merged: Branches of sums that are one convolution now.
        flushed_subnormals: How many rewritten weights became subnormal and were set to 0.
        nodes_before: Number of nodes, bodies and functions included.
        nodes_after: The same of the new model.
        is_external: Whether the given model has weights in other files; the new model's weights stay external too.
        sources: The files that the given model was read from, which ``save`` never overwrites.
    """

    model: ir.Model = field(repr=False, metadata={"json": False})
    folded: tuple[Folded, ...]
    kept: tuple[Kept, ...]
    merged: tuple[Merged, ...]
    flushed_subnormals: int
    nodes_before: int
    nodes_after: int
    is_external: bool = field(default=False, repr=False, metadata={"json": False})
    sources: frozenset[Path] = field(default=frozenset(), repr=False, metadata={"json": False})

    def save(
        self, path: str | os.PathLike[str], *, accept: Callable[[Path], None] | None = None, in_place: bool = False
    ) -> modelfile.Saved:
        """Write the new model, all or nothing.

        Args:
            path: Where.
            accept: Looks at the complete file before it is put in place, and raises to refuse it.
            in_place: Let it replace what the given model was read from.

        Returns:
            Which files were written: one more, with external data, where the model is too large for one.

        Raises:
            ModelFileError: It cannot be written there, or a file that the model was read from has changed.
        """
        return modelfile.save(
            self.model, path, sources=self.sources, external=self.is_external, accept=accept, in_place=in_place
        )

"""``lint(model)`` warns of what goes wrong with BatchNormalization, in a network as it is built, trained or deployed.

    lints/          one lint a file: its docstring explains it, its ``look`` finds it
    base.py         what a lint is, and the parts of its docstring
    facts.py        what a lint may ask of a network
    graph.py        reads these facts off an ONNX graph, and asks the planner of ``folding`` what it would do
    neighbours.py   what stands around a BatchNormalization
    weights.py      weights as the fold would leave them
    selecting.py    which lints look
    configuring.py  ``[tool.bnfold.lint]`` in pyproject.toml
    finding.py      what is reported

A lint never repeats a condition of the planner: whether a BatchNormalization can be folded, and what stops it, is what
``folding.inspect`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.errors import BnfoldError
from bnfold.linting.finding import Finding, LintResult
from bnfold.linting.graph import survey
from bnfold.linting.lints import LINTS
from bnfold.linting.selecting import selected

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from bnfold.linting.base import Lint
    from bnfold.linting.facts import Network

__all__ = ["DTYPES", "LINTS", "Finding", "LintResult", "examine", "lint"]

# What the weights of an export can be stored in.
DTYPES = {dtype.name.lower(): dtype for dtype in (ir.DataType.BFLOAT16, ir.DataType.DOUBLE, ir.DataType.FLOAT16)}
DTYPES["float32"] = ir.DataType.FLOAT


def lint(
    model: str | os.PathLike[str] | ir.Model,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    export_dtype: str | None = None,
) -> list[Finding]:
    """Warn of what goes wrong with BatchNormalization.

    Args:
        model: A path, or a model; either is left untouched.
        select: Codes of lints, or beginnings of codes, such as ``BN2``; all if empty.
        ignore: The same, of lints that shall not look.
        export_dtype: In which the weights will be stored: ``float16``, ``bfloat16``, ``float32``, ``double``; as they
            are if None.

    Returns:
        What was found, in the order of the graph; empty when all is well.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit.
        BnfoldError: No lint has such a code, or there is no such dtype.
    """
    return list(examine(model, select=select, ignore=ignore, export_dtype=export_dtype).findings)


def examine(
    model: str | os.PathLike[str] | ir.Model,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    export_dtype: str | None = None,
) -> LintResult:
    """What ``lint`` finds, and what it looked at.

    Args:
        model: As for ``lint``.
        select: As for ``lint``.
        ignore: As for ``lint``.
        export_dtype: As for ``lint``.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit.
        BnfoldError: No lint has such a code, or there is no such dtype.
    """
    if isinstance(select, str) or isinstance(ignore, str):
        raise TypeError("select and ignore are lists of codes, not strings")
    if export_dtype is not None and export_dtype not in DTYPES:
        raise BnfoldError(f"{export_dtype!r} is no dtype of an export; take one of {', '.join(sorted(DTYPES))}")
    lints = selected(select, ignore)
    dtype = DTYPES[export_dtype] if export_dtype is not None else None
    network = survey(model if isinstance(model, ir.Model) else modelfile.load(model), dtype)
    name = (model.graph.name or "the model") if isinstance(model, ir.Model) else str(model)
    findings = tuple(_findings(network, lints))
    return LintResult(name, len(network.batch_norms), tuple(lint.code for lint in lints), findings)


def _findings(network: Network, lints: Sequence[Lint]) -> list[Finding]:
    """Node by node, in the order of the graph; what is not about a BatchNormalization comes last."""
    found = [finding for lint in lints for finding in lint.look(network)]
    order = {norm.name: index for index, norm in enumerate(network.batch_norms)}
    return sorted(found, key=lambda finding: order.get(finding.node, len(order)))

"""``lint(model)`` warns of what goes wrong with BatchNormalization, in a network as it is built, trained or deployed.

    lints/          one lint a file: its docstring explains it, its ``look`` finds it
    base.py         what a lint is, and the parts of its docstring
    facts.py        what a lint may ask of a network
    graph.py        reads these facts off an ONNX graph, and asks the planner of ``folding`` what it would do
    modules.py      reads them off a PyTorch module: its export, and with
    calls.py        what only the module can tell
    neighbours.py   what stands around a BatchNormalization
    weights.py      weights as the fold would leave them
    selecting.py    which lints look
    dtypes.py       what weights can be stored in
    configuring.py  ``[tool.bnfold.lint]`` in pyproject.toml
    finding.py      what is reported

A lint never repeats a condition of the planner: whether a BatchNormalization can be folded, and what stops it, is what
``folding.inspect`` says.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold import modelfile
from bnfold.errors import ModelError
from bnfold.linting.configuring import Configuration, find_configuration
from bnfold.linting.dtypes import find_dtype
from bnfold.linting.finding import Finding, LintResult
from bnfold.linting.graph import survey
from bnfold.linting.lints import LINTS
from bnfold.linting.modules import ModuleSource, survey_module, survey_source
from bnfold.linting.selecting import find_lint, matching, selected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from bnfold.linting.base import Lint
    from bnfold.linting.facts import Network

__all__ = [
    "LINTS",
    "Configuration",
    "Finding",
    "LintResult",
    "ModuleSource",
    "examine",
    "find_configuration",
    "find_lint",
    "lint",
]

_NOWHERE: Mapping[str, Sequence[str]] = MappingProxyType({})


def lint(
    model: str | os.PathLike[str] | ir.Model | nn.Module | ModuleSource,
    *,
    inputs: tuple[Tensor, ...] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    ignore_at: Mapping[str, Sequence[str]] = _NOWHERE,
    export_dtype: str | None = None,
) -> list[Finding]:
    """Warn of what goes wrong with BatchNormalization.

    Args:
        model: A path, an ONNX model, or a PyTorch module, also one that is named; each is left untouched.
        inputs: What a PyTorch module is called with, at least 2 rows of each.
        select: Codes of lints, or beginnings of codes, such as ``BN2``; all if empty.
        ignore: The same, of lints that shall not look.
        ignore_at: The same, for nodes alone whose name, or whose module's name, matches a shell pattern.
        export_dtype: In which the weights will be stored: ``float16``, ``bfloat16``, ``float32``, ``float64``; as they
            are if None.

    Returns:
        What was found, in the order of the graph; empty when all is well.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit, or a module cannot be exported or run.
        MissingDependencyError: A module is given, and torch or onnxscript is not installed.
        BnfoldError: No lint has such a code, or there is no such dtype.
    """
    result = examine(model, inputs=inputs, select=select, ignore=ignore, ignore_at=ignore_at, export_dtype=export_dtype)
    return list(result.findings)


def examine(
    model: str | os.PathLike[str] | ir.Model | nn.Module | ModuleSource,
    *,
    inputs: tuple[Tensor, ...] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    ignore_at: Mapping[str, Sequence[str]] = _NOWHERE,
    export_dtype: str | None = None,
) -> LintResult:
    """What ``lint`` finds, and what it looked at.

    Args:
        model: As for ``lint``.
        inputs: As for ``lint``.
        select: As for ``lint``.
        ignore: As for ``lint``.
        ignore_at: As for ``lint``.
        export_dtype: As for ``lint``.

    Raises:
        ModelFileError: The file cannot be read.
        ModelError: The parameters of a BatchNormalization do not fit, or a module cannot be exported or run.
        MissingDependencyError: A module is given, and torch or onnxscript is not installed.
        BnfoldError: No lint has such a code, or there is no such dtype.
    """
    if isinstance(select, str) or isinstance(ignore, str):
        raise TypeError("select and ignore are lists of codes, not strings")
    lints = selected(select, ignore)
    ignored = {pattern: {found for code in codes for found in matching(code)} for pattern, codes in ignore_at.items()}
    dtype = find_dtype(export_dtype) if export_dtype is not None else None
    network = _survey(model, inputs, dtype)
    everything = [(looking, finding) for looking in lints for finding in looking.look(network)]
    findings = [finding for looking, finding in everything if looking not in _ignored_at(finding, ignored)]
    return LintResult(
        model=_name(model),
        batch_norms=len(network.batch_norms),
        lints=tuple(looking.code for looking in lints),
        findings=_in_order(findings, network),
        ignored=len(everything) - len(findings),
    )


def _survey(
    model: str | os.PathLike[str] | ir.Model | nn.Module | ModuleSource,
    inputs: tuple[Tensor, ...] | None,
    dtype: ir.DataType | None,
) -> Network:
    if isinstance(model, ir.Model):
        return survey(model, dtype)
    if isinstance(model, (str, os.PathLike)):
        return survey(modelfile.load(model), dtype)
    if isinstance(model, ModuleSource):
        return survey_source(model, dtype)
    if inputs is None:
        raise ModelError(
            f"{type(model).__name__} is no path and no ONNX model; a PyTorch module needs inputs=(tensor,)"
        )
    return survey_module(model, inputs, dtype)


def _name(model: object) -> str:
    if isinstance(model, ir.Model):
        return model.graph.name or "the model"
    if isinstance(model, ModuleSource):
        return model.name
    return str(model) if isinstance(model, (str, os.PathLike)) else type(model).__name__


def _ignored_at(finding: Finding, ignored: Mapping[str, set[Lint]]) -> set[Lint]:
    """What is ignored where a finding is. A name matches itself, brackets and all, whatever it means as a pattern."""
    names = [name for name in (finding.node, finding.module) if name]
    patterns = [p for p in ignored if any(name == p or fnmatchcase(name, p) for name in names)]
    return {found for pattern in patterns for found in ignored[pattern]}


def _in_order(findings: Sequence[Finding], network: Network) -> tuple[Finding, ...]:
    """Node by node, in the order of the graph; what is not about a BatchNormalization comes last."""
    order = {norm.name: index for index, norm in enumerate(network.batch_norms)}
    return tuple(sorted(findings, key=lambda finding: order.get(finding.node, len(order))))

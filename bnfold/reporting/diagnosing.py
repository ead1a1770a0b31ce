"""An Environment for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnfold.reporting.cases import Case, Outcome, Suite
from bnfold.reporting.document import Document, Table, Text

if TYPE_CHECKING:
    from bnfold.diagnosing import Environment, ProviderState
    from bnfold.reporting.document import Block

__all__ = ["document", "suite"]


def document(result: Environment) -> Document:
    """What is installed, what loads, and last what is broken, each with the commands that mend it."""
    blocks: list[Block] = [
        Table(
            ("package", "version"), tuple((entry.name, entry.version or "not installed") for entry in result.packages)
        ),
        Text(f"Python {result.python}, {result.platform}"),
        Text(_machine(result)),
    ]
    brought = [f"{package.name} {package.version}" for package in (*result.onnxruntimes, *result.plugins)]
    if brought:
        blocks.append(Text(f"onnxruntime comes from {', '.join(brought)}"))
    if result.providers:
        rows = tuple((state.name, state.origin, _words(state), state.reason) for state in result.providers)
        blocks.append(Table(("provider", "", "here", ""), rows))
    if result.cuda:
        blocks.append(Table(("CUDA library", "where"), tuple((entry.name, entry.where) for entry in result.cuda)))
    else:
        blocks.append(Text("No CUDA library and no driver was found", "dim"))
    for problem in result.problems:
        blocks += [Text(f"Broken: {problem.message}", "bad"), *(Text(f"    {line}") for line in problem.repairs)]
    if result:
        blocks.append(Text("Nothing is broken", "good"))
    return Document(f"bnfold {result.bnfold}", tuple(blocks))


def suite(result: Environment) -> Suite:
    """One case a provider, and one for each thing that is broken."""
    tried = [
        Case(
            state.name,
            Outcome.PASS if state.runs else Outcome.NOTE,
            _words(state) + (f": {state.reason}" if state.reason else ""),
        )
        for state in result.providers
    ]
    broken = [
        Case(f"problem {index}", Outcome.FAIL, "; ".join((problem.message, *problem.repairs)))
        for index, problem in enumerate(result.problems, 1)
    ]
    return Suite("doctor", (*tried, *broken))


def _machine(result: Environment) -> str:
    machine = result.machine
    parts = [machine.processor, f"{machine.cores} cores, {machine.usable} for this process"]
    parts += [f"a quota of {machine.quota:g} cores"] if machine.quota else []
    parts += [f"OMP_NUM_THREADS={machine.omp_num_threads}"] if machine.omp_num_threads else []
    return ", ".join(parts)


def _words(state: ProviderState) -> str:
    return "runs" if state.runs else "loads" if state.loads else "does not load"

"""Switches the conditions of rules off, one at a time, and finds the tests that notice.

A *guard* is a place where a rule refuses: a ``raise Blocked(…)``, a reason that a function of type ``str | None``
returns, a ``return False``, or one side of an ``or`` in the condition above them. What looks for something refuses by a
``return None`` under an ``if``, too. The mutant of a guard is the same function without it. Functions are swapped in
place, by their code object, so that whoever imported one by name gets the mutant.
"""

from __future__ import annotations

import ast
import importlib
import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FunctionType, ModuleType

_REACHED = "__reached__"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Guard:
    """One condition.

    Attributes:
        module: The name of the module that it stands in.
        function: The outermost function around it, or the method: "answer_sum", "ReluRule.answer".
        text: The condition, or what is raised when there is none above it.
        position: Of the statement that refuses: line and column.
        operand: Of the side of an ``or`` that is switched off alone, likewise; None for the whole.
    """

    module: str
    function: str
    text: str
    position: tuple[int, int] = field(repr=False)
    operand: tuple[int, int] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.module.removeprefix('bnfold.folding.')}.{self.function}: {self.text}"


def find_guards(name: str, *, returns_none: bool = False) -> list[Guard]:
    """All guards of a module, in the order of the source.

    Args:
        name: Of the module.
        returns_none: Whether it refuses by a ``return None`` as well.
    """
    guards: list[Guard] = []
    for function, node in _functions(_parse(name)):
        parents = {child: parent for parent in ast.walk(node) for child in ast.iter_child_nodes(parent)}
        for statement in ast.walk(node):
            condition = _condition(statement, parents)
            if not _refuses(statement, parents) and not (returns_none and condition and _finds_nothing(statement)):
                continue
            text = ast.unparse(statement if condition is None else condition)
            guards.append(Guard(name, function, text, _position(statement)))
            guards += [
                Guard(name, function, f"{text}, without {ast.unparse(side)}", _position(statement), _position(side))
                for side in _sides(condition)
            ]
    return sorted(guards, key=lambda guard: (guard.position, guard.operand or (0, 0)))


def _parse(name: str) -> ast.Module:
    return ast.parse(Path(importlib.import_module(name).__file__).read_text(encoding="utf-8"))


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, _FUNCTIONS):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{inner.name}", inner) for inner in node.body if isinstance(inner, _FUNCTIONS))


def _refuses(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    if isinstance(node, ast.Raise):
        return isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "Blocked"
    if not isinstance(node, ast.Return) or node.value is None or ast.unparse(node.value) == "None":
        return False
    around = parents.get(node)
    while around is not None and not isinstance(around, (*_FUNCTIONS, ast.Lambda)):
        around = parents.get(around)
    returns = "" if around is None or around.returns is None else ast.unparse(around.returns)
    if returns == "bool":
        return ast.unparse(node.value) == "False"
    return returns in ("str | None", "tuple[str, str] | None")


def _finds_nothing(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and node.value.value is None


def _condition(statement: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.expr | None:
    """What must hold for the statement to be reached: that of the ``if`` around it, or of the value that it returns."""
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.IfExp):
        return statement.value.test
    around = parents.get(statement)
    return around.test if isinstance(around, ast.If) and statement in around.body else None


def _sides(condition: ast.expr | None) -> Iterator[ast.expr]:
    for node in ast.walk(condition) if condition is not None else ():
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            yield from node.values


def _position(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset


class _Switch(ast.NodeTransformer):
    """Takes one guard out."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def visit(self, node: ast.AST) -> ast.AST:
        if self._guard.operand is not None:
            is_side = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
            if is_side and any(_position(value) == self._guard.operand for value in node.values):
                node.values = [
                    ast.Constant(False) if _position(value) == self._guard.operand else value for value in node.values
                ]
                return node
        elif isinstance(node, ast.Raise | ast.Return) and _position(node) == self._guard.position:
            return ast.Pass()
        return self.generic_visit(node)


class _Probe(ast.NodeTransformer):
    """Lets each guard say that it refuses: a returned reason does not where it turns out to be None."""

    def __init__(self, name: str, guards: list[Guard]) -> None:
        self._name = name
        self._positions = {guard.position for guard in guards}

    def visit(self, node: ast.AST) -> ast.AST | list[ast.AST]:
        if isinstance(node, ast.Raise | ast.Return) and _position(node) in self._positions:
            arguments = [ast.Constant(self._name), ast.Constant(_position(node))]
            if isinstance(node, ast.Raise):
                node.exc = ast.Call(ast.Name(_REACHED, ast.Load()), [*arguments, node.exc], [])
            else:
                always = ast.keyword("always", ast.Constant(_finds_nothing(node)))
                node.value = ast.Call(ast.Name(_REACHED, ast.Load()), [*arguments, node.value], [always])
            return node
        return self.generic_visit(node)


@contextmanager
def mutant(guard: Guard) -> Iterator[None]:
    """The rule without one of its conditions."""
    with _swapped(guard.module, _Switch(guard), {guard.function}):
        yield


@contextmanager
def _swapped(name: str, change: ast.NodeTransformer, functions: set[str]) -> Iterator[None]:
    module = importlib.import_module(name)
    tree = ast.fix_missing_locations(change.visit(_parse(name)))
    codes = dict(_codes(compile(tree, module.__file__, "exec", dont_inherit=True)))
    patched = pytest.MonkeyPatch()
    try:
        for function in functions:
            patched.setattr(_function(module, function), "__code__", codes[function])
        yield
    finally:
        patched.undo()


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for inner in code.co_consts:
        if hasattr(inner, "co_qualname"):
            yield inner.co_qualname, inner
            yield from _codes(inner)


def _function(module: ModuleType, name: str) -> FunctionType:
    owner, _, attribute = name.rpartition(".")
    found = vars(getattr(module, owner) if owner else module)[attribute]
    while not hasattr(found, "__code__"):
        found = getattr(found, "__wrapped__", None) or getattr(found, "__func__", None) or found.fget
    return found


@dataclass(frozen=True)
class Detector:
    """One test: a test function that needs no fixture, with the values of its parameters."""

    name: str
    run: Callable[[], None]

    def notices(self) -> bool:
        """Whether the test fails."""
        try:
            self.run()
        except pytest.skip.Exception:
            return False
        except (Exception, pytest.fail.Exception):  # whatever it fails with
            return True
        return False


def find_detectors(module: ModuleType) -> Iterator[Detector]:
    """The tests of a module that can be called as they are."""
    for name, function in vars(module).items():
        marks = getattr(function, "pytestmark", [])
        if not name.startswith("test_") or any(mark.name in ("slow", "skip", "skipif", "xfail") for mark in marks):
            continue
        tables = [list(_parameters(mark)) for mark in marks if mark.name == "parametrize"]
        for choices in itertools.product(*tables):
            arguments = {key: value for choice in choices for key, value in choice.items()}
            code = function.__code__
            if set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) == set(arguments):
                label = "-".join(str(value).strip()[:40] for value in arguments.values())
                yield Detector(f"{module.__name__}::{name}[{label}]", lambda f=function, a=arguments: f(**a))


def _parameters(mark: pytest.Mark) -> Iterator[dict[str, object]]:
    names, rows = mark.args[:2]
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    for row in rows:
        values = getattr(row, "values", None)  # of pytest.param
        if not isinstance(values, tuple):
            values = (row,) if len(names) == 1 else tuple(row)
        yield dict(zip(names, values, strict=True))


def trace(guards: list[Guard], detectors: list[Detector]) -> dict[tuple[str, tuple[int, int]], list[Detector]]:
    """Which tests reach which refusal, the quickest first; a test that fails as it is notices nothing."""
    reached: set[tuple[str, tuple[int, int]]] = set()

    def reach(name: str, position: tuple[int, int], value: object, *, always: bool = False) -> object:
        if always or value is not None:
            reached.add((name, position))
        return value

    found: dict[tuple[str, tuple[int, int]], list[tuple[float, Detector]]] = {}
    with _probed(guards, reach):
        for detector in detectors:
            reached.clear()
            start = perf_counter()
            if detector.notices():
                continue
            for key in reached:
                found.setdefault(key, []).append((perf_counter() - start, detector))
    return {key: [detector for _, detector in sorted(tests, key=lambda test: test[0])] for key, tests in found.items()}


@contextmanager
def _probed(guards: list[Guard], reach: Callable) -> Iterator[None]:
    patched = pytest.MonkeyPatch()
    by_module = itertools.groupby(guards, key=lambda guard: guard.module)
    contexts = []
    try:
        for name, group in by_module:
            own = list(group)
            patched.setattr(importlib.import_module(name), _REACHED, reach, raising=False)
            context = _swapped(name, _Probe(name, own), {guard.function for guard in own})
            context.__enter__()
            contexts.append(context)
        yield
    finally:
        for context in contexts:
            context.__exit__(None, None, None)
        patched.undo()

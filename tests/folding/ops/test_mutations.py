"""Each condition of each rule, and of what is looked for beside them, is needed: switched off, it makes a test fail.

A condition that no test notices may be wrong, or forgotten in the next change, and the fold would be silently wrong.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

from bnfold.folding import ops
from tests.helpers.mutants import Guard, find_detectors, find_guards, mutant, trace

MODULES = [f"bnfold.folding.ops.{module.name}" for module in pkgutil.iter_modules(ops.__path__)]
MODULES += ["bnfold.folding.nodes", "bnfold.folding.view"]  # where the rules read their conditions off

SEARCHES = [f"bnfold.folding.{name}" for name in ("merging", "repairing", "sites")]

GUARDS = [guard for name in MODULES for guard in find_guards(name)]
GUARDS += [guard for name in SEARCHES for guard in find_guards(name, returns_none=True)]

# These run many cases of every rule: too slow for here, and a condition deserves a test that says what it is about.
_TOO_BROAD = frozenset({"test_contract", "test_mutations", "test_networks", "test_peers", "test_random_graphs"})

_FOLDER = Path(__file__).parents[1]

# guard: why no model can tell the difference
UNNOTICEABLE = {
    "ops.pad._new_value: affine is None": (
        "of a Concat, where one channel cannot be read and another cannot be written: its readers and its writer block"
    ),
}


@pytest.fixture(scope="module")
def tests_by_guard():
    files = sorted([*_FOLDER.glob("test_*.py"), *_FOLDER.glob("ops/test_*.py")])
    names = ["tests.folding." + ".".join(file.relative_to(_FOLDER).with_suffix("").parts) for file in files]
    modules = [importlib.import_module(name) for name in names if name.rpartition(".")[2] not in _TOO_BROAD]
    return trace(GUARDS, [detector for module in modules for detector in find_detectors(module)])


@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_some_test_notices_when_a_condition_is_switched_off(guard: Guard, tests_by_guard) -> None:
    reaching = tests_by_guard.get((guard.module, guard.position), [])
    if guard.module in SEARCHES:  # which every test runs: only those that are about it count
        own = f"tests.folding.test_{guard.module.rpartition('.')[2]}::"
        reaching = [test for test in reaching if test.name.startswith(own)]
    with mutant(guard):
        noticed = any(test.notices() for test in reaching)
    if str(guard) in UNNOTICEABLE:
        assert not noticed, "a test does notice: take it off the list of those that no test can notice"
        return
    assert noticed, "no test notices when this condition is switched off: add an entry to BROKEN"


def test_the_list_of_unnoticeable_conditions_is_current() -> None:
    assert set(UNNOTICEABLE) <= set(map(str, GUARDS))

"""Speed-ups that are demanded."""

import pytest

from bnfold.benchmarking.gating import Demand, judge, parse_demands
from bnfold.errors import BnfoldError
from bnfold.runtime.sessions import Level
from tests.benchmarking.cells import cell, ratios


@pytest.mark.parametrize(
    ("given", "demands"),
    [
        ((), []),
        (1.05, [Demand(1.05, Level.ALL)]),
        (2, [Demand(2.0, Level.ALL)]),
        ("1.05@disabled", [Demand(1.05, Level.DISABLED)]),
        (["0.98", "1.2@basic"], [Demand(0.98, Level.ALL), Demand(1.2, Level.BASIC)]),
    ],
)
def test_a_ratio_and_a_level(given, demands):
    assert parse_demands(given) == demands


@pytest.mark.parametrize("text", ["", "fast", "1.05@", "1.05@most", "@all", "0", "-1", "nan", "inf", "1.05@all@all"])
def test_what_is_no_demand_is_one_clear_line(text):
    with pytest.raises(BnfoldError) as caught:
        parse_demands([text])
    assert str(caught.value).startswith(f"--min-speedup {text}: give RATIO or RATIO@LEVEL")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ratio", "passed"), [(1.7, True), (1.8, False), (2.0, False), (2.3, False)])
def test_the_lower_bound_counts_not_the_middle(ratio, passed):
    faster = cell("all", latency=ratios(2.0, 2.1, 1.9))  # 1.76 to 2.26
    (gate,) = judge([Demand(ratio, Level.ALL)], [faster])
    assert (gate.passed, gate.low) == (passed, faster.latency.low)


def test_a_lower_bound_that_is_the_ratio_is_enough():
    (gate,) = judge([Demand(2.0, Level.ALL)], [cell("all", latency=ratios(2.0, 2.0))])
    assert gate.passed


def test_the_worst_place_of_the_level_decides_and_no_other_level():
    cells = [
        cell("all", latency=ratios(2.0, 2.0)),
        cell("all", latency=ratios(1.5, 1.5), batch=8),
        cell("disabled", latency=ratios(1.0, 1.0)),
    ]
    (gate,) = judge([Demand(1.6, Level.ALL)], cells)
    assert (gate.passed, gate.low) == (False, pytest.approx(1.5))
    assert gate.where == "cpu, 1 thread, batch 8, level all"
    assert str(gate) == "1.6@all"
    (gate,) = judge([Demand(1.4, Level.ALL)], cells)
    assert gate.passed

"""Folds of networks like those that people have: no correct one is refused, and every fault is caught by the ratio.

``benchmarks/calibrating.py`` has the networks and the faults, and prints the figures that ``docs/verifying.md`` has.
"""

import pytest

from benchmarks import calibrating
from bnfold.verifying import Verdict
from tests.helpers.marks import needs_openvino

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize("name", ["digits", "mobile", "dense"])
@pytest.mark.parametrize("fault", calibrating.FAULTS)
def test_every_fault_in_the_first_layer_is_caught_by_the_ratio(name, fault):
    """At other sites a weight or a bias may be of a channel that Relu cuts off."""
    model = calibrating.NETWORKS[name](0)
    comparison = calibrating.compare(model, calibrating.faulty(model, fault, 0), ())
    assert not comparison
    decisive = comparison.checks[-1]
    assert decisive.name.startswith("output ")
    assert decisive.verdict is Verdict.FAIL
    assert decisive.figure > decisive.limit == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", calibrating.NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_correct_fold_is_refused(name, dtype):
    """200 in all: 25 seeds of four networks, one of them trained, in two types; each at two levels."""
    for seed in range(100, 125):
        model = calibrating.NETWORKS[name](seed)
        model = calibrating.to_float16(model) if dtype == "float16" else model
        assert calibrating.compare(model, calibrating.folded(model), calibrating.LEVELS), seed


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("name", calibrating.NETWORKS)
def test_a_correct_fold_is_equivalent_on_another_provider_too(name):
    model = calibrating.NETWORKS[name](0)
    comparison = calibrating.compare(model, calibrating.folded(model), ("all",), providers=["openvino"])
    assert comparison
    assert "openvino, all" in comparison.settings

"""No correct fold is refused, and wrong ones are: the rule of ``judging.py`` on networks with few roundings.

The figures beside the limits in ``judging.py`` come from the same networks, more of them.
"""

import pytest

from bnfold.verifying import Verdict, verify
from tests.verifying.networks import FAULTS, random_network

pytestmark = pytest.mark.usefixtures("in_this_process")

OBSERVABLE = {"widths": (8, 16), "layers": 2, "var": (0.1, 2.0), "batch": "N"}


def refused(networks, fault=""):
    comparisons = [verify(network.reference(), network.folded(fault)) for network in networks]
    return [comparison for comparison in comparisons if not comparison]


def test_correct_folds_of_tiny_networks_are_equivalent():
    assert refused(random_network(seed) for seed in range(100)) == []


@pytest.mark.slow
def test_correct_folds_of_many_tiny_networks_are_equivalent():
    assert refused(random_network(seed) for seed in range(1000, 2000)) == []


def test_correct_folds_in_float16_are_equivalent():
    assert refused(random_network(seed, dtype="float16", var=(1e-2, 10.0)) for seed in range(12)) == []


def test_a_fold_that_is_far_better_than_its_reference_is_equivalent():
    """mean = 1000, var = 1e-6: the reference is off by 1e-3, its fold by 1e-7. A plain difference is no judge."""
    for seed in range(12):
        network = random_network(seed, mean=1000.0, var=(1e-6, 1.0001e-6))
        comparison = verify(network.reference(), network.folded())
        assert comparison
        assert comparison.oracle == "float64"
        assert comparison.outputs[0].needed_tolerance > 1e-5


def test_such_a_fold_is_said_to_be_the_better_of_the_two():
    network = random_network(3, mean=1000.0, var=(1e-6, 1.0001e-6), layers=1)
    comparison = verify(network.reference(), network.folded())
    assert "the candidate is closer to it than the reference" in comparison.checks[-1].message


@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_caught(operator, fault):
    network = random_network(0, operator=operator, **OBSERVABLE)
    assert verify(network.reference(), network.folded())
    for layer in range(2):
        comparison = verify(network.reference(), network.folded(fault, layer))
        assert not comparison
        assert comparison.checks[-1].verdict is Verdict.FAIL
        assert comparison.checks[-1].figure > comparison.checks[-1].limit


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_caught_in_nearly_all_networks_where_they_can_be_seen(fault):
    networks = [random_network(seed, **OBSERVABLE) for seed in range(2000, 2040)]
    assert len(refused(networks, fault)) >= 38

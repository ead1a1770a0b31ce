"""A small channel is judged by itself, however large the one beside it is."""

import numpy as np
import pytest

from bnfold.verifying import verify
from bnfold.verifying.channels import worst_channel
from tests.helpers.models import set_constant
from tests.verifying.networks import random_network

RNG = np.random.default_rng(0)
LARGE = 1e4
EXACT = [RNG.normal(size=(4, 3, 16)) * np.array([LARGE, 1, 1e-9])[:, None] for _ in range(2)]


def off_by(units, channel=1):
    """float32 arrays whose channels err by about one roundoff, but for one."""
    factors = np.ones(3)
    factors[channel] = units
    return [
        (exact * (1 + factors[:, None] * 2.0**-24 * RNG.choice([-8, 8], exact.shape))).astype(np.float32)
        for exact in EXACT
    ]


def of(*models):
    """Neighbours, as the judge gets them: for each set the arrays of all."""
    return lambda: list(zip(*models, strict=True))


def none_needed():
    raise AssertionError("neighbours are expensive, and not needed here")


def test_a_channel_that_errs_as_its_neighbours_do_is_fine():
    assert worst_channel(off_by(1), off_by(1), EXACT, none_needed) is None
    assert worst_channel(off_by(1), off_by(8), EXACT, of(off_by(1), off_by(8))) is None


def test_a_small_channel_that_errs_more_is_found_beside_a_large_one():
    channel, ratio = worst_channel(off_by(1), off_by(8), EXACT, of(off_by(1), off_by(1)))
    assert channel == 1
    assert ratio == pytest.approx(8, rel=0.2)


def test_a_neighbour_that_computes_something_else_excuses_nothing():
    wild = [array + np.float32(LARGE) for array in off_by(1)]
    assert worst_channel(off_by(1), off_by(8), EXACT, of(off_by(1), off_by(1), wild)) is not None


def test_a_channel_of_nearly_nothing_is_no_matter():
    assert worst_channel(off_by(1), off_by(100, channel=2), EXACT, none_needed) is None


def test_few_values_and_no_channels_are_left_to_the_whole_output():
    wrong = [array * 2 for array in EXACT]
    for cut in (np.s_[:1, :, :8], np.s_[:, 0, 0], np.s_[:, :1]):
        exact, bad = ([array[cut] for array in arrays] for arrays in (EXACT, wrong))
        assert worst_channel([array.astype(np.float32) for array in exact], bad, exact, none_needed) is None


@pytest.mark.usefixtures("in_this_process")
def test_a_weight_that_is_wrong_in_a_small_channel_is_caught_end_to_end():
    network = random_network(5, operator="Conv", layers=1, widths=(8, 8), var=(0.1, 2.0), batch="N")
    network.layers[0].scale[0] *= LARGE
    network.layers[0].shift[0] *= LARGE
    assert verify(network.reference(), network.folded())
    wrong = network.folded()
    value = wrong.graph.initializers["weight0"]
    weight = value.const_value.numpy().copy()
    weight[5] *= 1 + 2**-11
    value.const_value = None
    set_constant(wrong, value, weight)
    comparison = verify(network.reference(), wrong)
    failed = [check.name for check in comparison.checks if check.verdict == "fail"]
    assert failed == ["weight 'weight0'", "channels of 'y'"]

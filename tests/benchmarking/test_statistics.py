"""From times to a speed-up with its interval."""

import numpy as np
import pytest
from scipy import stats

from bnfold.benchmarking import Change
from bnfold.benchmarking.statistics import percentile, student_quantile, timing


@pytest.mark.parametrize("freedom", [*range(1, 41), 100, 1000])
def test_the_quantiles_are_those_of_students_distribution(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


STILL = [(1.0, 1.0)] * 3


def against(reference, candidate, control=STILL):
    return timing(list(zip(reference, candidate, strict=True)), control)


def test_the_interval_is_students_over_the_logarithms_of_the_ratios():
    reference, candidate = [2.0, 2.2, 1.9, 2.1], [1.0, 1.0, 1.1, 1.0]
    result = against(reference, candidate)
    logs = np.log(np.divide(reference, candidate))
    low, high = np.exp(stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs)))
    assert result.speedup == pytest.approx(stats.gmean(np.divide(reference, candidate)))
    assert (result.low, result.high) == (pytest.approx(low, rel=1e-4), pytest.approx(high, rel=1e-4))
    assert (result.reference.median, result.candidate.median) == (pytest.approx(2.05), 1.0)
    assert result.speedups == pytest.approx(np.exp(logs))


def test_the_detectable_effect_comes_from_the_control_around_no_effect_at_all():
    result = against([1.0] * 7, [1.0] * 7, [(1.02, 1.0), (1.02, 1.0), (1.02, 1.0)])
    assert result.detectable == pytest.approx(np.exp(stats.t.ppf(0.975, 3) * np.log(1.02) / 7**0.5), rel=1e-4)
    assert result.control == pytest.approx([1.02] * 3)


SMALL = ([1.02, 1.021, 1.019] * 3, [1.0] * 9)  # surely 2 % faster


@pytest.mark.parametrize(
    ("pairs", "control", "change"),
    [
        (([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]), STILL, Change.FASTER),
        (([1.0, 1.0, 1.0], [2.0, 2.1, 1.9]), STILL, Change.SLOWER),
        (SMALL, STILL, Change.FASTER),
        (SMALL[::-1], STILL, Change.SLOWER),
        (SMALL, [(1.0, 1.03)] * 3, Change.NO_CHANGE),  # a model against itself differs by more than 2 %
        (SMALL[::-1], [(1.0, 1.03)] * 3, Change.NO_CHANGE),
        (SMALL, [(1.0, 1.2)] * 3, Change.INCONCLUSIVE),  # and not even 5 % would have been seen
        (([1.0, 1.01, 0.99], [1.0, 1.0, 1.0]), STILL, Change.NO_CHANGE),
        (([1.0, 1.01, 0.99], [1.0, 1.0, 1.0]), [(1.0, 1.2)], Change.INCONCLUSIVE),
        (([1.0, 1.2, 0.9], [1.0, 1.0, 1.0]), STILL, Change.INCONCLUSIVE),  # it may be 20 % either way
        (([1.04, 1.06, 1.02, 0.999], [1.0] * 4), STILL, Change.INCONCLUSIVE),  # 1 is inside, and so is 1.06
        (([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]), STILL, Change.NO_CHANGE),
    ],
)
def test_the_verdict_is_what_interval_and_control_say(pairs, control, change):
    assert against(*pairs, control).change is change


def test_twice_as_fast_and_half_as_fast_cancel():
    assert against([2.0, 1.0], [1.0, 2.0]).speedup == pytest.approx(1)


@pytest.mark.parametrize("count", [*range(2, 20), 61])
def test_the_median_lies_between_the_ordered_values_that_the_binomial_distribution_names(count):
    times = against(range(1, count + 1), range(1, count + 1)).reference
    outside = int(times.low) - 1
    assert times.high == count - outside
    assert times.median == (count + 1) / 2
    if count < 6:
        assert outside == 0
    else:
        assert 2 * stats.binom.cdf(outside, count, 0.5) <= 0.05 < 2 * stats.binom.cdf(outside + 1, count, 0.5)


def test_the_tail_is_that_within_the_pairs_or_over_them():
    pairs = [(float(index), 1.0) for index in range(1, 41)]
    assert timing(pairs, STILL).reference.tail == 38
    within = timing(pairs, STILL, [(index + 0.5, 2.0) for index, _ in pairs])
    assert (within.reference.tail, within.candidate.tail) == (21, 2)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (100, 95)])
def test_the_percentile_is_not_exceeded_by_95_of_100(count, rank):
    assert percentile(list(range(count, 0, -1))) == rank


def test_the_interval_misses_in_one_trial_of_twenty_and_the_verdict_less_often():
    rng = np.random.default_rng(0)
    trials = [(pairs[:7], pairs[7:]) for pairs in rng.lognormal(0, 0.05, (2000, 10, 2)).tolist()]
    results = [timing([tuple(pair) for pair in pairs], control) for pairs, control in trials]
    assert 70 <= sum(result.low > 1 or result.high < 1 for result in results) <= 130
    assert 10 <= sum(result.change in (Change.FASTER, Change.SLOWER) for result in results) <= 100

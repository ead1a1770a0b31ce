"""From times to a speed-up with its interval."""

import numpy as np
import pytest
from scipy import stats

from bnfold.benchmarking import Change
from bnfold.benchmarking.statistics import student_quantile, timing


@pytest.mark.parametrize("freedom", [*range(1, 41), 100, 1000])
def test_the_quantiles_are_those_of_students_distribution(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


def test_the_interval_is_students_over_the_logarithms_of_the_ratios():
    reference, candidate = [2.0, 2.2, 1.9, 2.1], [1.0, 1.0, 1.1, 1.0]
    result = timing(reference, candidate)
    logs = np.log(np.divide(reference, candidate))
    low, high = np.exp(stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs)))
    assert result.speedup == pytest.approx(stats.gmean(np.divide(reference, candidate)))
    assert (result.low, result.high) == (pytest.approx(low, rel=1e-4), pytest.approx(high, rel=1e-4))
    assert (result.reference, result.candidate) == (pytest.approx(2.05), 1.0)
    assert result.speedups == pytest.approx(np.exp(logs))


@pytest.mark.parametrize(
    ("reference", "candidate", "change"),
    [
        ([2.0, 2.1, 1.9], [1.0, 1.0, 1.0], Change.FASTER),
        ([1.0, 1.0, 1.0], [2.0, 2.1, 1.9], Change.SLOWER),
        ([1.0, 1.2, 0.9], [1.0, 1.0, 1.0], Change.NO_CHANGE),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], Change.NO_CHANGE),
    ],
)
def test_the_verdict_is_what_the_interval_says(reference, candidate, change):
    assert timing(reference, candidate).change is change


def test_twice_as_fast_and_half_as_fast_cancel():
    assert timing([2.0, 1.0], [1.0, 2.0]).speedup == pytest.approx(1)


def test_equal_models_are_called_different_in_about_one_trial_of_twenty():
    rng = np.random.default_rng(0)
    times = rng.lognormal(0, 0.05, (2000, 2, 7))
    different = sum(timing(*pair).change is not Change.NO_CHANGE for pair in times.tolist())
    assert 70 <= different <= 130

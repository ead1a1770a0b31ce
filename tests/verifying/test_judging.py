"""The verdict on one output, from arrays alone."""

import numpy as np
import pytest

from bnfold.verifying import Verdict
from bnfold.verifying.judging import OutputRuns, judge

EXACT = np.linspace(1, 2, 64)
UNIT = 2.0**-24


def off_by(units, sets=2):
    """float32 arrays that are about so many roundoffs away from ``EXACT``."""
    signs = np.where(np.arange(64) % 2, 1, -1)
    return [(EXACT * (1 + units * UNIT * signs)).astype(np.float64) for _ in range(sets)]


def runs(reference, candidate, exact=(EXACT, EXACT), neighbours=None):
    def no_neighbours():
        raise AssertionError("neighbours are expensive, and not needed here")

    return OutputRuns("y", ["first", "second"], reference, candidate, exact, neighbours or no_neighbours)


def single(reference, candidate, **kwargs):
    checks, figures = judge(runs(reference, candidate, **kwargs))
    return checks[-1], figures


def wide(arrays):
    """Arrays whose type is float32 for the judge; their roundoff must not disturb the figures of the test."""
    return [np.asarray(array, np.float32) for array in arrays]


def test_a_candidate_as_good_as_the_reference_passes_without_neighbours():
    check, figures = single(wide(off_by(8)), wide(off_by(8)))
    assert check.verdict is Verdict.PASS
    assert figures.error_ratio == pytest.approx(1)
    assert figures.needed_tolerance == 0


@pytest.mark.parametrize(("units", "verdict"), [(8 * 1.3, "pass"), (8 * 1.75, "warn"), (8 * 2.5, "fail")])
def test_the_limits_are_one_and_a_half_and_two(units, verdict):
    same = wide(off_by(8))
    check, _ = single(same, wide(off_by(units)), neighbours=lambda: [[same[0]], [same[1]]])
    assert check.verdict == verdict
    assert check.figure == pytest.approx(units / 8, rel=0.05)
    assert check.limit == 2


def test_neighbours_that_err_as_much_excuse_the_candidate():
    worse = wide(off_by(20))
    check, _ = single(wide(off_by(8)), worse, neighbours=lambda: [[worse[0]], [worse[1]]])
    assert check.verdict is Verdict.PASS
    assert "8 neighbours" in check.message


def test_the_figure_is_the_root_mean_square_over_the_sets():
    candidate = [wide(off_by(8))[0], wide(off_by(24))[1]]
    check, _ = single(wide(off_by(8)), candidate, neighbours=lambda: [[], []])
    assert check.figure == pytest.approx(np.sqrt((1 + 9) / 2), rel=0.05)
    assert "largest on second" in check.message


def test_without_an_oracle_a_tolerance_decides():
    near, far = wide(off_by(0)), wide(off_by(1000))
    check, figures = single(near, wide(off_by(20)), exact=None)
    assert (check.verdict, check.limit, figures.error_ratio) == (Verdict.PASS, 1e-5, None)
    check, _ = single(near, far, exact=None, neighbours=lambda: [[near[0]], [near[1]]])
    assert check.verdict is Verdict.FAIL
    check, _ = single(near, far, exact=None, neighbours=lambda: [[far[0]], [far[1]]])
    assert check.verdict is Verdict.PASS, "a model whose weights cannot be rounded without moving it as far"


@pytest.mark.parametrize(("dtype", "limit"), [(np.float16, 2e-3), (np.float32, 1e-5), (np.float64, 1e-12)])
def test_the_tolerance_is_that_of_the_type(dtype, limit):
    arrays = [EXACT.astype(dtype)] * 2
    assert single(arrays, arrays, exact=None)[0].limit == limit


def test_another_shape_is_a_failure_whatever_it_holds():
    check, figures = single(wide(off_by(0)), [array[:3] for array in wide(off_by(0))])
    assert check.verdict is Verdict.FAIL
    assert "shape [3] instead of [64] on first" in check.message
    assert figures.needed_tolerance == np.inf


def test_integers_must_be_equal_and_the_first_difference_is_shown():
    left = [np.arange(4), np.arange(4)]
    right = [np.arange(4), np.array([0, 1, 7, 8])]
    check, figures = single(left, right)
    assert check.verdict is Verdict.FAIL
    assert check.message == "2 of 4 values differ on second; the first at [2]: 7 instead of 2"
    assert figures.error_ratio is None
    assert single(left, left)[0].verdict is Verdict.PASS


@pytest.mark.parametrize(("dtype", "ceiling"), [(np.float16, 2e-2), (np.float32, 1e-3)])
def test_neighbours_raise_the_tolerance_up_to_a_ceiling_and_outliers_do_not(dtype, ceiling):
    near = [EXACT.astype(dtype)] * 2
    far, apart = ([(EXACT * factor).astype(dtype)] * 2 for factor in (1.1, 1.5))
    check, _ = single(near, apart, exact=None, neighbours=lambda: [[far[0]], [far[1]]])
    assert (check.verdict, check.limit) == (Verdict.FAIL, ceiling)
    check, _ = single(near, apart, exact=None, neighbours=lambda: [[near[0], near[0], far[0]], [near[1]]])
    assert check.limit < ceiling


def classes(wrong, total=1000):
    """Integers for two sets, of which the first ``wrong`` are not the exact ones."""
    first = np.zeros(total, np.int64)
    first[:wrong] = 1
    return [first, np.zeros(total, np.int64)]


@pytest.mark.parametrize(
    ("own", "neighbour", "candidate", "verdict"),
    [
        (0, None, 0, "pass"),
        (0, None, 2, "warn"),  # luck
        (0, 0, 3, "fail"),
        (3, None, 8, "warn"),
        (3, 3, 9, "fail"),
        (0, 4, 10, "warn"),  # neighbours have as many
        (0, 4, 11, "fail"),
        (0, 600, 11, "fail"),  # an outlier
        (600, None, 601, "fail"),  # what disagrees with the reference so much is no judge
    ],
)
def test_integers_may_differ_where_sound_models_do(own, neighbour, candidate, verdict):
    def neighbours():
        assert neighbour is not None, "neighbours are expensive, and not needed here"
        return [[array] for array in classes(neighbour)]

    check, _ = single(classes(own), classes(candidate), exact=classes(0), neighbours=neighbours)
    assert check.verdict == verdict


def test_few_integers_have_no_luck():
    few = [classes(wrong, 30) for wrong in (0, 1)]
    assert single(few[0], few[1], exact=few[0], neighbours=lambda: [[], []])[0].verdict is Verdict.FAIL


def with_value(arrays, value):
    changed = [array.copy() for array in arrays]
    changed[1][5] = value
    return changed


@pytest.mark.parametrize(
    ("reference", "candidate", "exact", "verdict"),
    [
        (np.nan, 1, 1.0, "warn"),  # the candidate is right
        (1, np.nan, 1.0, "fail"),
        (np.inf, -np.inf, np.inf, "fail"),
        (np.inf, 1, np.inf, "fail"),
        (np.inf, np.inf, 1e39, "warn"),  # beyond float32 in both
        (np.nan, np.nan, np.nan, "warn"),
        (1, 1, np.nan, None),
    ],
)
def test_nan_and_inf(reference, candidate, exact, verdict):
    arrays = wide(off_by(0))
    checks, _ = judge(
        runs(with_value(arrays, reference), with_value(arrays, candidate), exact=with_value(off_by(0), exact))
    )
    verdicts = [check.verdict for check in checks if check.verdict is not Verdict.NOTE]
    assert verdicts == [verdict, "pass"][verdict is None :]


@pytest.mark.parametrize(
    ("reference", "candidate", "exact"),
    [
        (1, 1.01, np.nan),
        (1, 77, np.inf),
        (np.inf, 1.01, 1.0),
        (np.nan, -777, 1.0),
    ],
)
def test_where_one_of_the_three_is_not_finite_the_candidate_must_agree_with_the_other(reference, candidate, exact):
    arrays = wide(off_by(0))
    checks, _ = judge(
        runs(
            with_value(arrays, reference),
            with_value(arrays, candidate),
            exact=with_value(off_by(0), exact),
            neighbours=lambda: [[array] for array in with_value(arrays, reference)],
        )
    )
    (failed,) = [check for check in checks if check.verdict is Verdict.FAIL]
    assert failed.name == "NaN and Inf of 'y'"
    assert failed.figure > failed.limit == 1e-5


def test_one_sided_nan_without_an_oracle_is_a_failure():
    arrays = wide(off_by(0))
    checks, figures = judge(runs(with_value(arrays, np.nan), arrays, exact=None))
    assert [check.verdict for check in checks] == [Verdict.NOTE, Verdict.FAIL, Verdict.PASS]
    assert figures.nonfinite_mismatches == 1

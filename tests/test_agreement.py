"""The numbers behind the verdicts."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bnfold.agreement import error_ratio, nonfinite_mismatches, scaled_error, unit_roundoff

EXACT = np.array([1.0, 2.0, 3.0])


def float32(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("dtype", "exponent"), [(np.float16, -11), (ml_dtypes.bfloat16, -8), (np.float32, -24), (np.float64, -53)]
)
def test_unit_roundoff_is_half_the_step_at_1(dtype, exponent):
    assert unit_roundoff(np.dtype(dtype)) == 2.0**exponent


def test_error_ratio_is_the_error_of_the_candidate_in_errors_of_the_reference():
    assert error_ratio(float32(1.5, 2, 3), float32(1, 2, 2), EXACT) == pytest.approx(2)


def test_an_exact_reference_counts_as_one_roundoff():
    ratio = error_ratio(float32(1, 2, 3), float32(1, 2, np.nextafter(np.float32(3), 4)), EXACT)
    assert ratio == pytest.approx(2**-22 / (2**-24 * np.linalg.norm(EXACT)))


def test_two_exact_results_give_0_even_if_all_is_0():
    assert error_ratio(float32(1, 2, 3), float32(1, 2, 3), EXACT) == 0
    assert error_ratio(float32(0), float32(0), np.zeros(1)) == 0
    assert error_ratio(float32(0), float32(1), np.zeros(1)) == np.inf


def test_the_worst_neighbour_sets_the_measure_if_it_is_worse_than_the_reference():
    near, far = float32(1.1, 2, 3), float32(2, 2, 3)
    assert error_ratio(near, float32(3, 2, 3), EXACT, [far, near]) == pytest.approx(2)
    assert error_ratio(far, float32(3, 2, 3), EXACT, [near]) == pytest.approx(2)


def test_a_neighbour_that_computes_something_else_does_not_count():
    near, garbage = float32(1.1, 2, 3), float32(100, 2, 3)
    assert error_ratio(near, float32(3, 2, 3), EXACT, [near, near, garbage]) == pytest.approx(20, rel=1e-6)
    assert error_ratio(near, float32(3, 2, 3), EXACT, [near, float32(np.nan, 2, 3)]) == pytest.approx(20, rel=1e-6)
    larger = float32(5, 2, 3)
    assert error_ratio(near, float32(5, 2, 3), EXACT, [near, near, larger]) == pytest.approx(1)


def test_positions_that_are_not_finite_do_not_count():
    ratio = error_ratio(float32(np.inf, 2, 3.5), float32(1, np.nan, 3.25), EXACT)
    assert ratio == pytest.approx(0.5)


def test_bfloat16_is_measured_in_its_own_roundoff():
    exact = np.full(4, 1 + 2.0**-9)
    rounded = exact.astype(ml_dtypes.bfloat16)
    assert error_ratio(rounded, rounded, exact) < 1


def test_scaled_error_is_relative_to_the_largest_value():
    assert scaled_error(float32(10, 0), float32(10, 0.5)) == pytest.approx(0.05)
    assert scaled_error(float32(), float32()) == 0
    assert scaled_error(float32(np.nan), float32(1)) == 0


@pytest.mark.parametrize(
    ("left", "right", "count"),
    [
        ([1, np.nan, np.inf, -np.inf], [2, np.nan, np.inf, -np.inf], 0),
        ([np.nan, 1], [1, np.nan], 2),
        ([np.inf, np.inf, np.inf], [-np.inf, np.nan, 1], 3),
    ],
)
def test_nan_and_the_two_infinities_must_stand_at_the_same_places(left, right, count):
    assert nonfinite_mismatches(float32(*left), float32(*right)) == count


@given(arrays.arrays(np.float32, 5, elements=st.floats(-1e3, 1e3, width=32)))
def test_a_model_is_never_worse_than_itself(values):
    exact = values.astype(np.float64) * (1 + 1e-6)
    assert error_ratio(values, values, exact) <= 1
    assert scaled_error(values, values) == 0

"""The arithmetic of affines."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.affine import Affine


def random_affine(rng: np.random.Generator) -> Affine:
    return Affine.per_channel(rng.normal(0, 1, 3), rng.normal(0, 1, 3), rank=4)


def apply(affine: Affine, x: np.ndarray) -> np.ndarray:
    return affine.scale * x + affine.shift


def test_is_what_batch_normalization_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (2, 3, 4, 5))
    scale, bias, mean, var = rng.uniform(0.5, 2, (4, 3))
    affine = Affine.from_batch_norm(scale, bias, mean, var, 1e-5, rank=4)
    per_channel = [array.reshape(1, 3, 1, 1) for array in (scale, bias, mean, var)]
    want = per_channel[0] * (x - per_channel[2]) / np.sqrt(per_channel[3] + 1e-5) + per_channel[1]
    np.testing.assert_allclose(apply(affine, x), want, rtol=1e-13)


def test_float16_parameters_are_widened_first() -> None:
    """In float16 1e-8 is 0, and 1/√0 is infinite."""
    zeros, ones = np.zeros(2, np.float16), np.ones(2, np.float16)
    assert Affine.from_batch_norm(ones, zeros, zeros, zeros, 1e-8, rank=2).is_finite


def test_inverse_undoes() -> None:
    rng = np.random.default_rng(1)
    affine, x = random_affine(rng), rng.normal(0, 1, (2, 3, 4, 5))
    np.testing.assert_allclose(apply(affine.inverse(), apply(affine, x)), x, rtol=1e-10, atol=1e-12)


def test_a_scale_of_zero_has_no_inverse() -> None:
    affine = Affine.per_channel([1, 0], [0, 0], rank=2)
    assert not affine.is_invertible
    with pytest.raises(ZeroDivisionError):
        affine.inverse()


def test_axes_are_those_along_which_it_varies() -> None:
    assert Affine.identity(3).axes == frozenset()
    assert Affine.per_channel([1, 2], [0, 0], rank=3).axes == {1}
    assert Affine.per_channel([2, 2], [5, 5], rank=3).axes == frozenset()
    assert Affine(np.arange(4.0).reshape(1, 2, 2), np.zeros((1, 1, 1))).axes == {1, 2}


def test_vectors_of_one_axis() -> None:
    scale, shift = Affine.per_channel([1, 2], 3, rank=3).vectors(1, 2)
    assert scale.tolist() == [1, 2]
    assert shift.tolist() == [3, 3]
    assert Affine.per_channel([1, 2], 3, rank=3).vectors(-2, 2) is not None
    assert Affine.per_channel([1, 2], 3, rank=3).vectors(2, 2) is None
    assert Affine.per_channel([1, 2], 3, rank=3).vectors(1, 3) is None


def test_close_means_the_last_bits_of_float64() -> None:
    affine = Affine.per_channel([1.0, 2.0], [0.0, 1.0], rank=2)
    assert affine.is_close(affine.inverse().inverse())
    assert not affine.is_close(Affine.per_channel([1.0, 2.0 + 1e-9], [0.0, 1.0], rank=2))
    assert not affine.is_close(Affine.per_channel([1.0, 2.0], [1e-300, 1.0], rank=2))

"""Data derived from other data: the same each time, and each part from its own rows."""

import dataclasses

import numpy as np
import pytest

from bnfold.zoo import data, preparing

digits = data.load("digits")
each = pytest.mark.parametrize("prepare", [preparing.same, preparing.noisy, preparing.scattered, preparing.paired])


@each
def test_is_the_same_each_time(prepare):
    first, again = prepare(digits), prepare(digits)

    for part in ("train_inputs", "train_targets", "held_out_inputs", "held_out_targets"):
        assert (getattr(first, part) == getattr(again, part)).all()


@each
def test_is_float32_and_says_what_was_done(prepare):
    prepared = prepare(digits)

    assert prepared.train_inputs.dtype == prepared.held_out_inputs.dtype == np.float32
    assert prepared.description.startswith(f"{digits.description}; ")
    assert prepared.source == digits.source


@each
def test_what_is_held_out_does_not_depend_on_what_is_trained_on(prepare):
    fewer = dataclasses.replace(
        digits, train_inputs=digits.train_inputs[:9], train_targets=np.arange(9, dtype=np.int64) % 3
    )

    assert (prepare(fewer).held_out_inputs == prepare(digits).held_out_inputs).all()


def test_an_image_is_its_own_target():
    prepared = preparing.same(digits)

    assert (prepared.train_inputs == prepared.train_targets).all()
    assert (prepared.held_out_targets == digits.held_out_inputs).all()


def test_noise_has_the_deviation_it_promises_and_the_target_has_none():
    prepared = preparing.noisy(digits)
    parts = [
        prepared.train_inputs - prepared.train_targets,
        prepared.held_out_inputs - prepared.held_out_targets,
    ]

    for noise in parts:
        assert noise.std() == pytest.approx(preparing.NOISE, rel=0.01)
        assert noise.mean() == pytest.approx(0, abs=0.01)
    assert (prepared.train_targets == digits.train_inputs).all()
    assert (parts[0][: len(parts[1])] != parts[1]).all(), "both parts would have the same noise"


def test_points_lie_in_the_ink_and_as_often_as_it_is_dark():
    prepared = preparing.scattered(digits)
    rows = preparing.CLOUDS * 1347
    assert prepared.train_inputs.shape == (rows, 2, preparing.POINTS)
    assert np.abs(prepared.train_inputs).max() <= 1
    x, y = np.minimum((prepared.train_inputs.swapaxes(0, 1) + 1) * 4, 7.99).astype(int)
    drawn = digits.train_inputs[np.arange(rows)[:, None] % 1347, 0, y, x]

    assert drawn.min() > 0
    ink = digits.train_inputs.sum((0, 1)) / digits.train_inputs.sum()
    found = np.zeros((8, 8))
    np.add.at(found, (y, x), 1 / x.size)
    np.testing.assert_allclose(found, ink, atol=0.005)
    assert (prepared.train_targets.reshape(preparing.CLOUDS, 1347) == digits.train_targets).all()
    assert (prepared.train_inputs[:1347] != prepared.train_inputs[1347:2694]).all(), "each cloud is drawn anew"
    assert prepared.held_out_inputs.shape == (450, 2, preparing.POINTS)


def test_half_of_the_pairs_are_of_one_class_and_none_is_one_image_twice():
    label_of = {image.tobytes(): label for image, label in zip(digits.train_inputs, digits.train_targets, strict=True)}
    prepared = preparing.paired(digits)
    assert prepared.train_inputs.shape == (preparing.PAIRS * 1347, 2, 1, 8, 8)
    assert prepared.train_targets.mean() == 0.5

    for (first, second), same in zip(prepared.train_inputs, prepared.train_targets, strict=True):
        assert (label_of[first.tobytes()] == label_of[second.tobytes()]) == same
        assert first.tobytes() != second.tobytes()
    assert prepared.classes == ("different", "same")

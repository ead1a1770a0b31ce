"""The digits: real, split once and for all, scaled by a constant."""

import sys

import numpy as np
import pytest

from bnfold.errors import BnfoldError, MissingDependencyError
from bnfold.zoo import data


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_holds_out_a_quarter(digits):
    assert digits.train_inputs.shape == (1347, 1, 8, 8)
    assert digits.held_out_inputs.shape == (450, 1, 8, 8)
    assert len(digits.train_labels) == 1347
    assert len(digits.held_out_labels) == 450


def test_holds_out_the_same_share_of_every_digit(digits):
    train, held_out = (np.bincount(labels) for labels in (digits.train_labels, digits.held_out_labels))

    np.testing.assert_allclose(held_out / (train + held_out), 0.25, atol=0.01)


def test_uses_every_image_once(digits):
    together = np.concatenate([digits.train_inputs, digits.held_out_inputs])

    assert len(np.unique(together, axis=0)) == len(together)


def test_scales_ink_to_between_0_and_1(digits):
    assert digits.train_inputs.dtype == np.float32
    assert digits.train_labels.dtype == np.int64
    assert (digits.train_inputs.min(), digits.train_inputs.max()) == (0, 1)


def test_splits_the_same_way_each_time(digits):
    again = data.load("digits")

    assert (again.held_out_inputs == digits.held_out_inputs).all()
    assert (again.held_out_labels == digits.held_out_labels).all()


def test_says_what_there_is_when_asked_for_unknown_data():
    with pytest.raises(BnfoldError, match="no data set named 'letters'; there is: digits"):
        data.load("letters")


def test_names_the_extra_when_scikit_learn_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)

    with pytest.raises(MissingDependencyError, match=r"scikit-learn is not installed: pip install 'bnfold\[study\]'"):
        data.load("digits")


def test_does_not_call_a_broken_package_missing(monkeypatch, tmp_path):
    (tmp_path / "sklearn.py").write_text("import a_part_that_was_lost")
    monkeypatch.delitem(sys.modules, "sklearn")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="a_part_that_was_lost") as caught:
        data.load("digits")

    assert not isinstance(caught.value, BnfoldError)

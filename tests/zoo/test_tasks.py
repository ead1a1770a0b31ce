"""A loss to train with, a score to measure with."""

import math

import numpy as np
import pytest
import torch

from bnfold.zoo.tasks import CLASSIFY, REBUILD


def test_classifying_is_trained_with_cross_entropy_in_nats():
    loss = CLASSIFY.loss(torch.zeros(3, 10, requires_grad=True), torch.tensor([0, 1, 2]))

    assert loss.shape == ()
    assert loss.requires_grad
    assert loss.item() == pytest.approx(math.log(10))


def test_classifying_is_judged_by_the_share_that_is_right():
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)

    assert CLASSIFY.score(outputs, np.array([1, 0, 0, 0])) == 0.75


def test_rebuilding_is_trained_with_the_mean_squared_error():
    loss = REBUILD.loss(torch.full((2, 1, 2, 2), 3.0, requires_grad=True), torch.ones(2, 1, 2, 2))

    assert loss.requires_grad
    assert loss.item() == 4


def test_rebuilding_is_judged_by_the_explained_variance():
    targets = np.random.default_rng(0).random((50, 1, 8, 8), dtype=np.float32)
    grey = np.full_like(targets, targets.mean())

    assert REBUILD.score(targets, targets) == 1
    assert REBUILD.score(grey, targets) == pytest.approx(0, abs=1e-6)
    assert REBUILD.score((targets + grey) / 2, targets) == pytest.approx(0.75, abs=1e-6)
    assert REBUILD.score(1 - targets, targets) < 0

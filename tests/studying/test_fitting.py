"""The plain training loop, and its data."""

import math

import pytest
import torch
from torch import nn

from bnfold.studying.data import Split, load_split
from bnfold.studying.fitting import epochs_to, fit


def toy(rows=40):
    torch.manual_seed(0)
    inputs = torch.randn(rows, 3)
    targets = (inputs[:, 0] > 0).long()
    return Split(inputs, targets, inputs, targets, 2)


def test_one_step_is_that_of_gradient_descent() -> None:
    split = toy(8)
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    loss = nn.functional.cross_entropy(module(split.inputs), split.targets)
    gradient = torch.autograd.grad(loss, module.weight)[0]
    found = fit(module, split, rate=0.5, epochs=1, seed=0, batch=8)
    torch.testing.assert_close(module.weight, before - 0.5 * gradient)
    assert found.losses == [pytest.approx(loss.item())]


def test_learns_and_says_how_well_after_each_epoch() -> None:
    seen = []
    found = fit(nn.Linear(3, 2), toy(), rate=1.0, epochs=30, seed=0, batch=8, after=seen.append)
    assert len(found.losses) == len(found.accuracies) == len(seen) == 30
    assert found.losses[-1] < found.losses[0] / 2
    assert found.accuracies[-1] > 0.9


def test_whoever_watches_is_called_behind_every_step() -> None:
    module, seen = nn.Linear(3, 2), []
    fit(module, toy(), rate=1.0, epochs=2, seed=0, batch=16, watch=lambda: seen.append(module.weight.detach().clone()))
    assert len(seen) == 4  # the 8 rows that are left each time are no batch
    assert torch.equal(seen[-1], module.weight)
    assert not torch.equal(seen[-1], seen[-2])


def test_adam_moves_every_weight_by_the_rate_at_first() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    fit(module, toy(8), rate=0.01, epochs=1, seed=0, batch=8, optimizer="adam")
    torch.testing.assert_close((module.weight - before).abs(), torch.full((2, 3), 0.01), rtol=1e-3, atol=1e-6)


def test_what_is_no_longer_a_number_has_an_infinite_loss() -> None:
    found = fit(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), toy(), rate=1e30, epochs=4, seed=0, batch=8)
    assert found.losses[-1] == math.inf
    assert len(found.losses) == len(found.accuracies) == 4


def test_the_first_epoch_that_reaches_a_goal() -> None:
    assert epochs_to(0.9, [0.1, 0.9, 0.8]) == 2
    assert epochs_to(0.95, [0.1, 0.9, 0.8]) == math.inf


def test_digits_are_standardised_over_the_training_rows() -> None:
    split = load_split("digits")
    assert (split.features, split.classes) == (64, 10)
    assert len(split.inputs) == 1347
    assert split.inputs.mean(0).abs().max() < 1e-5
    spread = split.inputs.std(0, unbiased=False)
    constant = spread == 0
    assert 0 < constant.sum() < 5
    torch.testing.assert_close(spread[~constant], torch.ones(64)[~constant], rtol=1e-4, atol=0)
    assert not split.inputs[:, constant].any()


def test_some_rows_and_features_as_measured() -> None:
    split = load_split("wine", standardised=False, rows=20)
    assert len(split.inputs) == len(split.targets) == 20
    assert len(split.test_inputs) == 45
    assert split.inputs.max() > 1000


def test_validation_takes_training_rows_and_leaves_the_test_rows_out() -> None:
    whole = load_split("digits")
    tuning = whole.with_validation(1000)
    assert torch.equal(torch.cat([tuning.inputs, tuning.test_inputs]), whole.inputs)
    assert torch.equal(torch.cat([tuning.targets, tuning.test_targets]), whole.targets)
    assert len(tuning.inputs) == len(tuning.targets) == 1000
    assert tuning.classes == 10

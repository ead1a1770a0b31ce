"""Running statistics against what the input is like, on values worked out by hand."""

import copy

import pytest
import torch
from torch import nn

from bnfold.errors import BnfoldError
from bnfold.training.shift import statistics_lag, variance_shift

ROWS = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 16.0], [7.0, 16.0]])  # sample variances 20/3 and 12


def test_the_ratio_is_the_inputs_variance_over_the_running_one():
    norm = nn.BatchNorm1d(2).eval()
    norm.running_var.copy_(torch.tensor([10 / 3, 48.0]))
    found = variance_shift(norm, [ROWS[:3], ROWS[3:]])
    torch.testing.assert_close(found[""], torch.tensor([2.0, 0.25]).double())


def test_dropout_in_front_makes_it_what_the_algebra_says():
    # Inverted dropout with p = 0.5 of x = ±1, mean 0, doubles the variance: E[x²]/(1 − p).
    torch.manual_seed(0)
    x = torch.randn(4096, 64).sign()
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(64, momentum=None), nn.ReLU())
    network(x)
    before = copy.deepcopy(network.state_dict())
    found = variance_shift(network, [(x, "targets")])
    assert list(found) == ["1"]
    assert float(found["1"].mean()) == pytest.approx(0.5, abs=0.005)
    assert network[0].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_each_layer_meets_what_those_in_front_make_of_their_running_statistics():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).double()
    network[0].running_var.fill_(4.0)  # of an input with variance 1: half the deviation comes out
    x = nn.BatchNorm1d(2).double()(torch.randn(100, 2).double()).detach() * (99 / 100) ** 0.5
    found = variance_shift(network, [x])
    torch.testing.assert_close(found["0"], torch.full((2,), 0.25).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(found["1"], torch.full((2,), 0.25).double(), rtol=1e-4, atol=0)


def test_no_variance_and_no_data_are_said():
    with pytest.raises(BnfoldError, match="a single value a channel"):
        variance_shift(nn.BatchNorm1d(2), [ROWS[:1]])
    with pytest.raises(BnfoldError, match="no batch"):
        variance_shift(nn.BatchNorm1d(2), [])


def test_the_lag_is_that_of_a_moving_average_that_began_at_one():
    norm = nn.BatchNorm1d(2, momentum=0.25)
    for _ in range(3):
        norm(ROWS)
    exact, left = torch.tensor([20 / 3, 12.0]).double(), 0.75**3
    found = statistics_lag(nn.Sequential(norm), [ROWS[:2], ROWS[2:]])
    torch.testing.assert_close(found, {"0": (left * 1 + (1 - left) * exact) / exact}, rtol=1e-6, atol=0)
    assert norm.num_batches_tracked == 3

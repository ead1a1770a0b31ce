"""Internal covariate shift, against gradients worked out by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from bnfold.training.covariate import Turn, covariate_shift
from bnfold.training.noise import NoisyBatchNorm


def test_the_turn_of_the_second_of_two_linear_layers_is_what_the_algebra_says():
    # y = V·W·x with x = (1, 2), W = I, V = (1, 1); loss y. dloss/dV = W·x, dloss/dW = Vᵀ·xᵀ = [[1, 2], [1, 2]].
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[1].weight.fill_(1.0)
    x = torch.tensor([[1.0, 2.0]]).double()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)

    def loss():
        return network(x).sum()

    def step():
        loss().backward()
        optimizer.step()

    found = covariate_shift(network, loss, step)
    # W moves to I − 0.1·[[1, 2], [1, 2]], so that dloss/dV turns from (1, 2) to (0.5, 1.5).
    cosine = (0.5 + 3.0) / math.sqrt(5 * 2.5)
    assert found == {"1.weight": Turn(pytest.approx(cosine), pytest.approx(math.sqrt(0.5 / 5)))}
    # The step is the plain one, and V's gradient was taken with V as it was.
    torch.testing.assert_close(network[0].weight, torch.tensor([[0.9, -0.2], [-0.1, 0.8]]).double())
    torch.testing.assert_close(network[1].weight, torch.tensor([[0.9, 0.8]]).double())


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8), NoisyBatchNorm(8), nn.ReLU(),
        nn.Linear(8, 3),
    ).double()  # fmt: skip


def closures(module, rate):
    x, labels = torch.randn(32, 6, generator=torch.Generator().manual_seed(1)).double(), torch.arange(32) % 3
    optimizer = torch.optim.SGD(module.parameters(), rate)

    def loss():
        return nn.functional.cross_entropy(module(x), labels)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return loss, step


def test_measuring_changes_nothing_about_the_step():
    plain = network()
    measured = copy.deepcopy(plain)
    torch.manual_seed(5)
    closures(plain, 0.1)[1]()
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    covariate_shift(measured, *closures(measured, 0.1))
    assert torch.equal(torch.get_rng_state(), expected)
    for name, value in measured.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=0, atol=0)


def test_without_a_move_nothing_turns_though_dropout_and_noise_are_on():
    module = network()
    found = covariate_shift(module, *closures(module, 0.0))
    assert list(found) == ["4.weight", "7.weight"]
    assert all(turn == Turn(pytest.approx(1.0), 0.0) for turn in found.values())


def test_a_larger_step_turns_the_gradients_more_and_chosen_weights_only_are_measured():
    turns = []
    for rate in (0.01, 1.0):
        module = network()
        turns.append(covariate_shift(module, *closures(module, rate), weights=["5.weight"])["5.weight"])
    assert turns[0].alignment > turns[1].alignment
    assert turns[0].distance < turns[1].distance


def test_a_gradient_of_zero_has_no_direction():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.zero_()
    found = covariate_shift(module, lambda: module(torch.ones(1, 2)).sum(), lambda: None)["1.weight"]
    assert math.isnan(found.alignment)
    assert math.isnan(found.distance)

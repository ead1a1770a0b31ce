"""Probes, against what is worked out by hand."""

import math

import pytest
import torch
from torch import nn

from bnfold.training.probes import gradient_norms, preactivations, saturation


def test_gradient_norms_are_root_mean_squares_by_hand() -> None:
    # y = w2 · (w1 x), loss = y: d/dw1 = w2ᵀ x, d/dw2 = w1 x.
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        network[1].weight.copy_(torch.tensor([[5.0, 6.0]]))
    loss = network(torch.tensor([[1.0, -1.0]])).sum()
    found = gradient_norms(network, loss)
    assert list(found) == ["0.weight", "1.weight"]
    assert found["0.weight"] == pytest.approx(math.sqrt((25 + 25 + 36 + 36) / 4))  # ±5 and ±6
    assert found["1.weight"] == pytest.approx(1.0)  # 1 − 2 and 3 − 4


def test_gradient_norms_leave_everything_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    loss = network(torch.randn(8, 3)).square().mean()
    found = gradient_norms(network, loss)
    assert list(found) == ["0.weight", "2.weight"]  # neither biases nor BatchNorm's scale
    assert all(parameter.grad is None for parameter in network.parameters())
    loss.backward()  # the graph is still there
    assert found["0.weight"] == pytest.approx(network[0].weight.grad.square().mean().sqrt().item())


def test_gradient_norms_leave_out_what_is_frozen_or_unused() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "frozen": nn.Linear(2, 1), "unused": nn.Linear(2, 1)})
    network["frozen"].requires_grad_(False)
    loss = network["frozen"](network["a"](torch.ones(3, 2))).sum()
    assert list(gradient_norms(network, loss)) == ["a.weight"]


def test_saturation_counts_what_lies_beyond() -> None:
    network = nn.Sequential(nn.Identity(), nn.Sigmoid())
    inputs = torch.tensor([[-5.0, -4.0, 0.0, 4.1], [3.9, 100.0, -3.0, 4.0]])
    assert saturation(network, inputs) == {"1": 3 / 8}
    assert saturation(network, inputs, beyond=3.5) == {"1": 6 / 8}


def test_a_tanh_is_flat_at_half_of_where_a_sigmoid_is() -> None:
    inputs = torch.tensor([[-2.1, -1.9, 2.1, 0.0]])
    assert saturation(nn.Tanh(), inputs) == {"": 0.5}
    slope = 1 - math.tanh(2.0) ** 2
    assert slope == pytest.approx(4 / (2 + 2 * math.cosh(4.0)))  # four times the sigmoid's at 4


def test_layers_come_in_order_with_what_goes_into_each() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2), nn.Tanh(), nn.ReLU())
    inputs = torch.randn(5, 2)
    found = preactivations(network, inputs)
    assert list(found) == list(saturation(network, inputs)) == ["1", "3"]
    torch.testing.assert_close(found["1"], network[0](inputs).detach())
    assert list(preactivations(network, inputs, (nn.ReLU,))) == ["4"]


def test_batch_statistics_in_training_mode_and_running_ones_untouched() -> None:
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Sigmoid())
    inputs = torch.tensor([[0.0], [100.0]])
    assert saturation(network, inputs) == {"1": 0.0}  # ±1
    assert network[0].num_batches_tracked == 0
    assert network.training
    assert saturation(network.eval(), inputs) == {"1": 0.5}  # mean 0 and variance 1 are assumed


def test_what_an_activation_in_place_overwrites_is_seen_before() -> None:
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    found = preactivations(network, torch.tensor([[-3.0, 3.0]]), (nn.ReLU,))
    assert found["1"].tolist() == [[-3.0, 3.0]]

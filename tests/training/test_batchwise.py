"""Inference by the statistics of the batch."""

import pytest
import torch
from torch import nn

from bnfold.training.batchwise import batch_statistics
from bnfold.training.noise import NoisyBatchNorm


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(36, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip
    with torch.no_grad():
        for norm in (made[1], made[6]):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    return made.double()


def images(rows):
    return torch.randn(rows, 2, 5, 5, generator=torch.Generator().manual_seed(2)).double() * 3 + 1


def test_a_batch_is_normalised_as_in_training_but_without_dropout(network):
    network[3].p = 0.0
    expected = network.train()(images(16))
    network[3].p = 0.5
    with batch_statistics(network):
        torch.testing.assert_close(network(images(16)), expected, rtol=1e-12, atol=1e-12)


def test_modes_and_running_statistics_are_as_they_were_even_after_an_error(network):
    network(images(16))
    network[1].eval()
    modes = [part.training for part in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), batch_statistics(network):
        network(images(16)[..., :4, :4])  # at the Linear, behind a BatchNorm
    assert [part.training for part in network.modules()] == modes
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    first, second = network.eval()(images(4)), network(images(4))
    torch.testing.assert_close(first, second, rtol=0, atol=0)  # no hook is left


def test_of_a_single_row_only_the_bias_is_left(network):
    norm = network[6]
    with batch_statistics(network):
        found = torch.stack([network(image[None])[0] for image in images(3)])
    torch.testing.assert_close(found, network[8](norm.bias.relu()).expand(3, 3))


def test_noise_is_off_and_a_batch_norm_without_statistics_is_left_alone():
    network, x = nn.Sequential(NoisyBatchNorm(2), nn.BatchNorm2d(2, track_running_stats=False)), images(4).float()
    with batch_statistics(network):
        found = network(x)
    expected = nn.BatchNorm2d(2)(nn.BatchNorm2d(2)(x))
    torch.testing.assert_close(found, expected)

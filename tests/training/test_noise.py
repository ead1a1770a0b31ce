"""Noisy BatchNorm: the distribution that it leaves is drawn anew at each step."""

import pytest
import torch
from torch import nn

from bnfold import zoo
from bnfold.training.noise import NoisyBatchNorm, add_noise

STEPS, ROWS, CHANNELS = 400, 256, 8


@pytest.fixture(scope="module")
def shaken():
    """Mean and standard deviation of each channel, of each of many steps on the same batch."""
    torch.manual_seed(0)
    norm, x = NoisyBatchNorm(CHANNELS).double(), torch.randn(ROWS, CHANNELS).double()
    steps = torch.stack([norm(x) for _ in range(STEPS)]).detach()
    return steps.mean(1), steps.std(1)


def test_the_mean_wanders_over_the_whole_range_and_does_not_stay(shaken):
    means, _ = shaken
    # Uniform in ±0.5: a standard deviation of 1/√12, and that of the mean over the rows' own noise is 0.06/√256.
    assert float(means.std(0).mean()) == pytest.approx(12**-0.5, rel=0.05)
    assert -0.52 < float(means.min()) < -0.45
    assert 0.45 < float(means.max()) < 0.52
    assert abs(float(torch.corrcoef(torch.stack([means[:-1, 0], means[1:, 0]]))[0, 1])) < 0.15


def test_the_scale_wanders_above_one(shaken):
    _, deviations = shaken
    # s is uniform in 1…1.25; the rows' spreads of 0.1 in scale and 0.1/√3 in shift come on top: √(s² + .01 + .0033).
    assert float(deviations.mean()) == pytest.approx((1.125**2 + 0.01 + 0.01 / 3) ** 0.5, rel=0.01)
    assert float(deviations.min()) > 0.95
    assert float(deviations.max()) < 1.35


def test_without_noise_it_is_batch_norm_and_at_inference_as_well():
    x = torch.randn(16, 3, 4, 5, generator=torch.Generator().manual_seed(1)).double()
    same, still, noisy = (
        nn.BatchNorm2d(3).double(), NoisyBatchNorm(3, mean=0, scale=1, spread=0).double(), NoisyBatchNorm(3).double(),
    )  # fmt: skip
    torch.testing.assert_close(still(x), same(x), rtol=1e-12, atol=1e-12)
    assert bool(((noisy(x) - same(x)).abs() > 0.1).any())
    for norm in (same, still):
        norm.load_state_dict(noisy.state_dict())
    expected = same.eval()(x)
    torch.testing.assert_close(noisy.eval()(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(still.eval()(x), expected, rtol=0, atol=0)


def test_a_pixel_is_shaken_like_the_others_of_its_row_and_channel():
    x = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(1)).double()
    normal, noisy = nn.BatchNorm2d(3).double()(x), NoisyBatchNorm(3).double()(x)
    slopes = (noisy[..., 1:, :] - noisy[..., :-1, :]) / (normal[..., 1:, :] - normal[..., :-1, :])
    torch.testing.assert_close(slopes, slopes[..., :1, :1].expand_as(slopes))
    assert len(slopes[..., 0, 0].flatten().unique()) == 18


def test_torchs_seed_repeats_it_and_its_words_say_what_it_is():
    norm, x = NoisyBatchNorm(4, mean=0.2), torch.randn(8, 4)
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(norm(x))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert "mean=0.2, scale=1.25, spread=0.1" in repr(norm)
    with pytest.raises(ValueError, match="at least 2 axes, got 1"):
        norm(x[0])


def test_every_batch_norm_of_a_network_becomes_noisy_and_keeps_its_state():
    network = zoo.find("digits_cnn").build()
    network.bn1.momentum, network.bn2.eps = 0.3, 1e-3
    network.bn3.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert add_noise(network, mean=0.1) == 4
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert isinstance(network.bn1, NoisyBatchNorm)
    assert (network.bn1.momentum, network.bn2.eps, network.bn4.mean) == (0.3, 1e-3, 0.1)
    assert (network.bn2.training, network.bn3.training) == (True, False)
    assert add_noise(nn.Sequential(nn.Linear(2, 2))) == 0


def test_a_batch_norm_without_statistics_or_affine_becomes_noisy_too():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False, track_running_stats=False))
    x = torch.randn(8, 2)
    assert add_noise(network, mean=0, scale=1, spread=0) == 1
    torch.testing.assert_close(network.eval()(x), nn.BatchNorm1d(2, affine=False)(network[0](x)))

"""Networks with BatchNorm in every place."""

import math

import pytest
import torch
from torch import nn

from bnfold.studying.networks import kaiming, mlp, normal, xavier


@pytest.mark.parametrize(("placement", "names"), [
    ("none", "linear1 act1 linear2 act2 head"),
    ("pre", "linear1 norm1 act1 linear2 norm2 act2 head"),
    ("post", "linear1 act1 norm1 linear2 act2 norm2 head"),
    ("input", "norm1 linear1 act1 norm2 linear2 act2 head"),
])  # fmt: skip
def test_layers_stand_where_they_should(placement, names) -> None:
    network = mlp(5, 3, width=4, depth=2, placement=placement, activation="tanh")
    assert " ".join(dict(network.named_children())) == names
    assert network(torch.zeros(6, 5)).shape == (6, 3)
    widths = [part.num_features for part in network if isinstance(part, nn.BatchNorm1d)]
    assert widths == {"none": [], "input": [5, 4]}.get(placement, [4, 4])
    assert isinstance(network.act1, nn.Tanh)


def test_the_same_seed_draws_the_same_weights_wherever_batch_norm_stands() -> None:
    drawn = []
    for placement in ("none", "pre", "post", "input"):
        torch.manual_seed(0)
        drawn.append([part.weight for part in mlp(5, 3, placement=placement) if isinstance(part, nn.Linear)])
    for weights in drawn[1:]:
        assert all(torch.equal(one, other) for one, other in zip(weights, drawn[0], strict=True))


@pytest.mark.parametrize(("draw", "deviations"), [
    (kaiming, (math.sqrt(2 / 100), math.sqrt(2 / 300))),
    (xavier, (math.sqrt(2 / 400), math.sqrt(2 / 500))),
    (lambda module: normal(module, 3.0), (3.0, 3.0)),
])  # fmt: skip
def test_initial_weights_have_the_deviation_that_their_rule_gives_them(draw, deviations) -> None:
    torch.manual_seed(0)
    network = mlp(100, 200, width=300, depth=1)
    draw(network)
    for layer, deviation in zip((network.linear1, network.head), deviations, strict=True):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert not layer.bias.any()

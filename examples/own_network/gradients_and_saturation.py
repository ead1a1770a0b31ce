"""See which layers learn, and which sigmoids are flat, with and without BatchNorm."""

import torch
from torch import nn

from bnfold.training.probes import gradient_norms, saturation

DEPTH = 8
inputs, targets = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10


def network(*, norm: bool, deviation: float) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers += [nn.Linear(32, 32), *([nn.BatchNorm1d(32)] if norm else []), nn.Sigmoid()]
    made = nn.Sequential(*layers, nn.Linear(32, 10))
    for part in made:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=deviation)
    return made


ratios, shares = {}, {}
for norm in (False, True):
    small, large = network(norm=norm, deviation=0.2), network(norm=norm, deviation=2.0)
    gradients = list(gradient_norms(small, nn.functional.cross_entropy(small(inputs), targets)).values())
    ratios[norm] = gradients[0] / gradients[-2]  # the last is the head's
    flat = saturation(large, inputs)
    shares[norm] = sum(flat.values()) / len(flat)
    print(f"{'with' if norm else 'without'} BatchNorm: the first layer's gradient is {ratios[norm]:.1e} of the last "
          f"one's; with large weights {shares[norm]:.0%} of the sigmoids are flat")  # fmt: skip

assert ratios[False] < 1e-2 < 0.1 < ratios[True]
assert shares[True] < 0.01 < 0.3 < shares[False]

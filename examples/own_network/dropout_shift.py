"""See what Dropout does to the BatchNorm behind it."""

import torch
from torch import nn

from bnfold.training.shift import variance_shift

torch.manual_seed(0)
network = nn.Sequential(
    nn.Linear(32, 128), nn.ReLU(), nn.Dropout(0.5),
    nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(),
    nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.5),
    nn.Linear(128, 10),
)  # fmt: skip
batches = list(torch.randn(50, 64, 32))

for batch in batches:  # training, as far as the running statistics are concerned
    network(batch)

shift = {name: ratio.mean().item() for name, ratio in variance_shift(network, batches).items()}
for name, ratio in shift.items():
    print(f"{network.get_submodule(name)} as '{name}': at inference {ratio:.2f} of the variance that it recorded")

assert shift["4"] < 0.7  # right behind a Dropout
assert shift["7"] < 0.9  # its input is what the first made of a variance that is no longer there

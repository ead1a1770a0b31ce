"""Replace the moving average in a trained network by the statistics of all training data."""

import torch
from torch import nn

from bnfold.training import recompute_statistics
from bnfold.training.batchwise import batch_statistics
from bnfold.training.shift import statistics_lag
from bnfold.zoo import data

digits = data.load("digits")
inputs, targets = torch.from_numpy(digits.train_inputs).flatten(1), torch.from_numpy(digits.train_targets)
test, labels = torch.from_numpy(digits.held_out_inputs).flatten(1), torch.from_numpy(digits.held_out_targets)
batches = list(zip(inputs.split(64), targets.split(64), strict=True))  # a DataLoader does as well

torch.manual_seed(0)
network = nn.Sequential(
    nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=0.01), nn.ReLU(),
    nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=0.01), nn.ReLU(),
    nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
for _ in range(3):
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()


@torch.no_grad()
def accuracy() -> float:
    return (network.eval()(test).argmax(1) == labels).float().mean().item()


lag = torch.cat(list(statistics_lag(network, batches).values()))
before = accuracy()
print(f"running variance over the exact one: {lag.min():.2f} to {lag.max():.2f}; accuracy {before:.1%}")

count = recompute_statistics(network, batches, layer_by_layer=True)
lag = torch.cat(list(statistics_lag(network, [inputs]).values()))
after = accuracy()
print(f"{count} BatchNorms computed again: {lag.min():.2f} to {lag.max():.2f}; accuracy {after:.1%}")

with batch_statistics(network), torch.no_grad():  # what inference would be by the statistics of its batch
    alone = torch.cat([network(row[None]).argmax(1) for row in test])
print(f"by the statistics of a single sample it says: {alone.unique().tolist()}")

assert lag.sub(1).abs().max() < 1e-4
assert after > before
assert len(alone.unique()) == 1

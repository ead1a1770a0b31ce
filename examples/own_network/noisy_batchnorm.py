"""Shake what BatchNorm keeps still, and measure how far gradients turn because the layers in front have moved."""

import copy

import torch
from torch import nn

from bnfold.training.covariate import covariate_shift
from bnfold.training.noise import add_noise
from bnfold.zoo import data

digits = data.load("digits")
inputs, targets = torch.from_numpy(digits.train_inputs).flatten(1), torch.from_numpy(digits.train_targets)
test, labels = torch.from_numpy(digits.held_out_inputs).flatten(1), torch.from_numpy(digits.held_out_targets)

torch.manual_seed(0)
steady = nn.Sequential(
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Sigmoid(),
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Sigmoid(),
    nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Sigmoid(),
    nn.Linear(64, 10),
)  # fmt: skip
shaken = copy.deepcopy(steady)
print(f"{add_noise(shaken)} BatchNorms made noisy")  # in place, with the same state_dict


def train(network: nn.Module, rate: float = 0.3, epochs: int = 10) -> float:
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(inputs)).split(64)[:-1]:  # the last has 3 rows, and no statistics to speak of

            def loss(rows: torch.Tensor = rows) -> torch.Tensor:
                return nn.functional.cross_entropy(network(inputs[rows]), targets[rows])

            def step() -> None:
                optimizer.zero_grad()
                loss().backward()
                optimizer.step()

            step()
    turns = covariate_shift(network, loss, step)  # one step more, taken apart
    print("  " + ", ".join(f"{name} turned by a cosine of {turn.alignment:.3f}" for name, turn in turns.items()))
    with torch.no_grad():
        return (network.eval()(test).argmax(1) == labels).float().mean().item()


found = {name: train(network) for name, network in (("steady", steady), ("shaken", shaken))}
print(", ".join(f"{name}: {accuracy:.1%}" for name, accuracy in found.items()))
assert min(found.values()) > 0.9  # the noise does not undo what BatchNorm does

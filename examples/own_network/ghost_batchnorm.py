"""Give large batches the noise of small ones: ghost BatchNorm."""

import torch
from torch import nn

from bnfold.training.norms import parse_norm, set_norms

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
images = torch.randn(256, 3, 8, 8)


def noise() -> float:
    """How much the output for one image depends on the rest of its batch: the deviation over 50 batches."""
    network.train()
    with torch.no_grad():
        outputs = torch.stack([network(images[torch.cat([torch.zeros(1).long(), 1 + torch.randperm(255)[:127]])])[0]
                               for _ in range(50)])  # fmt: skip
    return outputs.std(0).mean().item()


whole = noise()
set_norms(network, parse_norm("ghost:8"))  # in place; same weights, same running statistics, same state_dict
ghost = noise()

print(network[1])
print(f"noise of batches of 128: {whole:.4f}; normalised by eights: {ghost:.4f}, × {ghost / whole:.1f}")
assert 2.5 < ghost / whole < 6  # by the law 1/√B it is √(128/8) = 4

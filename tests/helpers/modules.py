"""PyTorch modules for tests, with statistics as if they had been trained."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Tokens(nn.Module):
    """Linear over C, BatchNorm over L: the same size, and another axis."""

    def __init__(self):
        super().__init__()
        self.linear, self.bn = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, tokens):
        return self.bn(self.linear(tokens))


def layers(module, kinds):
    return [(path, part) for path, part in module.named_modules() if isinstance(part, kinds)]


def randomised(module, *, seed=0, positive=False, shift=True, dead=False):
    """Draw all weights and statistics of a module; its mode and dtype stay as they are.

    Args:
        module: It is changed.
        seed: Of the numbers drawn.
        positive: Whether every γ is.
        shift: Whether norms shift anything.
        dead: Whether every other channel has γ = 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / max(1, parameter[0].numel()) ** 0.5)
        for _, norm in layers(module, BATCH_NORMS):
            for tensor in (norm.running_mean, norm.bias):
                if tensor is not None:
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * shift)
            for tensor in (norm.running_var, norm.weight):
                if tensor is not None:
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            if norm.weight is not None and not positive:
                norm.weight.mul_(torch.randn(norm.weight.shape, generator=generator).sign())
            if norm.weight is not None and dead:
                norm.weight[::2] = 0
    return module


def image(rows=2):
    return torch.randn(rows, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def scaled_error(reference, candidate):
    """The largest difference of the outputs over the largest number of that output."""
    pairs = zip(tree_leaves(reference), tree_leaves(candidate), strict=True)
    with torch.no_grad():
        return max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)


def fused_by_torch(module):
    """What torch.fx's own fusion makes of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's, about its own code
        from torch.fx.experimental.optimization import fuse
    return fuse(module)

"""``fold_module`` on modules put together at random: equal in float64, whatever goes and whatever stays."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn

from bnfold.exporting import fold_module
from tests.helpers.modules import BATCH_NORMS, layers, randomised, scaled_error

WIDTH = 4


class Network(nn.Module):
    """Layers in a row and steps between them, some of them layers that were called before."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)  # noqa: S311
        self.layers, self.steps = nn.ModuleList(), []
        self.add(nn.Conv2d(3, WIDTH, 3, padding=1, bias=self.flip()))
        for _ in range(self.random.randint(4, 7)):
            self.random.choice([self.convolve, self.convolve, self.activate, self.branch, self.reuse, self.shuffle])()
            if self.flip(0.8):
                self.add(nn.BatchNorm2d(WIDTH, affine=self.flip(0.8)))
        self.activate()
        self.rows, self.last = nn.Linear(WIDTH, 5, bias=self.flip()), nn.BatchNorm1d(5)

    def flip(self, chance=0.5):
        return self.random.random() < chance

    def add(self, layer):
        self.layers.append(layer)
        self.steps.append(("call", len(self.layers) - 1))

    def convolve(self):
        choose = self.random.choice
        bias, groups = self.flip(), choose([1, 1, 2, WIDTH])
        if self.flip(0.3):
            self.add(nn.ConvTranspose2d(WIDTH, WIDTH, 3, padding=1, groups=groups, bias=bias))
        else:
            kernel, mode = choose([1, 3]), choose(["zeros", "zeros", "reflect"])
            self.add(nn.Conv2d(WIDTH, WIDTH, kernel, 1, kernel // 2, 1, groups, bias, mode))

    def activate(self):
        inplace = self.flip()
        self.add(self.random.choice([nn.ReLU(inplace), nn.ReLU(inplace), nn.PReLU(), nn.SiLU(inplace), nn.ReLU6()]))

    def branch(self):
        self.steps += [("remember", None)]
        self.random.choice([self.convolve, lambda: self.add(nn.BatchNorm2d(WIDTH)), self.activate])()
        if self.flip():
            self.activate()
        self.convolve()
        self.steps += [(self.random.choice(["plus", "plus", "times"]), None)]

    def reuse(self):
        self.steps.append(("call", self.random.randrange(1, len(self.layers)) if len(self.layers) > 1 else 0))
        if self.steps[-1][1] == 0:
            self.steps.pop()

    def shuffle(self):
        self.steps.append((self.random.choice(["pool", "flip", "scale", "split"]), None))

    def forward(self, x):
        memory = []
        for step, index in self.steps:
            if step == "call":
                x = self.layers[index](x)
            elif step == "remember":
                memory.append(x)
            elif step == "plus":
                x = memory.pop() + x
            elif step == "times":
                x = memory.pop() * x
            elif step == "pool":
                x = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            elif step == "flip":
                x = x.flip(1)
            elif step == "scale":
                x = 0.5 * x
            else:
                x = torch.cat(x.split(WIDTH // 2, 1)[::-1], 1)
        return nn.functional.silu(self.last(self.rows(x.mean((2, 3)))))


def check(seed):
    module = randomised(Network(seed).double().eval(), seed=seed, positive=seed % 3 == 0, dead=seed % 4 == 1)
    before = copy.deepcopy(module.state_dict())
    result = fold_module(module, torch.randn(2, 3, 6, 6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    picture = torch.randn(3, 3, 7, 5, dtype=torch.float64)
    given = picture.clone()
    expected = module(picture)
    assert scaled_error(expected, result.module(picture)) < 1e-10
    assert torch.equal(picture, given)
    norms = {path for path, _ in layers(module, BATCH_NORMS)}
    gone, kept = ({layer.layer for layer in part} for part in (result.folded, result.kept))
    assert norms <= gone | kept
    assert not gone & kept
    return len(gone), len(kept)


def test_random_modules_stay_equal():
    assert check(0)[0]


@pytest.mark.slow
def test_more_random_modules_stay_equal():
    counts = [check(seed) for seed in range(1, 16)]
    assert sum(gone for gone, _ in counts) > 20
    assert sum(kept for _, kept in counts) > 5

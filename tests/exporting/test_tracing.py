"""What a module does in training, call by call."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnfold.errors import ModelError
from bnfold.exporting.tracing import trace


class Net(nn.Module):
    """One of each: what has a module of its own, what has none, and what works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4, momentum=0.3)
        self.act = nn.ReLU(inplace=True)
        self.plain = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 2, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x)))
        if self.training:
            x = functional.dropout(x, 0.25)
        return self.head(self.plain(x) + x)


X = (torch.zeros(2, 1, 8, 8),)


def test_notes_each_call_with_where_its_inputs_came_from() -> None:
    calls = trace(Net(), X)
    assert [(call.function, call.name, call.inputs) for call in calls] == [
        ("conv2d", "conv", (-1,)),
        ("batch_norm", "norm", (0,)),
        ("relu", "act", (1,)),
        ("dropout", "dropout", (2,)),
        ("batch_norm", "plain", (3,)),
        ("add", "add", (4, 3)),
        ("flatten", "head.0", (5,)),
        ("linear", "head.1", (6,)),
    ]
    assert [call.biases for call in calls if call.function in ("conv2d", "linear")] == [4, 0]
    assert [call.rate for call in calls if call.rate is not None] == [0.25]
    assert calls[4].shape == (2, 4, 6, 6)


def test_notes_what_a_batch_norm_holds() -> None:
    calls = trace(Net(), X)
    norm, plain = calls[1].norm, calls[4].norm
    assert (norm.momentum, norm.batches, norm.epsilon) == (0.3, 0, 1e-5)
    assert not norm.mean.any()
    assert (norm.var == 1).all()
    assert (plain.momentum, plain.batches, plain.mean, plain.var) == (None, None, None, None)
    assert (plain.scale == 1).all()
    assert plain.scale.shape == (4,)


def test_leaves_the_module_and_the_random_numbers_as_they_are() -> None:
    module = Net().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    trace(module, X)
    assert torch.equal(torch.get_rng_state(), state)
    assert not module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not module.conv._forward_hooks


def test_what_the_module_raises_is_said_in_one_line() -> None:
    with pytest.raises(ModelError, match="cannot be run in training mode: Expected more than 1 value per channel"):
        trace(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), (torch.zeros(1, 1, 8, 8),))

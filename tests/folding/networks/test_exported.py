"""Networks as torch exports them: parameters through Shape, Expand and CastLike, sizes computed in the graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bnfold
from tests.helpers import oracle
from tests.helpers.exports import to_onnx
from tests.helpers.networks import remaining

pytestmark = pytest.mark.slow


class ConformerConvolution(nn.Module):
    """Gulati et al. 2020."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(1),
            nn.Conv1d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x):
        return x + self.layers(self.norm(x).transpose(1, 2)).transpose(1, 2)


class LeViTAttention(nn.Module):
    """Graham et al. 2021: a Linear without a bias and BatchNorm1d on the tokens as rows, around an attention."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.bn_qkv, self.bn_project = nn.BatchNorm1d(3 * width), nn.BatchNorm1d(width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.bn_qkv(self.qkv(x).flatten(0, 1)).reshape(batch, tokens, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        attention = (q @ k.transpose(-2, -1) * width**-0.5).softmax(-1)
        h = nn.functional.hardswish((attention @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.bn_project(self.project(h).flatten(0, 1)).reshape(batch, tokens, width)


def dcgan_generator() -> nn.Module:
    """Radford et al. 2016; the second BN has no parameters of its own, which torch exports as computed ones."""
    return nn.Sequential(
        nn.ConvTranspose2d(6, 5, 3, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.ConvTranspose2d(5, 4, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1),
        nn.Tanh(),
    )


# name: (what makes the module, the shape of its input without the batch, its BatchNormalizations)
MODULES = {
    "dcgan_generator": (dcgan_generator, (6, 1, 1), 2),
    "conformer_convolution": (ConformerConvolution, (7, 4), 1),
    "levit_attention": (LeViTAttention, (5, 8), 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_none_remains(name) -> None:
    make, shape, before = MODULES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().double()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(part.running_mean)
                nn.init.uniform_(part.running_var, 0.5, 2.0)
                for parameter in part.parameters():
                    nn.init.normal_(parameter)
        example = torch.randn(3, *shape, dtype=torch.float64)
    model = to_onnx(module, example, input_name="x", output_name="y")
    assert remaining(model) >= before
    result = bnfold.fold(model)
    assert sum(entry.is_batch_norm for entry in result.folded) == before
    assert not [kept for kept in result.kept if kept.is_batch_norm]
    oracle.assert_equal(model, result.model)
    with torch.no_grad():
        np.testing.assert_allclose(
            oracle.run(result.model, {"x": example.numpy()})[0], module.eval()(example).numpy(), rtol=1e-6, atol=1e-6
        )

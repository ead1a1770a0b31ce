"""``bnfold.fold(torch.onnx.export(…, dynamo=True, optimize=False).model)``, with no file in between."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import nn

import bnfold
from tests.helpers.models import affines
from tests.helpers.modules import Tokens, randomised, scaled_error


def exported(module, *inputs, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own code
        return torch.onnx.export(module, inputs, dynamo=True, optimize=False, verbose=False, **options).model


class Encoder(nn.Module):
    """Conv1d → BN over sequences of any length, a BN that a Linear takes in, and a Linear that no fold touches."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(3, 4, 3, padding=1, bias=False), nn.BatchNorm1d(4)
        self.norm, self.reader = nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False)
        self.head = nn.Linear(5, 2)

    def forward(self, signal):
        x = self.norm(self.bn(self.conv(signal)).sigmoid())
        return self.head(self.reader(x.transpose(1, 2)).tanh())


def test_sizes_by_name_and_weights_in_the_modules_own_memory(tmp_path):
    module, signal = randomised(Encoder().eval()), torch.randn(2, 3, 9)
    before = copy.deepcopy(module.state_dict())
    sizes = {"signal": {0: torch.export.Dim("batch"), 2: torch.export.Dim("length", min=2)}}
    model = exported(module, signal, input_names=["signal"], output_names=["scores"], dynamic_shapes=sizes)
    original = model.clone()

    result = bnfold.fold(model)

    assert (affines(model), affines(result.model), result.kept) == (2, 0, ())
    for side in ("inputs", "outputs"):
        sizes = [(value.name, str(value.shape)) for value in getattr(original.graph, side)]
        assert [(value.name, str(value.shape)) for value in getattr(result.model.graph, side)] == sizes
    assert str(result.model.graph.inputs[0].shape) == "[batch,3,length]"
    assert {"conv.weight", "head.weight", "head.bias"} <= result.model.graph.initializers.keys()
    untouched = result.model.graph.initializers["head.weight"].const_value.numpy()
    assert np.shares_memory(untouched, module.head.weight.detach().numpy())
    changed = result.model.graph.initializers["conv.weight"].const_value.numpy()
    assert not np.shares_memory(changed, module.conv.weight.detach().numpy())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())

    result.save(tmp_path / "folded.onnx")
    assert affines(ir.load(tmp_path / "folded.onnx")) == 0
    assert bnfold.verify(original, tmp_path / "folded.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "folded.onnx", providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 9), (5, 3, 4)):
        signal = torch.randn(shape)
        (scores,) = session.run(None, {"signal": signal.numpy()})
        assert scaled_error(module(signal), torch.from_numpy(scores)) < 1e-5


def test_a_linear_over_channels_and_a_norm_over_tokens_stay_apart():
    model = exported(randomised(Tokens().eval()), torch.randn(2, 6, 6))
    result = bnfold.fold(model)
    assert (len(result.folded), len(result.kept)) == (0, 1)
    assert bnfold.verify(model, result.model)


def test_half_precision_stays_half_precision():
    module = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())).half().eval()
    model = exported(module, torch.randn(2, 3, 6, 6).half())
    result = bnfold.fold(model)
    assert [entry.node for entry in result.kept] == []
    dtypes = {value.dtype for value in result.model.graph.initializers.values()}
    assert dtypes == {ir.DataType.FLOAT16}
    assert bnfold.verify(model, result.model)

"""Where every parameter is, or why it is nowhere."""

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from bnfold.exporting.caller import Caller
from bnfold.exporting.coverage import account_for
from bnfold.exporting.shapes import InputShape

FEEDS = {"x": np.ones((2, 3), np.float32)}
CALLER = Caller((InputShape("x", (2, 3), "float32"),), by_keyword=False, outputs=("y",))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.arange(9.0).reshape(3, 3))
        self.unused = nn.Parameter(torch.full((3,), 7.0))
        self.register_buffer("offset", torch.tensor([1.0, 2.0, 3.0]))
        self.register_buffer("steps", torch.tensor([4, 5]))

    def forward(self, x):
        return x @ self.used + self.offset


def reasons(**initializers):
    """What is not in a graph that holds these."""
    values = []
    for name, array in initializers.items():
        tensor = ir.tensor(np.asarray(array), name=name)
        values.append(ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor))
    model = ir.Model(ir.Graph([], [], nodes=[], initializers=values), ir_version=10)
    return {entry.name: entry.reason for entry in account_for(model, Net(), CALLER, FEEDS)}


UNREAD = {"unused": "not read at inference", "steps": "not in the graph as such"}
USED = np.arange(9, dtype=np.float32).reshape(3, 3)
OFFSET = np.array([1, 2, 3], np.float32)


def test_by_name_and_by_value_transposed_and_reshaped():
    assert reasons(used=USED, offset=OFFSET) == UNREAD
    assert reasons(a=USED, b=OFFSET) == UNREAD
    assert reasons(a=USED.T, b=OFFSET.reshape(1, 3, 1)) == UNREAD
    assert reasons(used=USED, offset=OFFSET, s=np.array([4, 5])) == {"unused": UNREAD["unused"]}


def test_what_has_another_value_under_its_name_is_not_there():
    assert reasons(used=USED + 1, offset=OFFSET) == {"used": "the graph holds what is computed with it", **UNREAD}


def test_asks_the_network_what_it_reads():
    computed = "the graph holds what is computed with it"
    assert reasons() == {"used": computed, "offset": computed, **UNREAD}


def test_leaves_the_module_without_gradients():
    module = Net()
    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    account_for(model, module, CALLER, FEEDS)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not module.offset.requires_grad

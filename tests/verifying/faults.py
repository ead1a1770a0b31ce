"""Folds of whole networks with one fault in one of their sites: the table of faults that tolerances overlook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

import bnfold
from bnfold import modelfile
from tests.folding.networks.test_mobile import mobilenet_v2
from tests.helpers.networks import Network

if TYPE_CHECKING:
    from bnfold.folding import Folded, FoldResult

# By what each does to the parameters of the BatchNormalization: folding that is folding wrong.
PARAMETERS = ("epsilon dropped", "epsilon outside the root", "unbiased variance")
# By what each does to the weights of the fold.
WEIGHTS = ("one weight off by 1e-3", "weights rounded to float16", "two channels swapped", "bias of one channel lost")
FAULTS = (*PARAMETERS, *WEIGHTS)


@dataclass(frozen=True)
class Site:
    """A BatchNormalization that was folded, and the nodes that took it in."""

    name: str
    into: tuple[str, ...]


def digits_cnn() -> ir.Model:
    return modelfile.load("models/digits_cnn/model.onnx")


def small_resnet(seed: int = 0) -> ir.Model:
    """Two blocks with the identity, and one with a Conv, as their shortcut."""
    net = Network("float[N,3,8,8] x")
    h = net.relu(net.bn(net.conv("x", 8, 3, 3, 3), 8))
    for inputs, outputs, stride in ((8, 8, 1), (8, 12, 2), (12, 12, 1)):
        r = net.relu(net.bn(net.conv(h, outputs, inputs, 3, 3, stride=stride), outputs))
        r = net.bn(net.conv(r, outputs, outputs, 3, 3), outputs)
        if stride > 1:
            h = net.bn(net.conv(h, outputs, inputs, 1, 1, stride=stride), outputs)
        h = net.relu(net.add(r, h))
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 12, 4)
    return in_float32(net.model(f"[N,4] {y}", seed=seed))


def small_mobilenet() -> ir.Model:
    return in_float32(mobilenet_v2())


def in_float32(model: ir.Model) -> ir.Model:
    """The same network with weights, inputs and outputs of 32 bits."""
    for value in model.graph.initializers.values():
        if value.dtype is ir.DataType.DOUBLE:
            put(value, value.const_value.numpy().astype(np.float32))
    values = [*model.graph.inputs, *model.graph.outputs, *(v for node in model.graph for v in node.outputs)]
    for value in values:
        if value.dtype is ir.DataType.DOUBLE:
            value.dtype = ir.DataType.FLOAT
    for node in model.graph:
        if node.op_type == "Constant" and "value" in node.attributes:
            array = node.attributes["value"].as_tensor().numpy()
            if array.dtype == np.float64:
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array.astype(np.float32)))
    return model


NETWORKS = {"digits_cnn": digits_cnn, "small_resnet": small_resnet, "small_mobilenet": small_mobilenet}


def sites_of(result: FoldResult) -> list[Site]:
    return [Site(entry.node, tuple(into.node for into in entry.into)) for entry in result.folded]


def faulty_fold(reference: ir.Model, fault: str, number: int) -> tuple[Site, ir.Model]:
    """The fold of a model with one fault at one of its sites."""
    result = bnfold.fold(reference)
    entry = result.folded[number]
    site = Site(entry.node, tuple(into.node for into in entry.into))
    if fault in PARAMETERS:
        return site, bnfold.fold(_with_other_parameters(reference, entry.node, fault)).model
    return site, _with_other_weights(result.model, entry, fault)


def _with_other_parameters(reference: ir.Model, name: str, fault: str) -> ir.Model:
    model = reference.clone()
    node = next(node for node in model.graph if name in {node.name, node.outputs[0].name})
    epsilon = node.attributes.get_float("epsilon", float(np.float32(1e-5)))
    # In float64, which may stand beside data in float32 since opset 15: there is one rounding, that of the fold.
    mean, var = (value.const_value.numpy().astype(np.float64) for value in node.inputs[3:5])
    if fault == "epsilon dropped":
        node.attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.0)
    elif fault == "epsilon outside the root":
        var = (np.sqrt(var) + epsilon) ** 2 - epsilon
    else:
        var = var * 256 / 255
    for value, array in zip(node.inputs[3:5], (mean, var), strict=True):
        put(value, array)
    return model


def put(value: ir.Value, array: np.ndarray) -> None:
    """Other numbers in the place of an initializer; the type is a new one, for clones share theirs."""
    value.const_value = ir.tensor(array, name=value.name)
    value.type = ir.TensorType(value.const_value.dtype)


def _with_other_weights(folded: ir.Model, entry: Folded, fault: str) -> ir.Model:
    model = folded.clone()
    into = entry.into[0]
    node = next(node for node in model.graph if into.node in {node.name, node.outputs[0].name})
    weight, bias = node.inputs[1], node.inputs[2]
    w, b = (value.const_value.numpy().copy() for value in (weight, bias))
    if fault == "one weight off by 1e-3":
        w.flat[np.argmax(np.abs(w))] += 1e-3
    elif fault == "weights rounded to float16":
        w = w.astype(np.float16).astype(w.dtype)
    elif fault == "two channels swapped":
        w[[0, 1]], b[[0, 1]] = w[[1, 0]], b[[1, 0]]
    else:
        b[0] = 0
    put(weight, w)
    put(bias, b)
    return model

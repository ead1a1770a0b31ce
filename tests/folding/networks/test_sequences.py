"""Networks over sequences: CRNN, and the convolution module of a Conformer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import bnfold
from tests.helpers.models import constant
from tests.helpers.networks import Network, assert_remain, remaining


def to_sequence(net: Network, image: str) -> str:
    """[N, C, 1, W] → [W, N, C]."""
    return net.transpose(net.op("Squeeze", image, net.integers(2)), 2, 0, 1)


def bilstm(net: Network, sequence: str, inputs: int, hidden: int) -> str:
    """[T, N, inputs] → [T, N, 2·hidden]."""
    weights = [net.weight(2, 4 * hidden, size) for size in (inputs, hidden)]
    both = net.op(
        f'LSTM <hidden_size = {hidden}, direction = "bidirectional">', sequence, *weights, net.weight(2, 8 * hidden)
    )
    return net.reshape(net.transpose(both, 0, 2, 1, 3), 0, 0, 2 * hidden)


def crnn(*, bn_last: bool):
    """Shi et al. 2017: Convs and pools until the height is 1, then two bidirectional LSTMs along the width.

    ``bn_last``: BN behind the last Relu, directly in front of the LSTM, as several implementations have it.
    """
    net = Network("float[2,1,8,9] x")
    h = net.op("MaxPool <kernel_shape = [2,2], strides = [2,1]>", net.relu(net.conv("x", 3, 1, 3, 3)))
    h = net.relu(net.bn(net.conv(h, 4, 3, 3, 3), 4))
    h = net.op("MaxPool <kernel_shape = [2,2], strides = [2,1], pads = [0,1,0,0]>", h)
    h = net.conv(h, 5, 4, 2, 2, pad=0)
    h = net.bn(net.relu(h), 5) if bn_last else net.relu(net.bn(h, 5))
    t = bilstm(net, to_sequence(net, h), 5, 3)
    t = bilstm(net, t, 6, 3)
    y = net.op("Add", net.op("MatMul", t, net.weight(6, 7)), net.weight(7))
    return net.model(f"[T,2,7] {y}")


@pytest.mark.parametrize("bn_last", [False, True])
def test_a_crnn_keeps_none(bn_last) -> None:
    model = crnn(bn_last=bn_last)
    assert remaining(model) == 2
    result = assert_remain(model, {})
    assert [absorption.op_type for absorption in result.folded[-1].into] == ["LSTM" if bn_last else "Conv"]


def test_a_bn_in_front_of_an_lstm_goes_into_the_input_weights_and_the_input_bias_alone() -> None:
    model = crnn(bn_last=True)
    folded = bnfold.fold(model).model
    (before, *_), (after, *_) = (
        [node for node in graph if node.op_type == "LSTM"] for graph in (model.graph, folded.graph)
    )
    w, r, b = ([constant(m, n.inputs[slot].name) for m, n in ((model, before), (folded, after))] for slot in (1, 2, 3))
    assert not np.allclose(*w)
    assert np.array_equal(*r)
    half = b[0].shape[1] // 2
    assert not np.allclose(*(bias[:, :half] for bias in b))
    assert np.array_equal(*(bias[:, half:] for bias in b))


def test_a_bn_behind_an_lstm_goes_forward_into_the_linear_layer() -> None:
    """Back there are the activations of the LSTM. The BN is over (T·N, C), as DeepSpeech 2 has it."""
    net = Network("float[4,2,3] x")
    rows = net.reshape(bilstm(net, "x", 3, 3), -1, 6)
    y = net.linear(net.bn(rows, 6), 6, 5)
    assert_remain(net.model(f"[M,5] {y}"), {})


def conformer_convolution(*, between: str = ""):
    """Gulati et al. 2020: LayerNorm → pointwise → GLU → depthwise → BN → Swish → pointwise, and around all a residual.

    ``between``: an op between the depthwise Conv and BN, which the module does not have.
    """
    net = Network("float[N,7,4] x")
    h = net.op("LayerNormalization <axis = -1, epsilon = 0.001>", "x", net.weight(4), net.weight(4))
    h = net.conv(net.transpose(h, 0, 2, 1), 8, 4, 1)
    a, b = net.op("Split <axis = 1, num_outputs = 2>", h, outputs=2)
    h = net.conv(net.op("Mul", a, net.op("Sigmoid", b)), 4, 1, 5, group=4)
    n = net.bn(net.op(between, h) if between else h, 4)
    h = net.conv(net.op("Mul", n, net.op("Sigmoid", n)), 4, 4, 1)
    y = net.add("x", net.transpose(h, 0, 2, 1))
    return net.model(f"[N,7,4] {y}"), n


def test_a_conformer_convolution_module_keeps_none() -> None:
    model, _ = conformer_convolution()
    assert remaining(model) == 1
    folded = assert_remain(model, {}).model
    assert Counter(node.op_type for node in folded.graph)["Conv"] == 3


def test_between_two_nonlinear_ops_a_bn_stays() -> None:
    model, bn = conformer_convolution(between="Tanh")
    result = assert_remain(model, {bn: "Tanh"})
    (kept,) = result.kept
    assert {attempt.op_type for attempt in kept.attempts} == {"Tanh", "Mul"} or "Sigmoid" in kept.reason

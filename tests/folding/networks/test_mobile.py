"""Networks of residual blocks behind which the activation stands: no sign and no shift stops a fold there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.helpers.networks import Network, assert_remain, remaining

if TYPE_CHECKING:
    import onnx_ir as ir


def relu6(net: Network, x: str) -> str:
    return net.op("Clip", x, net.number(0.0), net.number(6.0))


def inverted_residual(net: Network, x: str, inputs: int, outputs: int, *, stride: int) -> str:
    wide = 2 * inputs
    h = relu6(net, net.bn(net.conv(x, wide, inputs, 1, 1), wide))
    h = relu6(net, net.bn(net.conv(h, wide, 1, 3, 3, stride=stride, group=wide), wide))
    h = net.bn(net.conv(h, outputs, wide, 1, 1), outputs)
    return net.add(x, h) if stride == 1 and inputs == outputs else h


def mobilenet_v2() -> ir.Model:
    """Sandler et al. 2018: expand, depthwise, and a projection without an activation; Relu6 is a Clip."""
    net = Network("float[N,3,8,8] x")
    h = relu6(net, net.bn(net.conv("x", 3, 3, 3, 3, stride=2), 3))
    for inputs, outputs, stride in ((3, 4, 1), (4, 4, 1), (4, 4, 1), (4, 5, 2), (5, 5, 1)):
        h = inverted_residual(net, h, inputs, outputs, stride=stride)
    h = relu6(net, net.bn(net.conv(h, 8, 5, 1, 1), 8))
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 8, 4)
    return net.model(f"[N,4] {y}")


def shuffle(net: Network, x: str, channels: int, groups: int, size: int) -> str:
    grouped = net.reshape(x, -1, groups, channels // groups, size, size)
    return net.reshape(net.transpose(grouped, 0, 2, 1, 3, 4), -1, channels, size, size)


def shuffle_unit(net: Network, x: str, channels: int, size: int, *, stride: int = 1) -> str:
    h = net.relu(net.bn(net.conv(x, channels, channels // 2, 1, 1, group=2), channels))
    h = shuffle(net, h, channels, 2, size)
    h = net.bn(net.conv(h, channels, 1, 3, 3, stride=stride, group=channels), channels)
    h = net.bn(net.conv(h, channels, channels // 2, 1, 1, group=2), channels)
    if stride == 1:
        return net.relu(net.add(x, h))
    pooled = net.op("AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>", x)
    return net.relu(net.op("Concat <axis = 1>", pooled, h))


def shufflenet_v1() -> ir.Model:
    """Zhang et al. 2018: grouped 1×1 Convs with a channel shuffle between; a Concat where the size is halved."""
    net = Network("float[N,3,8,8] x")
    h = net.relu(net.bn(net.conv("x", 6, 3, 3, 3), 6))
    h = shuffle_unit(net, h, 6, 8)
    h = shuffle_unit(net, h, 6, 8, stride=2)
    h = shuffle_unit(net, h, 12, 4)
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 12, 4)
    return net.model(f"[N,4] {y}")


def half_unit(net: Network, x: str, channels: int, *, stride: int = 1) -> str:
    h = net.relu(net.bn(net.conv(x, channels, channels, 1, 1), channels))
    h = net.bn(net.conv(h, channels, 1, 3, 3, stride=stride, group=channels), channels)
    return net.relu(net.bn(net.conv(h, channels, channels, 1, 1), channels))


def shufflenet_v2() -> ir.Model:
    """Ma et al. 2018: half of the channels passes each unit untouched (Split, Concat), then all are shuffled."""
    net = Network("float[N,3,8,8] x")
    h = net.relu(net.bn(net.conv("x", 4, 3, 3, 3), 4))
    left = net.bn(net.conv(h, 4, 1, 3, 3, stride=2, group=4), 4)
    left = net.relu(net.bn(net.conv(left, 4, 4, 1, 1), 4))
    h = shuffle(net, net.op("Concat <axis = 1>", left, half_unit(net, h, 4, stride=2)), 8, 2, 4)
    for _ in range(2):
        left, right = net.op("Split <axis = 1, num_outputs = 2>", h, outputs=2)
        h = shuffle(net, net.op("Concat <axis = 1>", left, half_unit(net, right, 4)), 8, 2, 4)
    h = net.relu(net.bn(net.conv(h, 8, 8, 1, 1), 8))
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 8, 4)
    return net.model(f"[N,4] {y}")


def gate_of_convs(net: Network, x: str, channels: int) -> str:
    h = net.relu(net.conv(net.op("GlobalAveragePool", x), 2, channels, 1, 1))
    return net.op("Sigmoid", net.conv(h, channels, 2, 1, 1))


def gate_of_gemms(net: Network, x: str, channels: int) -> str:
    h = net.op("Flatten", net.op("GlobalAveragePool", x))
    h = net.op("Sigmoid", net.linear(net.relu(net.linear(h, channels, 2)), 2, channels))
    return net.reshape(h, -1, channels, 1, 1)


def se_resnet(gate=gate_of_convs) -> ir.Model:
    """Hu et al. 2018: the gate is computed from what it scales, so that the BN in front is read by both."""
    net = Network("float[N,3,6,6] x")
    h = net.relu(net.bn(net.conv("x", 4, 3, 3, 3), 4))
    for inputs, outputs, stride in ((4, 4, 1), (4, 6, 2), (6, 6, 1)):
        r = net.relu(net.bn(net.conv(h, outputs, inputs, 3, 3, stride=stride), outputs))
        r = net.bn(net.conv(r, outputs, outputs, 3, 3), outputs)
        r = net.op("Mul", r, gate(net, r, outputs))
        if stride > 1:
            h = net.bn(net.conv(h, outputs, inputs, 1, 1, stride=stride), outputs)
        h = net.relu(net.add(r, h))
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 6, 4)
    return net.model(f"[N,4] {y}")


NETWORKS = {
    "mobilenet_v2": (mobilenet_v2, 17),
    "shufflenet_v1": (shufflenet_v1, 10),
    "shufflenet_v2": (shufflenet_v2, 13),
    "se_resnet_of_convs": (se_resnet, 8),
    "se_resnet_of_gemms": (lambda: se_resnet(gate_of_gemms), 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_none_remains(name) -> None:
    make, before = NETWORKS[name]
    model = make()
    assert remaining(model) == before
    assert_remain(model, {})


def se_preact_resnet() -> tuple[ir.Model, list[str]]:
    """He et al. 2016 with the gates of Hu et al. 2018; also the names of the BNs that read the stream."""
    net = Network("float[N,3,6,6] x")
    h, readers = net.conv("x", 4, 3, 3, 3), []
    for _ in range(2):
        first = net.bn(h, 4, scale="positive")
        r = net.conv(net.relu(first), 4, 4, 3, 3)
        r = net.conv(net.relu(net.bn(r, 4, scale="positive")), 4, 4, 3, 3)
        h = net.add(h, net.op("Mul", r, gate_of_convs(net, r, 4)))
        readers.append(first)
    readers.append(net.bn(h, 4, scale="positive"))
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", net.relu(readers[-1]))), 4, 5)
    return net.model(f"[N,5] {y}"), readers


def test_the_gates_of_a_preactivation_network_pay_no_shift_into_its_stream() -> None:
    """Only the stem can: one of the BNs that read the stream goes, and what it moved there bars the others.

    Without gates each branch ends in a Conv, whose bias pays (see ``test_a_preactivation_resnet_keeps_none``).
    """
    model, readers = se_preact_resnet()
    assert remaining(model) == 5
    assert_remain(model, dict.fromkeys(readers[1:], "Mul 'mul_"))


def repvgg_block(net: Network, x: str, inputs: int, outputs: int, *, stride: int) -> str:
    h = net.bn(net.conv(x, outputs, inputs, 3, 3, stride=stride), outputs)
    h = net.add(h, net.bn(net.conv(x, outputs, inputs, 1, 1, stride=stride), outputs))
    return net.relu(net.add(h, net.bn(x, inputs)) if stride == 1 and inputs == outputs else h)


def test_each_block_of_a_repvgg_in_training_form_is_one_conv() -> None:
    """Ding et al. 2021: Conv3×3 + BN, Conv1×1 + BN and, where the size stays, a bare BN, summed."""
    net = Network("float[N,3,8,8] x")
    h = "x"
    for inputs, outputs, stride in ((3, 4, 2), (4, 4, 1), (4, 4, 1), (4, 6, 2), (6, 6, 1)):
        h = repvgg_block(net, h, inputs, outputs, stride=stride)
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", h)), 6, 4)
    model = net.model(f"[N,4] {y}")
    assert remaining(model) == 13
    folded = assert_remain(model, {}).model
    types = Counter(node.op_type for node in folded.graph)
    assert types == {"Conv": 5, "Relu": 5, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}

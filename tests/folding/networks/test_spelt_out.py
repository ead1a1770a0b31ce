"""A residual network whose BatchNormalizations were written by other exporters, as something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.models import model_of
from tests.helpers.networks import Network, assert_remain, batch_normalization, remaining

if TYPE_CHECKING:
    import onnx_ir as ir


def per_channel(net: Network, parameter: str, channels: int) -> str:
    return net.reshape(parameter, 1, channels, 1, 1)


def deviation(net: Network, var: str) -> str:
    return net.op("Sqrt", net.op("Add", var, net.number(1e-5)))


def frozen(net: Network, x: str, parameters: list[str], channels: int) -> str:
    """Detectron: the statistics are in two numbers a channel already."""
    scale, bias = net.weight(channels, 1, 1, name="scale"), net.weight(channels, 1, 1, name="bias")
    return net.add(net.op("Mul", x, scale), bias)


def frozen_in_the_graph(net: Network, x: str, parameters: list[str], channels: int) -> str:
    """torchvision's FrozenBatchNorm2d: the graph computes these two numbers from the four parameters."""
    scale, bias, mean, var = (per_channel(net, parameter, channels) for parameter in parameters)
    factor = net.op("Mul", scale, net.op("Reciprocal", deviation(net, var)))
    return net.add(net.op("Mul", x, factor), net.op("Sub", bias, net.op("Mul", mean, factor)))


def spelt_out(net: Network, x: str, parameters: list[str], channels: int) -> str:
    """(x − mean)/√(var + epsilon)·scale + bias."""
    scale, bias, mean, var = (per_channel(net, parameter, channels) for parameter in parameters)
    normal = net.op("Div", net.op("Sub", x, mean), deviation(net, var))
    return net.add(bias, net.op("Mul", scale, normal))


def between_transposes(net: Network, x: str, parameters: list[str], channels: int) -> str:
    """In a network of NHWC data."""
    return net.transpose(net.op("BatchNormalization", net.transpose(x, 0, 3, 1, 2), *parameters), 0, 2, 3, 1)


def on_the_last_axis(net: Network, x: str, parameters: list[str], channels: int) -> str:
    """As tf2onnx writes what it cannot match: on NHWC data, a constant of one axis is one for each channel."""
    return net.add(net.op("Mul", x, parameters[0]), parameters[1])


def conv_nchw(net: Network, x: str, *shape: int, **options: int) -> str:
    return net.conv(x, *shape, **options)


def conv_nhwc(net: Network, x: str, *shape: int, **options: int) -> str:
    return net.transpose(net.conv(net.transpose(x, 0, 3, 1, 2), *shape, **options), 0, 2, 3, 1)


def resnet(normalise, *, nhwc: bool) -> ir.Model:
    """He et al. 2015: two blocks, the second of which halves the size."""
    conv = conv_nhwc if nhwc else conv_nchw
    net = Network("float[N,6,6,3] x" if nhwc else "float[N,3,6,6] x", normalise=normalise)
    h = net.relu(net.bn(conv(net, "x", 4, 3, 3, 3), 4))
    for inputs, outputs, stride in ((4, 4, 1), (4, 6, 2)):
        r = net.relu(net.bn(conv(net, h, outputs, inputs, 3, 3, stride=stride), outputs))
        r = net.bn(conv(net, r, outputs, outputs, 3, 3), outputs)
        if stride > 1:
            h = net.bn(conv(net, h, outputs, inputs, 1, 1, stride=stride), outputs)
        h = net.relu(net.add(h, r))
    pooled = net.op("ReduceMean <keepdims = 0>", h, net.integers(*((1, 2) if nhwc else (2, 3))))
    y = net.linear(pooled, 6, 4)
    return net.model(f"[N,4] {y}")


# name: (what writes a BatchNormalization, whether the data are NHWC, how many affines there are before)
FORMS = {
    "as_it_is": (batch_normalization, False, 6),
    "frozen": (frozen, False, 12),
    "frozen_in_the_graph": (frozen_in_the_graph, False, None),
    "spelt_out": (spelt_out, False, None),
    "between_transposes": (between_transposes, True, 6),
    "on_the_last_axis": (on_the_last_axis, True, 12),
}


@pytest.mark.parametrize("name", FORMS)
def test_whatever_a_bn_is_written_as_none_remains(name) -> None:
    normalise, nhwc, before = FORMS[name]
    model = resnet(normalise, nhwc=nhwc)
    if before is not None:  # where the parameters are computed, that alone would count
        assert remaining(model) == before
    result = assert_remain(model, {})
    assert len(result.folded) == 6
    left = {node.op_type for node in result.model.graph}
    assert left <= {"Add", "Constant", "Conv", "Gemm", "ReduceMean", "Relu", "Transpose"}


# name: how the weight of a Conv of [4, 3, 3, 3] is computed
WEIGHTS = {
    # Salimans and Kingma 2016, weight normalisation
    "of_norm_1": """
        length = ReduceL2 (v, axes)
        direction = Div (v, length)
        w = Mul (direction, positive_g)
    """,
    # Qiao et al. 2019, weight standardisation
    "of_mean_0_and_variance_1": """
        mean_of = ReduceMean (v, axes)
        centred = Sub (v, mean_of)
        two = Constant <value = double {2.0}> ()
        square = Pow (centred, two)
        variance = ReduceMean (square, axes)
        deviation = Sqrt (variance)
        w = Div (centred, deviation)
    """,
    # Rastegari et al. 2016, binary weights
    "of_two_values": """
        sign = Sign (v)
        size = Abs (v)
        total = ReduceSum (size, axes)
        w = Mul (sign, total)
    """,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_bn_goes_into_weights_that_the_graph_computes(name) -> None:
    model = model_of(f"""
        g (float[N,3,5,5] x, float[4,3,3,3] v, float[4,1,1,1] positive_g, BN4) => (float[N,4,3,3] y) {{
            axes = Constant <value_ints = [1, 2, 3]> ()
            {WEIGHTS[name]}
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = Relu (n)
        }}
    """)
    folded = assert_remain(model, {}).model
    assert [node.op_type for node in folded.graph] == ["Conv", "Relu"]

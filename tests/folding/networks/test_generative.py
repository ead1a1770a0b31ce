"""Networks that write images: DCGAN and U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.networks import Network, assert_remain, remaining

if TYPE_CHECKING:
    import onnx_ir as ir


def dcgan_generator() -> ir.Model:
    """Radford et al. 2016: ConvTranspose → BN → Relu from a vector to an image, and Tanh at the end."""
    net = Network("float[N,6,1,1] z")
    h = net.relu(net.bn(net.conv_transpose("z", 6, 5, 3, 3), 5))
    h = net.relu(net.bn(net.conv_transpose(h, 5, 4, 4, 4, stride=2, pad=1), 4))
    image = net.op("Tanh", net.conv_transpose(h, 4, 3, 4, 4, stride=2, pad=1))
    return net.model(f"[N,3,12,12] {image}")


def dcgan_discriminator() -> ir.Model:
    """Radford et al. 2016: Conv → BN → LeakyRelu, without BN on the first and the last."""
    net = Network("float[N,3,12,12] x")
    h = net.op("LeakyRelu <alpha = 0.2>", net.conv("x", 4, 3, 4, 4, stride=2, pad=1))
    h = net.op("LeakyRelu <alpha = 0.2>", net.bn(net.conv(h, 5, 4, 4, 4, stride=2, pad=1), 5))
    h = net.op("LeakyRelu <alpha = 0.2>", net.bn(net.conv(h, 6, 5, 2, 2, pad=0), 6))
    y = net.op("Sigmoid", net.conv(h, 1, 6, 2, 2, pad=0))
    return net.model(f"[N,1,1,1] {y}")


@pytest.mark.parametrize("make", [dcgan_generator, dcgan_discriminator])
def test_a_dcgan_keeps_none(make) -> None:
    model = make()
    assert remaining(model) == 2
    assert_remain(model, {})


def double_conv(net: Network, x: str, inputs: int, outputs: int, *, pad: int = 1) -> str:
    for channels in (inputs, outputs):
        x = net.relu(net.bn(net.conv(x, outputs, channels, 3, 3, pad=pad), outputs))
    return x


def up_conv(net: Network, x: str, inputs: int, outputs: int) -> str:
    return net.conv_transpose(x, inputs, outputs, 2, 2, stride=2)


def up_resize(net: Network, x: str, inputs: int, outputs: int) -> str:
    scales = net.op("Constant <value_floats = [1.0, 1.0, 2.0, 2.0]>")
    mode = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    return net.bn(net.conv(net.op(f"Resize <{mode}>", x, "", scales), outputs, inputs, 3, 3), outputs)


def crop(net: Network, x: str, limits: tuple[int, int]) -> str:
    """As the original does, whose decoder does not pad."""
    return net.op("Slice", x, *(net.integers(limit, limit) for limit in limits), net.integers(2, 3))


def unet(up=up_conv, *, after_concat: bool = False, pad: int = 1) -> tuple[ir.Model, list[str]]:
    """Ronneberger et al. 2015, with BN as it is trained today; also the names of BNs behind a Concat."""
    net = Network("float[N,2,16,16] x")
    skips, h = [], "x"
    sizes = [(0, 16), (0, 8)] if pad else [(4, 12), (0, 8)]
    for inputs, outputs in ((2, 3), (3, 4)):
        h = double_conv(net, h, inputs, outputs)
        skips.append(h)
        h = net.op("MaxPool <kernel_shape = [2,2], strides = [2,2]>", h)
    h, behind = double_conv(net, h, 4, 5), []
    for inputs, outputs in ((5, 4), (4, 3)):
        h = net.op("Concat <axis = 1>", crop(net, skips.pop(), sizes.pop()), up(net, h, inputs, outputs))
        if after_concat:
            h = net.bn(h, 2 * outputs)
            behind.append(h)
        h = double_conv(net, h, 2 * outputs, outputs, pad=pad)
    y = net.conv(h, 2, 3, 1, 1)
    return net.model(f"[N,2,H,W] {y}"), behind


@pytest.mark.parametrize("up", [up_conv, up_resize])
def test_a_unet_keeps_none(up) -> None:
    model, _ = unet(up)
    assert remaining(model) == (10 if up is up_conv else 12)
    assert_remain(model, {})


def test_a_unet_with_a_bn_behind_each_concat_keeps_those_in_front_of_zero_padding() -> None:
    """Back is the Relu of the skip, which takes no shift, and forward the Conv sees 0 in its padding."""
    model, behind = unet(after_concat=True)
    assert remaining(model) == 12
    result = assert_remain(model, dict.fromkeys(behind, "carries no shift"))
    assert all("pads with zeros" in kept.reason for kept in result.kept)
    assert {attempt.op_type for kept in result.kept for attempt in kept.attempts} == {"Conv", "Relu"}


def test_a_unet_with_a_bn_behind_each_concat_keeps_none_where_its_convs_do_not_pad() -> None:
    model, _ = unet(after_concat=True, pad=0)
    assert remaining(model) == 12
    assert_remain(model, {})

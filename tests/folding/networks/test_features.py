"""Networks in which features are read by more than one: PointNet, and the heads of re-identification."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.helpers.networks import Network, assert_remain, remaining

if TYPE_CHECKING:
    import onnx_ir as ir


def shared_mlp(net: Network, x: str, *widths: int) -> str:
    """The same layers for each point: Conv1d of one tap, BN and Relu."""
    for inputs, outputs in pairwise(widths):
        x = net.relu(net.bn(net.conv(x, outputs, inputs, 1), outputs))
    return x


def largest_point(net: Network, x: str) -> str:
    return net.op("ReduceMax <keepdims = 0>", x, net.integers(2))


def t_net(net: Network, x: str, width: int) -> str:
    """A matrix for all points; its identity is what the paper initialises the last bias with."""
    h = largest_point(net, shared_mlp(net, x, width, 4, 5))
    h = net.relu(net.bn(net.linear(h, 5, 4), 4))
    h = net.add(net.linear(h, 4, width * width), net.weight(width * width))
    return net.reshape(h, -1, width, width)


def transformed(net: Network, x: str, width: int) -> str:
    """Each point times a matrix that is computed from all: two tensors of run time are multiplied."""
    points = net.op("MatMul", net.transpose(x, 0, 2, 1), t_net(net, x, width))
    return net.transpose(points, 0, 2, 1)


def pointnet(*, bn_behind_transform: bool = False) -> tuple[ir.Model, str]:
    """Qi et al. 2017. ``bn_behind_transform``: what the paper does not have, a BN → Relu behind the second T-Net."""
    net = Network("float[N,3,6] x")
    h = shared_mlp(net, transformed(net, "x", 3), 3, 4)
    h, bn = transformed(net, h, 4), ""
    if bn_behind_transform:
        bn = net.bn(h, 4)
        h = net.relu(bn)
    h = net.bn(net.conv(shared_mlp(net, h, 4, 5), 6, 5, 1), 6)
    h = net.relu(net.bn(net.linear(largest_point(net, h), 6, 5), 5))
    y = net.linear(h, 5, 4)
    return net.model(f"[N,4] {y}"), bn


def test_a_pointnet_keeps_none() -> None:
    """Ten BNs, all behind a Conv or a Gemm; and the two identities that are added to the matrices, as biases."""
    model, _ = pointnet()
    assert remaining(model) == 10 + 2
    assert_remain(model, {})


def test_a_bn_between_the_transform_of_a_pointnet_and_a_relu_stays() -> None:
    """Its scale could go into the matrix, but a product of two tensors of run time takes no shift, and Relu neither."""
    model, bn = pointnet(bn_behind_transform=True)
    assert remaining(model) == 11 + 2
    (kept,) = assert_remain(model, {bn: "MatMul"}).kept
    assert "has a shift" in kept.reason
    assert "Relu" in kept.reason


def linear_head(net: Network, feature: str) -> str:
    return net.op("MatMul", feature, net.weight(4, 5))


def gemm_head(net: Network, feature: str) -> str:
    return net.op("Gemm <transB = 1>", feature, net.weight(5, 4))


def bnneck(outputs: tuple[str, ...], head=gemm_head) -> tuple[ir.Model, str]:
    """Luo et al. 2019: a feature for the triplet loss, BN without a bias, a feature for search, and the classifier."""
    net = Network("float[N,3,6,6] x")
    h = net.relu(net.bn(net.conv("x", 4, 3, 3, 3), 4))
    triplet = net.op("Flatten", net.op("GlobalAveragePool", h))
    search = net.bn(triplet, 4, scale="positive", bias="zero")
    names = {"triplet": f"[N,4] {triplet}", "search": f"[N,4] {search}"}
    if "classes" in outputs:
        names["classes"] = f"[N,5] {head(net, search)}"
    return net.model(*(names[output] for output in outputs)), search


@pytest.mark.parametrize("head", [linear_head, gemm_head])
def test_a_bnneck_goes_into_the_classifier_and_leaves_the_feature_alone(head) -> None:
    model, bn = bnneck(("triplet", "classes"), head)
    assert remaining(model) == 2
    result = assert_remain(model, {})
    (neck,) = [entry for entry in result.folded if entry.node == bn]
    assert neck.route == "forward"


def test_a_bnneck_whose_two_features_are_outputs_stays() -> None:
    model, bn = bnneck(("triplet", "search", "classes"))
    (kept,) = assert_remain(model, {bn: "which is a graph output"}).kept
    assert kept.reason.count("which is a graph output") == 2


def test_a_bnneck_whose_feature_is_the_only_output_stays() -> None:
    """As it is deployed. It has no bias, but its mean is a shift all the same, and the last Relu takes none."""
    model, bn = bnneck(("search",))
    assert_remain(model, {bn: "carries no shift"})

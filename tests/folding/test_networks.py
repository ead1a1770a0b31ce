"""Small versions of real architectures: how many BatchNormalizations remain, and why each of those remains."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from tests.helpers import oracle
from tests.helpers.models import affines, constant, example, set_constant


def bn(number: int, channels: int, *, scale: str = "positive") -> str:
    """The parameters of one BatchNormalization for the head of a graph."""
    names = (f"{scale}{number}", f"bias{number}", f"mean{number}", f"var{number}")
    return ", ".join(f"float[{channels}] {name}" for name in names)


def call(number: int, data: str, *, scale: str = "positive") -> str:
    return f"BatchNormalization ({data}, {scale}{number}, bias{number}, mean{number}, var{number})"


def fold_exactly(model: ir.Model) -> bnfold.FoldResult:
    result = bnfold.fold(model)
    oracle.assert_equal(model, result.model, tolerance=1e-9)
    assert affines(result.model) == len(result.kept)
    return result


def preact_resnet() -> ir.Model:
    """He et al. 2016: BN → Relu → Conv twice in each block, and a BN in front of the head. Five BNs, γ > 0."""
    blocks = "\n".join(
        f"""
        n{i}a = {call(2 * i, f"s{i}")}
        r{i}a = Relu (n{i}a)
        c{i}a = Conv <pads = [1,1,1,1]> (r{i}a, wa{i})
        n{i}b = {call(2 * i + 1, f"c{i}a")}
        r{i}b = Relu (n{i}b)
        c{i}b = Conv <pads = [1,1,1,1]> (r{i}b, wb{i})
        s{i + 1} = Add (s{i}, c{i}b)
        """
        for i in range(2)
    )
    weights = ", ".join(f"float[4,4,3,3] wa{i}, float[4,4,3,3] wb{i}" for i in range(2))
    return example(f"""
        preact_resnet (float[N,3,6,6] x, float[4,3,3,3] w, {weights}, float[4,5] head, float[5] b,
                       {", ".join(bn(i, 4) for i in range(5))}) => (float[N,5] y) {{
            s0 = Conv <pads = [1,1,1,1]> (x, w)
            {blocks}
            n = {call(4, "s2")}
            r = Relu (n)
            p = GlobalAveragePool (r)
            f = Flatten (p)
            y = Gemm (f, head, b)
        }}
    """)


def iresnet() -> ir.Model:
    """Han et al. 2017, as ArcFace uses it: BN → Conv → BN → Relu → Conv → BN in each block, γ of any sign."""
    blocks = "\n".join(
        f"""
        n{i}a = {call(3 * i, f"s{i}", scale="scale")}
        c{i}a = Conv <pads = [1,1,1,1]> (n{i}a, wa{i})
        n{i}b = {call(3 * i + 1, f"c{i}a", scale="scale")}
        r{i} = Relu (n{i}b)
        c{i}b = Conv <pads = [1,1,1,1]> (r{i}, wb{i})
        n{i}c = {call(3 * i + 2, f"c{i}b", scale="scale")}
        s{i + 1} = Add (n{i}c, s{i})
        """
        for i in range(3)
    )
    weights = ", ".join(f"float[4,4,3,3] wa{i}, float[4,4,3,3] wb{i}" for i in range(3))
    parameters = ", ".join([*(bn(i, 4, scale="scale") for i in range(11)), bn(11, 5, scale="scale")])
    return example(f"""
        iresnet (float[N,3,4,4] x, float[4,3,3,3] w, {weights}, float[64,5] head, float[5] b, {parameters})
                => (float[N,5] y) {{
            c0 = Conv <pads = [1,1,1,1]> (x, w)
            s0 = {call(9, "c0", scale="scale")}
            {blocks}
            n = {call(10, "s3", scale="scale")}
            f = Flatten (n)
            g = Gemm (f, head, b)
            y = {call(11, "g", scale="scale")}
        }}
    """)


def test_a_preactivation_resnet_keeps_none() -> None:
    model = preact_resnet()
    assert affines(model) == 5
    result = fold_exactly(model)
    assert not result.kept
    assert {entry.route for entry in result.folded} >= {"shift back, scale forward"}


def with_one_negative_scale(number: int) -> ir.Model:
    model = preact_resnet()
    value = model.graph.initializers[f"positive{number}"]
    set_constant(model, value, value.const_value.numpy() * [1, 1, -1, 1])
    return model


@pytest.mark.parametrize("number", range(5))
def test_one_negative_scale_in_a_preactivation_resnet_keeps_at_most_that_bn(number) -> None:
    """Those between two Convs (1 and 3) go back into the first. Those that read the stream send a scale through a Relu.

    All of it could go back into the stream as well. Then the scale of all others that read it would become negative,
    and all would stay but that one: what changes no other affine comes first.
    """
    name = f"n{number // 2}{'ab'[number % 2]}" if number < 4 else "n"
    result = fold_exactly(with_one_negative_scale(number))
    assert [kept.node for kept in result.kept] == ([] if number in (1, 3) else [name])
    for kept in result.kept:
        assert "Relu" in kept.reason
        assert "negative scale" in kept.reason
        assert "channel 2" in kept.reason


def test_an_iresnet_keeps_none_whatever_the_signs() -> None:
    model = iresnet()
    assert affines(model) == 12
    assert any((constant(model, f"scale{i}") < 0).any() for i in range(12))
    assert not fold_exactly(model).kept


def densenet(layers: int = 4) -> ir.Model:
    """Huang et al. 2017: each layer reads the Concat of all before it through BN → Relu → Conv."""
    body, head, name = [], ["float[2,3,3,3] w0"], "d0"
    for i in range(layers):
        channels = 2 + 2 * i
        head += [f"float[2,{channels},3,3] w{i + 1}", bn(i, channels)]
        body += [
            f"n{i} = {call(i, name)}",
            f"r{i} = Relu (n{i})",
            f"c{i} = Conv <pads = [1,1,1,1]> (r{i}, w{i + 1})",
            f"d{i + 1} = Concat <axis = 1> ({name}, c{i})",
        ]
        name = f"d{i + 1}"
    lines, channels = "\n".join(body), 2 + 2 * layers
    return example(f"""
        densenet (float[N,3,4,4] x, {", ".join(head)}, {bn(layers, channels)}) => (float[N,{channels},1,1] y) {{
            d0 = Conv <pads = [1,1,1,1]> (x, w0)
            {lines}
            n = {call(layers, name)}
            r = Relu (n)
            p = GlobalAveragePool (r)
            y = Tanh (p)
        }}
    """)


def test_a_dense_block_loses_one_of_those_that_share_its_first_segment() -> None:
    """The first four read the segment of the stem; what one moves into it the others must take off again, and stay.

    The last is in front of a Tanh, which takes no scale.
    """
    result = fold_exactly(densenet())
    assert len(result.folded) == 1
    assert len(result.kept) == 4
    assert all("Relu" in kept.reason or "Tanh" in kept.reason for kept in result.kept)


def repeated_linear() -> ir.Model:
    """LeViT: Linear over tokens, then BatchNorm1d on the tokens flattened into rows."""
    return example(f"""
        levit (float[N,7,6] x, float[6,6] w1, float[6,6] w2, {bn(0, 6, scale="scale")}, {bn(1, 6, scale="scale")})
                => (float[N,7,6] y) {{
            m1 = MatMul (x, w1)
            rows = Constant <value_ints = [-1, 6]> ()
            back = Constant <value_ints = [-1, 7, 6]> ()
            f1 = Reshape (m1, rows)
            n1 = {call(0, "f1", scale="scale")}
            t1 = Reshape (n1, back)
            m2 = MatMul (t1, w2)
            f2 = Reshape (m2, rows)
            n2 = {call(1, "f2", scale="scale")}
            t2 = Reshape (n2, back)
            y = Add (x, t2)
        }}
    """)


def test_levit_keeps_none() -> None:
    result = fold_exactly(repeated_linear())
    assert not result.kept


@pytest.mark.parametrize("make", [preact_resnet, iresnet, densenet, repeated_linear])
def test_the_fold_of_a_network_is_valid(make) -> None:
    import onnx

    folded = ir.to_proto(bnfold.fold(make()).model)
    onnx.checker.check_model(folded, full_check=True)
    assert np.all([len(node.output) == 1 for node in folded.graph.node])

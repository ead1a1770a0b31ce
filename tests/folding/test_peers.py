"""Wherever a released tool removes a BatchNormalization and is right, bnfold removes it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import bnfold
from tests.folding.test_random_graphs import random_model
from tests.helpers.models import affines, model_of
from tests.helpers.peers import PEERS, is_right, narrowed, run_peer, with_float32_weights

if TYPE_CHECKING:
    import onnx_ir as ir

pytestmark = pytest.mark.slow


def bn(number: int, channels: int) -> str:
    """The parameters of one BatchNormalization for the head of a graph."""
    return ", ".join(f"float[{channels}] {name}{number}" for name in ("positive", "bias", "mean", "var"))


def call(number: int, data: str) -> str:
    return f"BatchNormalization ({data}, positive{number}, bias{number}, mean{number}, var{number})"


# name: ONNX text; its BatchNormalizations are counted
TEXTS = {
    "conv": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[4] b, BN4) => (float[N,4,6,6] y) {
            h = Conv <pads = [1,1,1,1]> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_without_bias": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, BN4) => (float[N,4,4,4] y) {
            h = Conv (x, w)
            n = BatchNormalization (h, scale, bias, mean, var)
            y = Relu (n)
        }
    """,
    "conv_1d": """
        g (float[N,3,6] x, float[4,3,3] w, float[4] b, BN4) => (float[N,4,4] y) {
            h = Conv (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_3d": """
        g (float[N,2,4,4,4] x, float[3,2,2,2,2] w, float[3] b, BN3) => (float[N,3,3,3,3] y) {
            h = Conv (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_with_groups": """
        g (float[N,4,6,6] x, float[6,2,3,3] w, float[6] b, BN6) => (float[N,6,3,3] y) {
            h = Conv <group = 2, strides = [2,2], pads = [1,1,1,1]> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_of_each_channel": """
        g (float[N,4,6,6] x, float[4,1,3,3] w, BN4) => (float[N,4,4,4] y) {
            h = Conv <group = 4> (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_with_an_empty_bias": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, BN4) => (float[N,4,4,4] y) {
            h = Conv (x, w, )
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_transpose": """
        g (float[N,3,4,4] x, float[3,5,2,2] w, float[5] b, BN5) => (float[N,5,8,8] y) {
            h = ConvTranspose <strides = [2,2]> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_transpose_without_bias": """
        g (float[N,3,4,4] x, float[3,5,3,3] w, BN5) => (float[N,5,4,4] y) {
            h = ConvTranspose <pads = [1,1,1,1]> (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "conv_transpose_with_groups": """
        g (float[N,4,4,4] x, float[4,3,2,2] w, BN6) => (float[N,6,5,5] y) {
            h = ConvTranspose <group = 2> (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "gemm": """
        g (float[N,5] x, float[4,5] w, float[4] b, BN4) => (float[N,4] y) {
            h = Gemm <transB = 1> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "gemm_without_bias": """
        g (float[N,5] x, float[5,4] w, BN4) => (float[N,4] y) {
            h = Gemm (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "gemm_with_alpha_and_beta": """
        g (float[N,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4] y) {
            h = Gemm <alpha = 0.5, beta = 2.0> (x, w, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "matmul": """
        g (float[N,5] x, float[5,4] w, BN4) => (float[N,4] y) {
            h = MatMul (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "matmul_and_add": """
        g (float[N,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            y = BatchNormalization (h, scale, bias, mean, var)
        }
    """,
    "matmul_of_tokens": """
        g (float[N,7,5] x, float[5,4] w, float[4] b, BN4) => (float[N,4,7] y) {
            m = MatMul (x, w)
            h = Add (m, b)
            t = Transpose <perm = [0,2,1]> (h)
            y = BatchNormalization (t, scale, bias, mean, var)
        }
    """,
    "in_front_of_a_conv": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, BN3) => (float[N,4,4,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv (n, w)
        }
    """,
    "in_front_of_a_padded_conv": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, BN3) => (float[N,4,6,6] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Conv <pads = [1,1,1,1]> (n, w)
        }
    """,
    "in_front_of_a_gemm": """
        g (float[N,5] x, float[5,4] w, float[4] b, BN5) => (float[N,4] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            y = Gemm (n, w, b)
        }
    """,
    "two_in_a_row": f"""
        g (float[N,3,6,6] x, float[4,3,3,3] w, {bn(1, 4)}, {bn(2, 4)}) => (float[N,4,4,4] y) {{
            h = Conv (x, w)
            n = {call(1, "h")}
            y = {call(2, "n")}
        }}
    """,
    "behind_another": f"""
        g (float[N,3,6,6] x, {bn(1, 3)}, {bn(2, 3)}) => (float[N,3,6,6] y) {{
            n = {call(1, "x")}
            y = {call(2, "n")}
        }}
    """,
    "chain": f"""
        g (float[N,3,8,8] x, float[4,3,3,3] w1, float[4,4,3,3] w2, float[2,4,1,1] w3, {bn(1, 4)}, {bn(2, 4)},
           {bn(3, 2)}) => (float[N,2,1,1] y) {{
            c1 = Conv <pads = [1,1,1,1]> (x, w1)
            n1 = {call(1, "c1")}
            r1 = Relu (n1)
            c2 = Conv (r1, w2)
            n2 = {call(2, "c2")}
            r2 = Relu (n2)
            c3 = Conv (r2, w3)
            n3 = {call(3, "c3")}
            y = GlobalAveragePool (n3)
        }}
    """,
    "residual": f"""
        g (float[N,3,6,6] x, float[4,3,3,3] w1, float[4,4,3,3] w2, float[4,3,1,1] w3, {bn(1, 4)}, {bn(2, 4)},
           {bn(3, 4)}) => (float[N,4,6,6] y) {{
            c1 = Conv <pads = [1,1,1,1]> (x, w1)
            n1 = {call(1, "c1")}
            r1 = Relu (n1)
            c2 = Conv <pads = [1,1,1,1]> (r1, w2)
            n2 = {call(2, "c2")}
            c3 = Conv (x, w3)
            n3 = {call(3, "c3")}
            s = Add (n2, n3)
            y = Relu (s)
        }}
    """,
    "preactivation": f"""
        g (float[N,3,6,6] x, float[4,3,3,3] w1, float[4,4,3,3] w2, float[4,4,3,3] w3, {bn(1, 4)}, {bn(2, 4)})
                => (float[N,4,6,6] y) {{
            s = Conv <pads = [1,1,1,1]> (x, w1)
            n1 = {call(1, "s")}
            r1 = Relu (n1)
            c1 = Conv <pads = [1,1,1,1]> (r1, w2)
            n2 = {call(2, "c1")}
            r2 = Relu (n2)
            c2 = Conv <pads = [1,1,1,1]> (r2, w3)
            y = Add (s, c2)
        }}
    """,
    "one_weight_for_two": f"""
        g (float[N,3,6,6] x, float[3,3,1,1] w, {bn(1, 3)}, {bn(2, 3)}) => (float[N,3,6,6] y) {{
            c1 = Conv (x, w)
            n1 = {call(1, "c1")}
            c2 = Conv (n1, w)
            y = {call(2, "c2")}
        }}
    """,
    "two_readers": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, BN4) => (float[N,4,4,4] y, float[N,4,4,4] z) {
            h = Conv (x, w)
            y = BatchNormalization (h, scale, bias, mean, var)
            z = Tanh (h)
        }
    """,
    "concatenated_branches": """
        g (float[N,3,6,6] x, float[4,3,3,3] w1, float[2,3,3,3] w2, BN6) => (float[N,6,4,4] y) {
            a = Conv (x, w1)
            b = Conv (x, w2)
            c = Concat <axis = 1> (a, b)
            y = BatchNormalization (c, scale, bias, mean, var)
        }
    """,
    "nothing_around_it": """
        g (float[N,3,6,6] x, BN3) => (float[N,3,6,6] y) {
            t = Tanh (x)
            n = BatchNormalization (t, scale, bias, mean, var)
            y = Sigmoid (n)
        }
    """,
}

# name: ONNX text; its Mul, Add, Sub and Div are counted
DECOMPOSED = {
    "conv_mul": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[4,1,1] s) => (float[N,4,4,4] y) {
            h = Conv (x, w)
            y = Mul (h, s)
        }
    """,
    "conv_add": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[4] b, float[1,4,1,1] t) => (float[N,4,4,4] y) {
            h = Conv (x, w, b)
            y = Add (h, t)
        }
    """,
    "conv_mul_add": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[4,1,1] s, float[4,1,1] t) => (float[N,4,4,4] y) {
            h = Conv (x, w)
            m = Mul (h, s)
            a = Add (m, t)
            y = Relu (a)
        }
    """,
    "conv_sub_div": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[1,4,1,1] m, float[1,4,1,1] positive) => (float[N,4,4,4] y) {
            h = Conv (x, w)
            c = Sub (h, m)
            y = Div (c, positive)
        }
    """,
    "mul_add_conv": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[1] s, float[1] t) => (float[N,4,4,4] y) {
            m = Mul (x, s)
            a = Add (m, t)
            y = Conv (a, w)
        }
    """,
    "conv_mul_add_by_scalars": """
        g (float[N,3,6,6] x, float[4,3,3,3] w, float[1] s, float[1] t) => (float[N,4,4,4] y) {
            h = Conv (x, w)
            m = Mul (h, s)
            y = Add (m, t)
        }
    """,
    "gemm_mul_add": """
        g (float[N,5] x, float[5,4] w, float[4] s, float[4] t) => (float[N,4] y) {
            h = Gemm (x, w)
            m = Mul (h, s)
            y = Add (m, t)
        }
    """,
}

_RANDOM = 80
_STEPS = 9


def elementwise(model: ir.Model) -> int:
    return sum(node.op_type in ("Add", "Div", "Mul", "Sub") for node in model.graph)


def left_in(name: str, model: ir.Model) -> int:
    """How many of the nodes that shall go there are."""
    return elementwise(model) if name in DECOMPOSED else affines(model)


@pytest.fixture(scope="module")
def models() -> dict[str, ir.Model]:
    models = {name: model_of(text) for name, text in {**TEXTS, **DECOMPOSED}.items()}
    models |= {f"random_{seed}": random_model(seed, _STEPS) for seed in range(_RANDOM)}
    return {name: with_float32_weights(model) for name, model in models.items()}


@pytest.fixture(scope="module", params=PEERS)
def peer(request, models) -> dict[str, int]:
    """How many affines a peer leaves, for each model that it simplifies and gets right."""
    results = run_peer(request.param, {name: narrowed(model) for name, model in models.items()})
    left = {}
    for name, result in results.items():
        before = models[name]
        # Taking one apart into Mul and Add is no fold.
        folds = left_in(name, result) < left_in(name, before) and len(result.graph) < len(before.graph)
        if folds and is_right(before, result):
            left[name] = left_in(name, result)
    return left


@pytest.fixture(scope="module")
def ours(models) -> dict[str, int]:
    left = {}
    for name, model in models.items():
        folded = bnfold.fold(narrowed(model)).model
        assert is_right(model, folded), name
        left[name] = left_in(name, folded)
    return left


def missed(peer: dict[str, int], ours: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What bnfold leaves and what the peer does, where bnfold leaves more."""
    return {name: (ours[name], left) for name, left in peer.items() if ours[name] > left}


def test_no_peer_folds_what_bnfold_keeps(peer, ours) -> None:
    peer = {name: left for name, left in peer.items() if name not in DECOMPOSED}
    assert len(peer) >= 10, "a peer that folds nothing says nothing"
    assert not missed(peer, ours)


def test_no_peer_folds_a_decomposed_batch_normalization_that_bnfold_keeps(peer, ours) -> None:
    peer = {name: left for name, left in peer.items() if name in DECOMPOSED}
    assert not missed(peer, ours)

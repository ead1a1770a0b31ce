"""What the oracle costs is estimated before it is begun, and what is affordable is taken."""

import pytest

from bnfold.folding.cost import operations
from bnfold.verifying.expense import affordable
from tests.helpers.models import parse


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("float[N, 6, H, W] x, float[8, 3, 3, 3] w) => (float[N, 8, A, B] y) { y = Conv<group = 2>(x, w) }",
         (2, 6, 5, 7), 2 * (2 * 8 * 3 * 5) * (3 * 9)),
        ("float[N, 4, H] x, float[4, 3, 2] w) => (float[N, 6, A] y) { y = ConvTranspose<group = 2>(x, w) }",
         (2, 4, 5), 2 * (2 * 4 * 5) * (3 * 2)),
        ("float[N, 4] x, float[5, 4] w) => (float[N, 5] y) { y = Gemm<transB = 1>(x, w) }", (3, 4), 2 * 3 * 5 * 4),
        ("float[4, N] x, float[4, 5] w) => (float[N, 5] y) { y = Gemm<transA = 1>(x, w) }", (4, 3), 2 * 3 * 5 * 4),
        ("float[N, M, 4] x, float[4, 5] w) => (float[N, M, 5] y) { y = MatMul(x, w) }", (2, 3, 4), 2 * 6 * 5 * 4),
        ("float[N, 4] x, float[4] w) => (float[N, 4] y) { y = Add(x, w) }", (2, 4), 0),
        ("float[N, 4] x, float[4, 5] w) => (float[N, 5] y) { y = local.MatMul(x, w) }", (2, 4), 0),
    ],
)  # fmt: skip
def test_products_are_counted(text, shape, expected):
    model = parse(f"g ({text}")
    weights = {"w": tuple(model.graph.inputs[1].shape)}
    assert operations(model, {"x": shape, **weights}) == expected


def test_sizes_behind_a_pool_and_what_the_file_says_of_other_sizes_are_known():
    text = """g (float[N, 2, H, W] x, float[4, 2, 1, 1] w) => (float[M, 4, 3, 3] y) {
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) y = Conv(p, w) }"""
    assert operations(parse(text), {"x": (1, 2, 8, 8), "w": (4, 2, 1, 1)}) == 2 * (4 * 4 * 4) * 2


@pytest.mark.parametrize(
    ("costs", "budget", "taken"),
    [([3, 1, 2], 6, [0, 1, 2]), ([3, 1, 2], 4, [1, 2]), ([3, 1, 1], 1, [1]), ([3, 2], 1, []), ([], 1, [])],
)
def test_the_cheapest_runs_are_taken(costs, budget, taken):
    assert affordable(costs, budget) == taken

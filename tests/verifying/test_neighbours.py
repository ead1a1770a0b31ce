"""Neighbours differ from a model in the last bits of its weights, and in nothing else."""

import numpy as np
import pytest

from bnfold import modelfile
from bnfold.runtime import sessions
from bnfold.verifying.neighbours import move, run
from tests.helpers.models import DTYPES, example, parse, set_constant
from tests.verifying.networks import random_network


def weights(model):
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_about_a_third_of_the_weights_moves_to_the_next_float(dtype):
    text = "g (float[N, 40] x, float[40, 50] w) => (float[N, 50] y) { y = MatMul(x, w) }"
    model = example(text, dtype=dtype)
    before = weights(model)["w"].copy()
    move(model, 0)
    after = weights(model)["w"]
    assert after.dtype == before.dtype
    changed = after != before
    assert 0.25 < changed.mean() < 0.42
    infinity = np.asarray(np.inf, before.dtype)
    up, down = np.nextafter(before, infinity), np.nextafter(before, -infinity)
    assert (~changed | (after == up) | (after == down)).all()


def test_each_seed_is_a_neighbour_of_its_own():
    models = [random_network(0, operator="Conv", widths=(8, 8)).reference() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        move(model, seed)
    first, again, other = (weights(model) for model in models)
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_constants_move_and_zeros_infinities_integers_and_sizes_do_not():
    model = parse("""g (float[N, 3, 4, 4] x) => (float[N, 3, 8, 8] y, float[N, 3, 4, 4] z)
        <float[4] sizes = {1, 1, 2, 2}, float[1] e = {2}, float[2] zeros = {0, 0}, int64[1] i = {3}> {
        many = Constant<value_floats = [0.1]>()
        w = Constant<value = float[1, 3, 1, 1] {0.1, 0.2, 0.3}>()
        a = Mul(x, w) b = Pow(a, e) y = Resize(b, , sizes) z = Add(b, a) }""")
    moved = set()
    for seed in range(20):
        move(model, seed)
        node = next(node for node in model.graph if node.outputs[0].name == "w")
        moved.add(node.attributes["value"].as_tensor().numpy().tobytes())
    after = weights(model)
    assert len(moved) > 1
    np.testing.assert_array_equal(after["sizes"], [1, 1, 2, 2])
    np.testing.assert_array_equal(after["e"], [2])
    np.testing.assert_array_equal(after["zeros"], [0, 0])
    np.testing.assert_array_equal(after["i"], [3])


def test_sizes_indices_and_thresholds_never_move():
    model = parse("""g (float[N, 3, H, W] x) => (float[N, 3, A, B] y, float[N, 3, H, W] z)
        <float[2] factor = {0.5, 0.5}, float[1] at = {2}, float limit = {0.1}, float[3, 1, 1] weight = {1, 2, 3},
         int64[1] two = {2}, int64[1] four = {4}, int64[1] zero = {0}> {
        all = Shape(x) hw = Slice(all, two, four) wide = Cast<to = 1>(hw) half = Mul(wide, factor) f = Floor(half)
        sizes = Cast<to = 7>(f) nc = Slice(all, zero, two) s = Concat<axis = 0>(nc, sizes) y = Resize(x, , , s)
        i = Floor(at) j = Cast<to = 7>(i) a = Gather<axis = 1>(x, j) g = Greater(a, limit) h = Cast<to = 1>(g)
        z = Mul(h, weight) }""")
    before = weights(model)
    moved = set()
    for seed in range(20):
        move(model, seed)
        moved |= {name for name, array in weights(model).items() if (array != before[name]).any()}
    assert moved == {"weight"}


@pytest.mark.parametrize(
    ("nodes", "moves"),
    [
        ("y = MatMul(x, w)", True),
        ("t = Transpose(w) c = Cast<to = 11>(t) d = Cast<to = 1>(c) y = Gemm(x, d)", True),
        ("s = Constant<value_float = 3.0>() d = Mul(w, s) y = MatMul(x, d)", True),
        ("y = PRelu(x, w)", True),
        ("y = Max(x, w)", False),
        ("y = MatMul(x, w) s = Floor(w)", False),
        ("t = ReduceMax(w) y = MatMul(x, t)", False),
        ("y = local.MatMul(x, w)", False),
    ],
)
def test_a_weight_is_what_is_only_combined_with_data(nodes, moves):
    model = parse(f"g (float[N, 4] x, float[4, 4] w) => (float[N, 4] y) {{ {nodes} }}")
    value = model.graph.inputs.pop()
    array = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    set_constant(model, value, array)
    move(model, 0)
    assert (weights(model)["w"] != array).any() == moves


def test_the_integers_of_a_quantised_bias_move_by_one_and_those_of_a_weight_stay():
    model = example("""
        g (float[N,4,6] x, int8[50,4,1] q, float[] positive_step, int32[50] codes) => (float[N,50,6] y) {
            w = DequantizeLinear (q, positive_step)
            b = DequantizeLinear (codes, positive_step)
            y = Conv (x, w, b)
        }
    """)
    before = weights(model)
    move(model, 0)
    after = weights(model)
    assert (after["q"] == before["q"]).all()
    assert after["codes"].dtype == np.int32
    assert set(after["codes"] - before["codes"]) == {-1, 1}


def test_each_neighbour_is_one_of_the_model_itself_and_none_of_the_neighbour_before(tmp_path):
    net = random_network(0, operator="Conv", widths=(4, 4))
    path = tmp_path / "model.onnx"
    modelfile.save(net.reference(), path)
    text = path.read_bytes()
    feed = {"x": np.ones([1, 6, 5, 5], np.float32)}
    outputs = run(path, sessions.Level.DISABLED, [feed], 3)
    assert path.read_bytes() == text
    for seed, (got,) in enumerate(outputs):
        model = net.reference()
        move(model, seed)
        modelfile.save(model, tmp_path / "neighbour.onnx")
        (alone,) = sessions.run(tmp_path / "neighbour.onnx", sessions.Level.DISABLED, [feed])
        assert all((got[name] == array).all() for name, array in alone.items())

"""Weights that are computed when they are asked for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bnfold
from bnfold import modelfile
from bnfold.folding import scaling
from bnfold.folding.rounding import FLOATS, round_once
from bnfold.folding.scaling import Scaled
from tests.helpers import memory
from tests.helpers.models import model_of

SHAPES = [(), (1,), (5,), (4, 3), (4, 3, 2, 2)]


def random_weight(seed: int, shape: tuple[int, ...], dtype: ir.DataType, spread: float) -> tuple[ir.Tensor, Scaled]:
    """A stored weight, some of it 0, and the same times a factor for each row and for each column."""
    rng = np.random.default_rng(seed)
    array = rng.normal(0, 1, shape) * 10.0 ** rng.uniform(-spread, spread, shape)
    with np.errstate(over="ignore"):
        tensor = ir.Tensor(np.where(rng.random(shape) < 0.2, 0, array).astype(dtype.numpy()), dtype=dtype)
    rows, columns = ([size if place == axis else 1 for place, size in enumerate(shape)] for axis in (0, 1))
    factors = [
        10.0 ** rng.uniform(-spread, spread, factor) * rng.choice([-1, 0, 1], factor) for factor in (rows, columns)
    ]
    return tensor, Scaled.of(tensor).times(*factors[: len(shape)])


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(sorted(FLOATS, key=lambda dtype: dtype.value)),
    spread=st.sampled_from([0.5, 3.0, 20.0]),
)
def test_what_is_told_of_a_weight_is_so(seed: int, shape: tuple[int, ...], dtype: ir.DataType, spread: float) -> None:
    tensor, scaled = random_weight(seed, shape, dtype, spread)
    numbers = scaled.numbers()
    assert numbers.shape == scaled.shape == shape
    rounded, flushed = round_once(numbers, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "_CHUNK", 4)
        np.testing.assert_array_equal(scaled.rounded(dtype)[0], rounded)
        assert scaled.rounded(dtype)[1] == flushed
        assert scaled.count_flushed(dtype) == flushed
        if scaled.fits(dtype):
            assert np.isfinite(rounded).all()
    np.testing.assert_array_equal(scaled.tensor(dtype, "w").numpy(), rounded)
    assert scaled.is_same(scaled.times())
    assert not scaled.is_same(Scaled.of(tensor).times(np.full((1,) * len(shape), 3.0)))


def test_a_weight_of_ordinary_size_is_not_computed_to_see_that_it_fits(monkeypatch) -> None:
    _, scaled = random_weight(0, (4, 3), ir.DataType.FLOAT, 0.5)
    monkeypatch.setattr(Scaled, "rounded", None)
    assert scaled.fits(ir.DataType.FLOAT)
    assert scaled.count_flushed(ir.DataType.FLOAT) == 0


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_what_is_not_finite_does_not_fit(number) -> None:
    assert not Scaled.of(ir.tensor(np.array([number, 1], np.float32))).fits(ir.DataType.FLOAT)


def test_two_factors_of_one_shape_become_one() -> None:
    weight = Scaled.of(np.ones((2, 3))).times(np.full((2, 1), 2.0)).times(np.full((2, 1), 0.25), np.full((1, 3), 3.0))
    assert [factor.shape for factor in weight.factors] == [(2, 1), (1, 3)]
    np.testing.assert_array_equal(weight.numbers(), np.full((2, 3), 1.5))


TEXT = """
    g (float[N,3,5] x, float[4,3,1] w, BN4) => (float[N,4,5] y) {
        h = Conv (x, w)
        y = BatchNormalization (h, scale, bias, mean, var)
    }
"""


def test_the_result_does_not_change_with_an_array_that_it_was_made_from() -> None:
    model = model_of(TEXT)
    array = model.graph.initializers["w"].const_value.numpy()
    result = bnfold.fold(model)
    before = result.model.graph.initializers["w"].const_value.numpy().copy()
    array.flags.writeable = True
    array[:] = 7
    np.testing.assert_array_equal(result.model.graph.initializers["w"].const_value.numpy(), before)


FOLD = """
import sys
from bnfold import folding, modelfile
before = peak()
folding.fold(sys.argv[1]).save(sys.argv[2])
print(peak() - before)
"""


@memory.needs_proc
def test_a_fold_needs_memory_for_one_weight_and_not_for_all(tmp_path) -> None:
    """24 weights of 2.25 MiB: 54 MiB in the file, 108 MiB in float64."""
    convolutions = 24
    lines = "\n".join(
        f"h{i} = Conv <pads = [1, 1, 1, 1]> (x{i}, w{i})\nx{i + 1} = BatchNormalization (h{i}, scale, bias, mean, var)"
        for i in range(convolutions)
    )
    weights = ", ".join(f"float[256,256,3,3] w{i}" for i in range(convolutions))
    text = f"g (float[N,256,8,8] x0, {weights}, BN256) => (float[N,256,8,8] x{convolutions}) {{ {lines} }}"
    modelfile.save(model_of(text, dtype="float"), tmp_path / "model.onnx")
    assert int(memory.run(FOLD, tmp_path / "model.onnx", tmp_path / "folded.onnx")) < 40 << 20

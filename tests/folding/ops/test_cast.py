"""Cast."""

from __future__ import annotations

import pytest

import bnfold
from tests.helpers.conditions import assert_kept
from tests.helpers.models import DTYPES, constant, model_of, random_array, set_constant

BROKEN = {
    "to_an_integer": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN2) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            i = Cast <to = 7> (n)
            f = Cast <to = 11> (i)
            y = Conv (f, w)
        }
        """,
        "Cast 'i' casts DOUBLE to INT64",
    ),
    "from_an_integer": (
        """
        g (int64[N,2,5] x, BN2) => (float[N,2,5] y) {
            f = Cast <to = 11> (x)
            n = BatchNormalization (f, scale, bias, mean, var)
            y = Tanh (n)
        }
        """,
        "Cast 'f' casts INT64 to DOUBLE",
    ),
    "to_eight_bits": (
        """
        g (float[N,2,5] x, float[3,2,1] w, BN2) => (float[N,3,5] y) {
            n = BatchNormalization (x, scale, bias, mean, var)
            q = Cast <to = 17> (n)
            f = Cast <to = 11> (q)
            y = Conv (f, w)
        }
        """,
        "Cast 'q' casts DOUBLE to FLOAT8E4M3FN",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_condition_keeps_the_affine_and_is_named(name) -> None:
    assert_kept(*BROKEN[name])


def test_a_type_that_is_not_known_blocks() -> None:
    model = model_of("""
        g (float[N,5] x, float[4,3,1] w, BN3) => (float y, float z) {
            u = other.Op (x)
            c = Cast <to = 11> (u)
            n = BatchNormalization (c, scale, bias, mean, var)
            y = Tanh (n)
            z = Conv (u, w)
        }
    """)
    model.opset_imports["other"] = 1
    (kept,) = bnfold.fold(model).kept
    assert "Cast 'c' casts a type that is not known to DOUBLE" in kept.reason


@pytest.mark.parametrize("source", ["float16", "bfloat16", "float", "double"])
@pytest.mark.parametrize("target", ["float16", "bfloat16", "float", "double"])
def test_between_floats_the_weight_keeps_its_dtype(source, target) -> None:
    """Mixed precision: a float16 convolution whose BatchNormalization is computed in float32, for one."""
    types = {"float": 1, "double": 11, "float16": 10, "bfloat16": 16}
    text = f"""
        g ({source}[N,2,5] x, {source}[3,2,1] w, BN3) => ({target}[N,3,5] y) {{
            h = Conv (x, w)
            c = Cast <to = {types[target]}> (h)
            y = BatchNormalization (c, scale, bias, mean, var)
        }}
    """
    model = model_of(text)
    set_constant(model, model.graph.initializers["w"], random_array("w", (3, 2, 1), DTYPES[source], 0))
    result = bnfold.fold(model)
    bits = {"bfloat16": 8, "float16": 11, "float": 24, "double": 53}
    if (
        bits[source] < bits[target] and source != "float"
    ):  # which model_of makes double  # a shift would take the bits of what is normalised
        assert "carries no shift to the type with fewer bits" in result.kept[0].reason
        return
    assert not result.kept
    assert [node.op_type for node in result.model.graph] == ["Conv", "Cast"]
    assert constant(result.model, "w").dtype == DTYPES[source]


@pytest.mark.parametrize(("back", "folds"), [("10", True), ("16", True), ("11", False)])
def test_a_shift_moves_where_the_result_is_narrowed_again(back, folds) -> None:
    """Conv in float16, BatchNormalization in float32, and back: there were never more bits than in float16."""
    dtype = {"10": "float16", "16": "bfloat16", "11": "double"}[back]
    model = model_of(f"""
        g (float16[N,2,5] x, float16[3,2,1] w, BN3) => ({dtype}[N,3,5] y) {{
            h = Conv (x, w)
            c = Cast <to = 11> (h)
            n = BatchNormalization (c, scale, bias, mean, var)
            d = Cast <to = {back}> (n)
            y = Relu (d)
        }}
    """)
    set_constant(model, model.graph.initializers["w"], random_array("w", (3, 2, 1), DTYPES["float16"], 0))
    assert (not bnfold.fold(model).kept) == folds


def test_the_target_was_a_string_before_opset_6() -> None:
    text = """
        g (float[N,2,5] x, float[3,2,1] w, BN3) => (float[N,3,5] y) {
            h = Conv (x, w)
            c = Cast <to = "%s"> (h)
            y = BatchNormalization <is_test = 1, consumed_inputs = [0,0,0,1,1]> (c, scale, bias, mean, var)
        }
    """
    assert not bnfold.fold(model_of(text % "DOUBLE", opset=5, ir_version=3)).kept
    (kept,) = bnfold.fold(model_of(text % "INT32", opset=5, ir_version=3)).kept
    assert "casts DOUBLE to INT32" in kept.reason

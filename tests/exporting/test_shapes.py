"""``--input-shape`` as text."""

import pytest

from bnfold.errors import BnfoldError
from bnfold.exporting.shapes import InputShape, Symbol, parse_shapes, symbols_of


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1x3x224x224", InputShape("", (1, 3, 224, 224))),
        ("5", InputShape("", (5,))),
        ("image:1x3x8x8", InputShape("image", (1, 3, 8, 8))),
        ("batchx3xHxW", InputShape("", (Symbol("batch"), 3, Symbol("H"), Symbol("W")))),
        ("batch=4x3xH=224", InputShape("", (Symbol("batch", 4), 3, Symbol("H", 224)))),
        ("tokens:1x16:int64", InputShape("tokens", (1, 16), "int64")),
        ("1x16:bool", InputShape("", (1, 16), "bool")),
        ("max_rows, 3", InputShape("", (Symbol("max_rows"), 3))),
        ("input.1:2x3", InputShape("input.1", (2, 3))),
    ],
)
def test_reads_what_a_shape_says(text, shape):
    assert parse_shapes([text]) == (shape,)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1xx3", "1x-3", "0x3", "1x3.5", "batch=x3", "batch=0x3", "batch=1x3", "a:b:1x3", ":1x3", "1x3:int7"],
)
def test_what_is_no_shape_is_an_error_that_shows_one(text):
    with pytest.raises(BnfoldError, match=r"--input-shape .*1x3x224x224"):
        parse_shapes([text])


def test_two_inputs_of_one_name_are_an_error():
    with pytest.raises(BnfoldError, match="two inputs are called 'x'"):
        parse_shapes(["x:1x3", "x:1x4"])


def test_a_symbol_has_one_size():
    assert symbols_of(parse_shapes(["a:batchxH=8", "b:batch=4xHxW"])) == {"batch": 4, "H": 8, "W": None}
    with pytest.raises(BnfoldError, match="H is 8 and 16"):
        symbols_of(parse_shapes(["a:H=8", "b:H=16"]))

"""Which sizes a network is tried with."""

import pytest
import torch
from torch import nn

from bnfold.errors import ModelError
from bnfold.exporting.caller import name_inputs
from bnfold.exporting.examples import find_sizes
from bnfold.exporting.shapes import parse_shapes


def sizes(module, *texts):
    return find_sizes(module, name_inputs(module, parse_shapes(texts), "float32"))


def test_every_symbol_gets_two_sizes_and_the_batch_is_one_once():
    first, second, single = sizes(nn.Conv2d(3, 4, 3), "batchx3xHxW")

    assert all(first[name] != second[name] for name in ("batch", "H", "W"))
    assert first["H"] != first["W"]
    assert single == {**first, "batch": 1}


def test_a_size_that_is_given_is_tried():
    first, second, single = sizes(nn.Conv2d(3, 4, 3), "batch=5x3xH=20x7")

    assert first == {"batch": 5, "H": 20}
    assert second["batch"] != 5
    assert second["H"] != 20
    assert single == first


def test_looks_for_sizes_that_the_network_takes():
    class Windows(nn.Module):
        def forward(self, image):
            assert image.shape[2] == image.shape[3]
            return image.reshape(image.shape[0], -1, 32)

    first, second, _ = sizes(Windows(), "batchx1xHxW")

    assert first["H"] == first["W"]
    assert second["H"] == second["W"] != first["H"]


def test_small_inputs_get_many_rows_and_large_ones_few():
    assert sizes(nn.ReLU(), "batchx8")[0] == {"batch": 16}
    assert sizes(nn.ReLU(), "batchx3x224x224")[0] == {"batch": 2}


def test_fixed_shapes_have_no_sizes():
    assert sizes(nn.ReLU(), "2x8") == ({}, {}, {})


def test_an_axis_that_has_one_size_only_is_named():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    with pytest.raises(
        ModelError,
        match=r"axis 'H' cannot have any size: the network takes 8, and no other that was tried, from 1 to 40",
    ):
        sizes(module, "batchx1xH=8x8")


def test_a_wrong_shape_is_torchs_error_in_one_line():
    with pytest.raises(ModelError) as caught:
        sizes(nn.Linear(8, 3), "2x7")

    assert str(caught.value) == (
        "the network does not take input 2×7 float32: mat1 and mat2 shapes cannot be multiplied (2x7 and 8x3)"
    )


def test_a_network_that_needs_more_inputs_says_which():
    with pytest.raises(ModelError, match="the network takes x1, x2, and 1 were given: --input-shape NAME:SHAPE"):
        sizes(nn.CosineSimilarity(), "2x7")


def test_names_are_those_of_the_parameters_or_any():
    module = nn.Bilinear(2, 3, 4)

    assert [shape.name for shape in name_inputs(module, parse_shapes(["2x2", "2x3"]), "float32").inputs] == [
        "input1",
        "input2",
    ]
    swapped = name_inputs(module, parse_shapes(["input2:2x3", "input1:2x2"]), "float32")
    assert swapped.by_keyword
    free = name_inputs(module, parse_shapes(["left:2x2", "right:2x3"]), "float32")
    assert [shape.name for shape in free.inputs] == ["left", "right"]
    assert not free.by_keyword


def test_integers_and_floats_keep_their_types():
    torch.manual_seed(0)
    caller = name_inputs(nn.Embedding(4, 2), parse_shapes(["2x3:int32"]), "float16")
    assert caller.inputs[0].dtype == "int32"
    assert name_inputs(nn.ReLU(), parse_shapes(["2x3"]), "float16").inputs[0].dtype == "float16"

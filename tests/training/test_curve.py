"""The picture of a training run."""

import xml.etree.ElementTree as ET

import pytest

from bnfold.training.curve import draw
from bnfold.training.result import Epoch

SVG = "{http://www.w3.org/2000/svg}"


def epochs(*losses, scores=(0.5, 0.75, 1.0)):
    return [
        Epoch(number, loss, score, score - 0.1, 1.0)
        for number, (loss, score) in enumerate(zip(losses, scores, strict=False), 1)
    ]


def points(svg):
    """Of each line: its points, in pixels."""
    lines = ET.fromstring(svg).iter(f"{SVG}polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


def texts(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_point_an_epoch_from_left_to_right_and_better_is_lower_loss_and_higher_score():
    loss, train, held_out = points(draw("a", "accuracy", epochs(1.0, 0.1, 0.01)))
    assert len(loss) == len(train) == len(held_out) == 3
    assert [x for x, _ in loss] == [56, 200, 344]
    heights = [y for _, y in loss]
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], abs=0.11)  # a decade each
    assert heights == sorted(heights)
    assert train[2][1] < train[1][1] < train[0][1] < held_out[0][1]


def test_everything_lies_within_the_picture_whatever_the_numbers():
    for run in (
        epochs(1.0), epochs(0.0, 0.0), epochs(2.3, 2.3, 2.3, scores=(0.1, 0.1, 0.1)), epochs(1e9, 1e-9),
        epochs(1.0, 0.5, scores=(-30.0, 0.2)), epochs(*[0.5] * 1000, scores=[0.5] * 1000),
    ):  # fmt: skip
        svg = draw("a", "accuracy", run)
        for line in points(svg):
            assert all(0 <= x <= 720 and 44 <= y <= 240 for x, y in line)
        assert 5 < len(texts(svg)) < 40
        assert "nan" not in svg


def test_names_are_said_and_cannot_break_the_file():
    svg = draw("mlp on folder:cats & <dogs>", "explained variance", epochs(1.0, 0.5))
    assert texts(svg)[0] == "mlp on folder:cats & <dogs>"
    assert {"train loss, logarithmic", "train explained variance", "held-out explained variance", "epoch"} <= {
        *texts(svg)
    }
    assert svg.startswith("<svg ")


def test_the_same_run_gives_the_same_bytes_and_its_time_does_not_matter():
    slower = [Epoch(one.number, one.loss, one.train_accuracy, one.held_out_accuracy, 9.0) for one in epochs(1.0, 0.5)]
    assert draw("a", "accuracy", epochs(1.0, 0.5)) == draw("a", "accuracy", slower)

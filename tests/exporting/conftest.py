"""The shipped network, and one export of it that the tests share."""

from pathlib import Path

import pytest

from bnfold.exporting import export

SHIPPED = Path(__file__).parents[2] / "models" / "digits_cnn"


@pytest.fixture(scope="session")
def shipped():
    return SHIPPED


@pytest.fixture(scope="session")
def exported(shipped, tmp_path_factory):
    """The shipped weights, exported anew."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return export("digits_cnn", weights=shipped / "weights.safetensors", output=path)

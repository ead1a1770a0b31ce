"""Marks that tests of several parts carry."""

import pytest

needs_openvino = pytest.mark.usefixtures("openvino")  # of tests/conftest.py

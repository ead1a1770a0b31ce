"""Every tensor counts as large, so that small models go the way of large ones."""

from __future__ import annotations

import pytest

from bnfold.modelfile import limits


@pytest.fixture
def tiny(monkeypatch) -> None:
    monkeypatch.setattr(limits, "THRESHOLD", 1)

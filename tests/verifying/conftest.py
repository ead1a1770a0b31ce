"""What the tests of ``verify`` share."""

import importlib

import pytest

from bnfold.verifying import running


def call_in_this_process(function, kwargs, **_):
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**kwargs)


@pytest.fixture
def in_this_process(monkeypatch):
    """No child processes: for many verifications of models that are known to be harmless."""
    monkeypatch.setattr(running, "run_isolated", call_in_this_process)

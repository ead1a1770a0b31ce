"""What the tests of ``verify`` share."""

import importlib

import pytest

from bnfold.verifying import running


@pytest.fixture
def in_this_process(monkeypatch):
    """No child processes: for many verifications of models that are known to be harmless."""

    def call(function, kwargs, **limits):
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(**kwargs)

    monkeypatch.setattr(running, "run_isolated", call)

"""Runs command lines in this process."""

from __future__ import annotations

import pytest

from bnfold.cli import main


@pytest.fixture
def command(monkeypatch, capsys):
    """``command("fold", path, …)`` gives the exit code, stdout and stderr of ``bnfold fold path …``."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bnfold", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capsys.readouterr()

    return run

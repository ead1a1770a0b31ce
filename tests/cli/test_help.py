"""``--help`` shows what the docstring of a command says, all of it."""

import pytest

from bnfold.cli import app


@pytest.mark.parametrize("registered", app.registered_commands, ids=lambda registered: registered.callback.__name__)
def test_help_shows_every_word_of_the_docstring(registered, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    function = registered.callback

    code, out, _ = command(function.__name__, "--help")

    assert code == 0
    assert " ".join(function.__doc__.split()) in " ".join(out.split())


def test_help_wraps_where_the_terminal_ends(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    _, out, _ = command("fold", "--help")

    assert " Exits with 1 when it is not equivalent" in out  # where the docstring has a line break

"""``docs/lints.md`` is what the lints say now."""

from __future__ import annotations

import re
import subprocess
import sys

from bnfold.linting import LINTS, find_configuration
from docs import lints

PAGE = lints.PAGE.read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    assert lints.page() == PAGE, "run python docs/lints.py"


def test_every_lint_has_its_row_and_its_section() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(#([\w-]+)\) \|", PAGE, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [code for code, _ in rows] == [lint.code for lint in LINTS]
    assert [anchor for _, anchor in rows] == [heading.lower().replace(": ", "-") for heading in headings]


def test_the_configuration_that_it_shows_can_be_used(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1], encoding="utf-8")
    assert find_configuration(tmp_path).per_node == {"backbone.stem.*": ("BN102",)}


def test_check_says_whether_the_page_is_stale(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(lints, "PAGE", tmp_path / "lints.md")
    assert lints.main(["--check"]) == 1
    assert "run python docs/lints.py" in capsys.readouterr().err
    assert lints.main([]) == 0
    assert lints.main(["--check"]) == 0
    assert lints.PAGE.read_text(encoding="utf-8") == PAGE
    assert lints.main(["--wrong"]) == 2


def test_the_script_runs_from_anywhere(tmp_path) -> None:
    arguments = [sys.executable, lints.__file__, "--check"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""``[tool.bnfold.lint]``."""

from __future__ import annotations

import pytest

from bnfold.errors import BnfoldError
from bnfold.linting import Configuration, find_configuration


def write(folder, text: str) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


WHOLE = """
[tool.bnfold.lint]
select = ["BN1", "BN203"]
ignore = ["BN102"]
export-dtype = "float16"

[tool.bnfold.lint.per-file-ignores]
"old/*.onnx" = ["BN3"]

[tool.bnfold.lint.per-node-ignores]
"stem.*" = ["BN203"]
"""


def test_reads_every_key(tmp_path) -> None:
    write(tmp_path, WHOLE)
    found = find_configuration(tmp_path)
    assert (found.select, found.ignore, found.export_dtype) == (("BN1", "BN203"), ("BN102",), "float16")
    assert found.per_node == {"stem.*": ("BN203",)}
    assert found.path == tmp_path / "pyproject.toml"


def test_the_nearest_file_with_such_a_table_counts(tmp_path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path, '[tool.bnfold.lint]\nignore = ["BN4"]')
    write(tmp_path / "a", "[tool.other]\nx = 1")
    assert find_configuration(inner).ignore == ("BN4",)
    write(tmp_path / "a", '[tool.bnfold.lint]\nignore = ["BN3"]')
    assert find_configuration(inner).ignore == ("BN3",)


def test_without_a_file_nothing_is_said(tmp_path) -> None:
    write(tmp_path, "[project]\nname = 'x'")
    found = find_configuration(tmp_path)
    assert found.select == ()
    assert found.ignored_in("old/model.onnx") == ()
    assert Configuration().ignored_in("old/model.onnx") == ()


def test_files_are_told_apart_by_their_path_from_the_folder_of_the_file(tmp_path, monkeypatch) -> None:
    write(tmp_path, WHOLE)
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    found = find_configuration(tmp_path / "old")
    assert found.ignored_in("model.onnx") == ("BN3",)
    assert found.ignored_in("../model.onnx") == ()
    assert found.ignored_in("../old/model.onnx") == ("BN3",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.bnfold.lint]\nselct = []", "has no key 'selct'; it has export-dtype, ignore, "),
        ("[tool.bnfold]\nlint = 3", "is no table"),
        ('[tool.bnfold.lint]\nselect = "BN1"', "select is no list of codes"),
        ("[tool.bnfold.lint]\nselect = [1]", "select is no list of codes"),
        ('[tool.bnfold.lint]\nignore = ["BN9"]', "ignore: 'BN9' is no code"),
        ('[tool.bnfold.lint]\nexport-dtype = "int8"', "export-dtype: 'int8' is no dtype"),
        ("[tool.bnfold.lint]\nexport-dtype = 16", "export-dtype: 16 is no dtype"),
        ("[tool.bnfold.lint]\nper-file-ignores = []", "per-file-ignores is no table"),
        ('[tool.bnfold.lint]\nper-node-ignores = {"a" = ["BN9"]}', "per-node-ignores: 'a': 'BN9' is no code"),
        ("[tool.bnfold.lint\n", "cannot be read"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_file(tmp_path, text, message) -> None:
    write(tmp_path, text)
    with pytest.raises(BnfoldError) as raised:
        find_configuration(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "pyproject.toml"))
    assert message in str(raised.value)

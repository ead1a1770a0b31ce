"""``benchmarks/real_architectures.py``, where its packages are installed, and the page that it writes."""

from __future__ import annotations

import re

import pytest

from benchmarks import real_architectures
from benchmarks.real_architectures import ARCHITECTURES, PAGE


def table():
    """The cells of each row of the page."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")[2].partition("<!-- end -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return {line.split("|")[1].partition(":")[0].strip(): [cell.strip() for cell in line.split("|")] for line in lines}


def test_the_page_has_each_network_and_none_that_changed() -> None:
    rows = table()
    assert list(rows) == list(ARCHITECTURES)
    for name, cells in rows.items():
        assert cells[1] == f"{name}: {ARCHITECTURES[name].about}"
        assert cells[6].startswith("equivalent, ")
        assert float(cells[8]) < 1e-5


def test_the_page_names_the_command_and_the_seed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "python -m benchmarks.real_architectures --write" in text
    assert re.search(r"\nSeed 0; bnfold .*, torch .*, transformers .*, pytorchcv .*, monai .*\n", text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other packages, about their own code
@pytest.mark.parametrize("name", ["MobileNetV2", "UNet 3-D"])
def test_a_network_folds_as_the_page_says(name) -> None:
    pytest.importorskip(ARCHITECTURES[name].package)
    row, cells = real_architectures.measure(name), table()[name]
    assert [str(row.batch_norms[0]), str(row.batch_norms[1]), str(row.layers[1])] == [cells[3], cells[4], cells[7]]
    assert row.verdict == "equivalent"
    assert row.error < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_made_of_the_rows(capsys, tmp_path, monkeypatch) -> None:
    pytest.importorskip("pytorchcv")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(real_architectures, "PAGE", page)
    real_architectures.main(["--networks", "PreResNet", "--write"])
    written = page.read_text(encoding="utf-8")
    assert re.fullmatch(r"before\n<!-- table -->\n(\|.*\n){3}\nSeed 0; .*\n<!-- end -->\nafter\n", written)
    assert "| PreResNet: PreResNet-56 for CIFAR-10 | pytorchcv | 55 | 0 | none |" in capsys.readouterr().out

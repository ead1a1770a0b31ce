"""Several values behind one option."""

import pytest

from bnfold.cli.lists import spread


@pytest.mark.parametrize(("given", "parsed"), [
    ("bench a b --level disabled all --pairs 3", "bench a b --level disabled --level all --pairs 3"),
    ("bench --batch 1 8 32 a b", "bench --batch 1 --batch 8 --batch 32 a b"),
    ("bench --threads 1 2 --batch 4 --level all", "bench --threads 1 --threads 2 --batch 4 --level all"),
    ("bench --level nonsense a b", "bench --level nonsense a b"),
    ("bench --level all a.onnx all", "bench --level all a.onnx all"),
    ("bench --level all -- all basic", "bench --level all -- all basic"),
    ("bench a b --level", "bench a b --level"),
    ("verify a b --provider cpu cuda", "verify a b --provider cpu cuda"),
    ("fold all 8", "fold all 8"),
])  # fmt: skip
def test_what_can_only_be_a_further_value_is_one(given, parsed):
    assert spread(given.split()) == parsed.split()

"""``docs/positions.md`` is what the rules say now, and says something of every op that has to have a rule."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bnfold.folding.ops import RULES
from docs import positions

# Every op through which an affine can go or into which it can be taken, somewhere, somehow.
SPECIFIED = frozenset(
    [
        "Abs",
        "Add",
        "ArgMax",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DeformConv",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Einsum",
        "Elu",
        "Erf",
        "Expand",
        "Flatten",
        "GRU",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GridSample",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "If",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "LeakyRelu",
        "LogSoftmax",
        "Loop",
        "MatMul",
        "MaxPool",
        "Mean",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "RMSNormalization",
        "RNN",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "RoiAlign",
        "Scan",
        "Selu",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "Tile",
        "TopK",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
# Rounding makes these inexact: the page must show that they block, with a rule or without.
INEXACT = frozenset({"QuantizeLinear"})

PAGE = positions.PAGE.read_text(encoding="utf-8")


def overview() -> dict[str, str]:
    """The rule of each op, as the table of the page has it."""
    rows = re.findall(r"^\| (\w+) \| .+ \| \[(\w+)\]\(#(\w+)\) \|$", PAGE, re.MULTILINE)
    assert all(anchor == rule.lower() for _, rule, anchor in rows)
    return {op: rule for op, rule, _ in rows}


# The page


def test_the_page_is_current() -> None:
    assert positions.page() == PAGE, "run python docs/positions.py"


def test_every_op_of_the_specification_is_there_with_its_rule() -> None:
    assert overview().keys() >= SPECIFIED


def test_every_op_of_every_rule_is_there_in_order() -> None:
    assert overview() == {op: type(rule).__name__ for rule in RULES for op in rule.op_types}
    assert list(overview()) == sorted(overview())


def test_an_op_that_blocks_is_named_too() -> None:
    (without,) = re.findall(r"that have no rule, which are\n\n(.*)\.\n", PAGE)
    without = without.split(", ")
    assert without == sorted(without)
    assert not set(without) & overview().keys()
    assert {*INEXACT, "Hardmax", *SPECIFIED} <= {*without, *overview()}


def test_every_rule_has_its_section_with_all_its_parts() -> None:
    sections = dict(zip(*[iter(re.split(r"^##+ (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))
    for rule in RULES:
        text = sections[type(rule).__name__]
        assert text.count("```text") == 2, rule
        assert "\nConditions:\n\n1. " in text or "\nConditions: none.\n" in text
        assert "\nSource: <https://" in text
        assert "\nExamples in [" in text


def test_every_link_leads_somewhere() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert target.removeprefix("#") in headings or (positions.PAGE.parent / target).is_file(), target


def test_check_says_whether_the_page_is_stale(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(positions, "PAGE", tmp_path / "positions.md")
    assert positions.main(["--check"]) == 1
    assert "run python docs/positions.py" in capsys.readouterr().err
    assert positions.main([]) == 0
    assert positions.main(["--check"]) == 0
    assert positions.PAGE.read_text(encoding="utf-8") == PAGE
    positions.PAGE.write_text(f"{PAGE}\n", encoding="utf-8")
    assert positions.main(["--check"]) == 1
    assert positions.main(["--wrong"]) == 2


def test_the_script_runs_from_anywhere(tmp_path) -> None:
    arguments = [sys.executable, positions.__file__, "--check"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The parser

WHOLE = """Does it, over two
    lines.

    A remark.

    Drawing:
        x → y   ⇒   z

            x → w

    Algebra:
        y = x

    Conditions:
        1. One, which goes on
           here.
        2. Two of ``3``.

    Source:
        https://onnx.ai/a__b.html; a paper
        (https://arxiv.org/abs/1).
    """


def test_parses_all_parts() -> None:
    assert positions.parse(WHOLE) == positions.Docs(
        summary="Does it, over two lines.",
        remarks="A remark.",
        drawing="x → y   ⇒   z\n\n    x → w",
        algebra="y = x",
        conditions=("One, which goes on here.", "Two of ``3``."),
        source="https://onnx.ai/a__b.html; a paper (https://arxiv.org/abs/1).",
    )


def test_a_rule_may_have_no_condition() -> None:
    none = re.sub(r"1\. One.*?``3``\.", "None.", WHOLE, flags=re.DOTALL)
    assert positions.parse(none).conditions == ()


@pytest.mark.parametrize("name", positions.PARTS)
def test_a_part_that_is_missing_or_empty_is_an_error(name) -> None:
    whole = positions.inspect.cleandoc(WHOLE)
    missing = re.sub(rf"^{name}:\n(    .*\n|\n(?=    ))*", "", f"{whole}\n", flags=re.MULTILINE)
    with pytest.raises(ValueError, match="and not Drawing, Algebra, Conditions, Source, in this order"):
        positions.parse(missing)
    empty = re.sub(rf"^({name}:\n)(    .*\n|\n(?=    ))*", r"\1", f"{whole}\n", flags=re.MULTILINE)
    with pytest.raises(ValueError, match=f"nothing under {name}"):
        positions.parse(empty)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (WHOLE, "", r"has the parts \(none\)"),
        ("Does it, over two\n    lines.\n\n    A remark.\n\n    Drawing", "\n    Drawing", "in its first line"),
        ("    Source:", "    Notes:\n        None.\n\n    Source:", "Conditions, Notes, Source"),
        ("    Algebra:\n", "    Drawing:\n", "Drawing twice"),
        ("    Drawing:", "    Source:\n        a\n\n    Drawing:", "Source twice"),
        ("        y = x", "    y = x", "not indented like its part: y = x"),
        ("1. One", "One", "before the first condition"),
        ("2. Two", "3. Two", "a condition 3 where 2 is due"),
        ("           here", "        here", "belongs to none: here"),
    ],
)
def test_a_docstring_in_another_form_is_an_error(old, new, message) -> None:
    assert old in WHOLE
    with pytest.raises(ValueError, match=message):
        positions.parse(WHOLE.replace(old, new))


def test_an_error_names_the_rule() -> None:
    class LazyRule:
        """Does it."""

    with pytest.raises(ValueError, match=r"the docstring of LazyRule has the parts \(none\)"):
        positions.page([LazyRule()])


def test_text_becomes_markdown_and_nothing_else_does() -> None:
    class ARule:
        op_types = frozenset({"A"})
        examples = ("\n  first (x) => (y) {}\n",)

    ARule.__doc__ = WHOLE.replace("1. One", "1. a*b < c | `d`, _e_ of f_g and ``ARule``: [h](i)").replace(
        "lines", "``ARule`` | lines"
    )
    page = positions.page([ARule()])
    assert r"1. a\*b \< c \| \`d\`, \_e\_ of f_g and [ARule](#arule): [h\](i), which goes on here." in page
    assert "2. Two of `3`." in page
    assert "Source: <https://onnx.ai/a__b.html>; a paper (<https://arxiv.org/abs/1>)." in page
    assert r"| A | Does it, over two [ARule](#arule) \| lines. | [ARule](#arule) |" in page
    assert "Examples in [test_docs.py](../tests/test_docs.py): `first`." in page

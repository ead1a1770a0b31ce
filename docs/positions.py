"""Writes ``docs/positions.md``, the table of where an affine can go, from the docstrings of the rules.

``python docs/positions.py`` writes it; with ``--check`` it writes nothing, and exits with 1 where it would.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the rules of this clone, whichever bnfold is installed

import onnx

from bnfold.folding import facts, merging, ops, repairing, sites
from bnfold.folding.ops import batch_normalization, sums, zero_padding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from bnfold.folding.ops.rule import Rule

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "positions.md"
PARTS = ("Drawing", "Algebra", "Conditions", "Source")
NEWEST_OPSET = 25  # of the ops that are listed as having no rule, so that the page is the same whichever onnx is there

INTRODUCTION = """\
<!-- Written by `python docs/positions.py` from the docstrings of the rules in bnfold/folding/ops/. Change those. -->

# Where an affine can go

At inference a BatchNormalization is an affine map of each channel, `scale·x + shift`. bnfold takes it out of the graph
by *re-expressing* the tensors around it, and asks each op that touches such a tensor what it makes of that. The op's
rule answers: it **absorbs** (its constants can be rewritten), it **carries** (it computes the same when others of its
tensors are re-expressed as well), it leaves a **choice** between several of these, or it **blocks**, with a reason. A
rule that cannot show its conditions blocks, and so does every op without a rule.

`bnfold inspect model.onnx` says what would go where in a model. All that this page says is exact in real arithmetic.
"""

READING = """\
In the drawings data flows from left to right; `⇒` says what becomes of a piece of the graph, `⇔` that it holds either
way. An affine is *behind* an op when it follows it, and *in front* of it when it precedes it. It goes *back* into what
comes before it, and *forward* into what comes after. W′ is the new W. The examples are small models that need the rule;
from each the tests derive the cases that every rule must survive.
"""


@dataclass(frozen=True)
class Docs:
    """What the docstring of a rule says.

    Attributes:
        summary: Its first paragraph, on one line.
        remarks: What follows before the first part, or empty.
        drawing: As it stands.
        algebra: As it stands.
        conditions: The text of each, on one line.
        source: On one line.
    """

    summary: str
    remarks: str
    drawing: str
    algebra: str
    conditions: tuple[str, ...]
    source: str


def parse(docstring: str | None) -> Docs:
    """The parts of a rule's docstring.

    Raises:
        ValueError: A part is missing, empty, unknown, or not in its place.
    """
    head, parts = _split(inspect.cleandoc(docstring or ""))
    if tuple(parts) != PARTS:
        raise ValueError(f"has the parts {', '.join(parts) or '(none)'}, and not {', '.join(PARTS)}, in this order")
    for name, text in parts.items():
        if not text:
            raise ValueError(f"has nothing under {name}")
    summary, _, remarks = head.partition("\n\n")
    if not summary:
        raise ValueError("does not say in its first line what the rule does")
    return Docs(
        _one_line(summary),
        remarks,
        parts["Drawing"],
        parts["Algebra"],
        numbered(parts["Conditions"]),
        _one_line(parts["Source"]),
    )


def numbered(text: str) -> tuple[str, ...]:
    """``1. …``, ``2. …``, each on one line; ``None.`` is nothing.

    Raises:
        ValueError: It does not begin with 1, or a number is left out.
    """
    if text == "None.":
        return ()
    items: list[str] = []
    for line in text.splitlines():
        found = re.match(r"(\d+)\. +(.*)", line)
        if found:
            if int(found[1]) != len(items) + 1:
                raise ValueError(f"has a condition {found[1]} where {len(items) + 1} is due")
            items.append(found[2])
        elif not items:
            raise ValueError(f"has a line before the first condition: {line}")
        elif line and not line.startswith("   "):
            raise ValueError(f"has a line among the conditions that belongs to none: {line}")
        else:
            items[-1] += f" {line}"
    return tuple(map(_one_line, items))


def conditions_of(function: Callable[..., object]) -> tuple[str, ...]:
    """The numbered conditions in the docstring of a function."""
    _, parts = _split(inspect.getdoc(function) or "")
    return numbered(parts["Conditions"])


def _body(documented: object) -> str:
    """A docstring without its first paragraph."""
    return (inspect.getdoc(documented) or "").partition("\n\n")[2]


def _split(text: str) -> tuple[str, dict[str, str]]:
    """What stands before the first part, and each part (``Name:`` and what is indented beneath it), in order.

    Raises:
        ValueError: A part comes twice, or something beneath its heading is not indented.
    """
    head: list[str] = []
    parts: dict[str, list[str]] = {}
    lines = head
    for line in text.splitlines():
        if found := re.fullmatch(r"(\w+):", line):
            if found[1] in parts:
                raise ValueError(f"has the part {found[1]} twice")
            lines = parts.setdefault(found[1], [])
        elif parts and line and not line.startswith("    "):
            raise ValueError(f"has a line that is not indented like its part: {line}")
        else:
            lines.append(line)
    return "\n".join(head).strip(), {name: dedent("\n".join(body)).strip("\n") for name, body in parts.items()}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def page(rules: Sequence[Rule] = ops.RULES) -> str:
    """The whole page."""
    rules = sorted(rules, key=_title)
    docs = {rule: _docs(rule) for rule in rules}
    blocks = [
        INTRODUCTION,
        "## What is moved",
        _prose(_body(sites), rules),
        "## Every op",
        _overview(docs, rules),
        "Everything else blocks: all ops of other domains, and those of ONNX "
        f"(up to opset {NEWEST_OPSET}) that have no rule, which are",
        ", ".join(sorted(_all_ops() - {op for rule in rules for op in rule.op_types})) + ".",
        "## The rules",
        READING,
        *(block for rule in rules for block in _section(rule, docs[rule], rules)),
        "## Sums and streams",
        _told(sums, rules),
        "## Branches of a sum",
        _told(merging, rules),
        "## Repairs, on demand",
        _told(zero_padding, rules),
        _told(repairing, rules),
        "## Never",
        f"A BatchNormalization is moved only if each of these is so ({_link(sites)}):",
        _list(conditions_of(sites.find_sites), rules),
        f"It is at inference, and such an affine, only if each of these is so ({_link(batch_normalization)}):",
        _list(conditions_of(batch_normalization.why_no_affine), rules),
        f"No tensor is re-expressed that is pinned ({_link(facts)}):",
        _prose(_body(facts.Facts.why_pinned), rules),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _told(module: ModuleType, rules: Sequence[Rule]) -> str:
    """What a module says of itself."""
    return f"{_prose(inspect.getdoc(module) or '', rules)}\n\n(From {_link(module)}.)"


def _docs(rule: Rule) -> Docs:
    try:
        return parse(type(rule).__doc__)
    except ValueError as error:
        raise ValueError(f"the docstring of {_title(rule)} {error}") from error


def _title(rule: Rule) -> str:
    return type(rule).__name__


def _overview(docs: dict[Rule, Docs], rules: Sequence[Rule]) -> str:
    """One row an op, in alphabetical order: what its rule does, and where that is said."""
    rows = [
        f"| {op} | {_inline(docs[rule].summary, rules)} | {_reference(rule)} |"
        for op, rule in sorted(((op, rule) for rule in rules for op in rule.op_types), key=lambda row: row[0])
    ]
    return "\n".join(["| op | what it makes of an affine | rule |", "|:---|:---|:---|", *rows])


def _section(rule: Rule, docs: Docs, rules: Sequence[Rule]) -> list[str]:
    names = ", ".join(f"`{_name(text)}`" for text in rule.examples)
    return [
        f"### {_title(rule)}",
        f"{', '.join(sorted(rule.op_types))}: {_inline(docs.summary, rules)}",
        *([_prose(docs.remarks, rules)] if docs.remarks else []),
        _code(docs.drawing),
        _code(docs.algebra),
        *(["Conditions:", _list(docs.conditions, rules)] if docs.conditions else ["Conditions: none."]),
        f"Source: {_inline(docs.source, rules)}",
        f"Examples in {_link(inspect.getmodule(type(rule)))}: {names}.",
    ]


def _name(example: str) -> str:
    """How a model in ONNX text is called: its first word."""
    return example.split("(", 1)[0].strip()


def _all_ops() -> set[str]:
    """ONNX's own, up to an opset that every supported onnx has."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return {schema.name for schema in schemas if schema.domain == "" and schema.since_version <= NEWEST_OPSET}


def _list(items: Sequence[str], rules: Sequence[Rule]) -> str:
    return "\n".join(f"{number}. {_inline(item, rules)}" for number, item in enumerate(items, start=1))


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _prose(text: str, rules: Sequence[Rule]) -> str:
    """Paragraphs; what is indented is code."""
    return "\n\n".join(
        _code(dedent(paragraph)) if paragraph.startswith(" ") else _inline(_one_line(paragraph), rules)
        for paragraph in re.split(r"\n\n+", text)
    )


def _inline(text: str, rules: Sequence[Rule]) -> str:
    """Double backticks and addresses as Markdown, names of rules as links, and nothing else as markup."""
    links = {_title(rule): _reference(rule) for rule in rules}
    pieces = re.split(r"``(.+?)``|(https?://\S+[^\s.,;:)])", text)  # plain, code, address, plain, …
    marked = []
    for index, piece in enumerate(pieces):
        if piece and index % 3 == 0:
            marked.append(re.sub(r"([\\*<|`]|\b_|_\b|\](?=[\[(]))", r"\\\1", piece))
        elif piece:
            marked.append(f"<{piece}>" if index % 3 == 2 else links.get(piece, f"`{piece}`"))
    return "".join(marked)


def _reference(rule: Rule) -> str:
    return f"[{_title(rule)}](#{_title(rule).lower()})"


def _link(module: object) -> str:
    file = Path(inspect.getsourcefile(module)).resolve()
    return f"[{file.name}](../{file.relative_to(ROOT).as_posix()})"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    new = page()
    if not arguments:
        PAGE.write_text(new, encoding="utf-8", newline="\n")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == new:
        return 0
    print("docs/positions.md is stale: run python docs/positions.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

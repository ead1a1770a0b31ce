"""Figures as SVG that can be read on white, on black, in print, and by those who do not tell red from green.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color), each with a brighter one for dark pages: the SVG
has them as CSS variables, which its reader decides about, and lines differ in their markers too. Text stays text.
"""

from __future__ import annotations

import re
import statistics
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from bnfold.zoo.dependencies import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from bnfold.studying.claim import Claim
    from bnfold.studying.runs import Runs

__all__ = ["COLOURS", "DARK", "INK", "LIGHT", "MARKERS", "SOFT", "draw", "lines", "standalone", "strips", "style_of"]

INK, SOFT = "#1b1b1b", "#8a8a8a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#9a7400", "#5b5ea6")
MARKERS = ("o", "s", "^", "D", "v", "P")
_BRIGHT = ("#56b4e9", "#ff9147", "#35c99b", "#e39ccb", "#e6b422", "#a3a6e8")
_NAMES = {
    INK: "currentColor",
    SOFT: f"var(--soft, {SOFT})",
    **{colour: f"var(--c{index}, {colour})" for index, colour in enumerate(COLOURS)},
}
LIGHT = " ".join(["--soft: #767676;", *(f"--c{index}: {colour};" for index, colour in enumerate(COLOURS))])
DARK = " ".join(["--soft: #9a9a9a;", *(f"--c{index}: {colour};" for index, colour in enumerate(_BRIGHT))])

_SIZE = (8.0, 3.6)  # inches
_STYLE: Any = {  # matplotlib lists every key in its type
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "bnfold",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(claim: Claim, runs: Runs) -> str:
    """A claim's figure: an ``<svg>`` for an HTML page; the same numbers give the same text.

    Its colours are the variables ``--c0``, ``--c1``, … and ``--soft``, and its ink is the colour of the text around.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE)
        claim.draw(runs, figure)
        file = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    return _tidied(file.getvalue(), f"claim{claim.number}-", claim.title)


def standalone(svg: str) -> str:
    """The figure as a file of its own, dark where its reader's pages are."""
    rules = (
        f"svg {{ color: #1b1b1b; {LIGHT} }}\n@media (prefers-color-scheme: dark) {{ svg {{ color: #e8e8e8; {DARK} }} }}"
    )
    head, _, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}>\n<style>{rules}</style>{rest}\n'


def _tidied(svg: str, prefix: str, label: str) -> str:
    """Without what a page has already, with names that no other figure of the page has, and colours by name."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}", svg)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    for colour, name in _NAMES.items():
        svg = re.sub(rf"(: |\"){colour}\b", rf"\g<1>{name}", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def style_of(index: int) -> dict[str, Any]:
    """Colour and marker of the arm of that place."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def lines(axes: Axes, runs: Runs, name: str, arms: Sequence[str] | None = None) -> None:
    """A line an arm through the means along the axis, and a faint dot for every seed."""
    for index, arm in enumerate(arms if arms is not None else runs.arms):
        places = runs.places(arm)
        style = style_of(index)
        each = [runs.each(name, arm, at) for at in places]
        axes.plot(places, [statistics.fmean(numbers) for numbers in each], label=arm, **style)
        dots = [(at, number) for at, numbers in zip(places, each, strict=True) for number in numbers]
        across, up = zip(*dots, strict=True)
        axes.scatter(across, up, s=9, alpha=0.35, linewidths=0, color=style["color"])


def strips(axes: Axes, each: Mapping[str, Sequence[float]]) -> None:
    """A row for each name, from top to bottom: a dot for every seed, and a line at their mean."""
    for index, numbers in enumerate(each.values()):
        style = style_of(index)
        axes.plot(numbers, [index] * len(numbers), linestyle="none", alpha=0.6, markeredgewidth=0, **style)
        mean = statistics.fmean(numbers)
        axes.plot([mean, mean], [index - 0.3, index + 0.3], color=style["color"])
    axes.set_yticks(range(len(each)), each)
    axes.set_ylim(len(each) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)

"""How the ratios of the pairs lie, as a picture: one row a cell, every pair a dot, the interval a bar.

level all, latency     ─────┼───●─●●●──●──        1.04 to 1.16, faster
level all, load        ───●●┼●●───                0.97 to 1.03, no change
1
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor
from typing import TYPE_CHECKING

from bnfold.errors import MissingDependencyError
from bnfold.reporting.document import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from bnfold.reporting import Picture

__all__ = ["Distribution", "draw", "require", "ticks"]

_WIDTH, _ROW, _MARGINS = 9.0, 0.5, 1.4  # inches
_DOTS_PER_INCH = 150
_SPREAD = 0.38  # of a row, for dots that would lie on each other
_GOLDEN = 0.6180339887  # its multiples fill an interval evenly, in any number
_EDGE = 1.02  # beyond the first and the last dot
_WIDE = 3.0  # from the first dot to the last, for 1, 2, 5, 10 instead of even steps
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_STEPS = 8
_COLOURS = {"faster": "#1b7837", "slower": "#b2182b", "inconclusive": "#b8860b"}
_PLAIN = "#555555"


@dataclass(frozen=True)
class Distribution:
    """The ratios of one cell.

    Attributes:
        label: What was timed there, such as ``level all, latency``.
        ratios: Reference over candidate, one a pair: above 1 the candidate is faster.
        middle: Their mean.
        low: Lower end of its interval.
        high: Its upper end.
        verdict: What the interval says, such as ``faster``.
    """

    label: str
    ratios: tuple[float, ...]
    middle: float
    low: float
    high: float
    verdict: str


def require() -> None:
    """See that matplotlib is there, without loading it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("matplotlib", "plot")


def draw(title: str, cells: Sequence[Distribution], picture: Picture) -> bytes:
    """The picture as the bytes of a file; the same cells give the same bytes.

    Args:
        title: Stands above it.
        cells: One row each, from top to bottom; at least one.
        picture: The kind of file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with (
        warnings.catch_warnings(),
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bnfold", "font.family": "DejaVu Sans"}),
    ):
        warnings.simplefilter("ignore")  # a name may have letters that the font has not
        figure = Figure(figsize=(_WIDTH, _MARGINS + _ROW * len(cells)), dpi=_DOTS_PER_INCH)
        axes = figure.add_subplot()
        for row, cell in enumerate(cells):
            _draw_row(axes, row, cell)
        axes.set_title(_text(title), fontsize=10, parse_math=False)
        axes.axvline(1.0, color="black", linewidth=0.8, zorder=1)
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.set_yticks(range(len(cells)), [_text(cell.label) for cell in cells], fontsize=9, parse_math=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        _scale(axes, cells)
        file = BytesIO()
        nothing = {"Date": None, "Creator": None} if picture == "svg" else {"Software": None}
        figure.savefig(file, format=str(picture), metadata=nothing, bbox_inches="tight")
    return file.getvalue()


def _draw_row(axes: Axes, row: int, cell: Distribution) -> None:
    colour = _COLOURS.get(cell.verdict, _PLAIN)
    places = [row + _SPREAD * ((_GOLDEN * index) % 1 - 0.5) for index in range(len(cell.ratios))]
    axes.plot([cell.low, cell.high], [row, row], color=colour, alpha=0.3, linewidth=9, solid_capstyle="butt", zorder=2)
    axes.plot([cell.middle], [row], color=colour, marker="|", markersize=14, markeredgewidth=1.5, zorder=3)
    axes.scatter(cell.ratios, places, s=14, color=colour, alpha=0.75, linewidths=0, zorder=4, gid=f"pairs-{row}")
    words = f"{cell.low:.2f} to {cell.high:.2f}, {cell.verdict}"
    beside = axes.get_yaxis_transform()  # across the axes from 0 to 1, and down in rows
    axes.text(1.01, row, _text(words), transform=beside, va="center", fontsize=9, color=colour, parse_math=False)


def _scale(axes: Axes, cells: Sequence[Distribution]) -> None:
    """Logarithmic, so that twice as fast is as far from 1 as half as fast; 1 is always to be seen."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    numbers = [1.0, *(number for cell in cells for number in (*cell.ratios, cell.low, cell.high))]
    low, high = min(numbers) / _EDGE, max(numbers) * _EDGE
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_xlabel("reference / candidate, one dot a pair; bar: 95 % interval; right of 1 the candidate is faster")


def ticks(low: float, high: float) -> list[float]:
    """1, and round numbers around it, at most nine; matplotlib's own may leave it out.

    Args:
        low: Where the axis begins; below 1.
        high: Where it ends; above 1.
    """
    if high / low > _WIDE:
        steps = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
        return [step for step in steps if low <= step <= high]
    step = next(step for step in _STEPS if (high - low) / step <= _MOST_STEPS)
    return [round(1 + count * step, 3) for count in range(ceil((low - 1) / step), floor((high - 1) / step) + 1)]


def _text(text: str) -> str:
    """As a file can hold it: names of files may hold bytes that are no text."""
    return printable(text).encode("utf-8", "backslashreplace").decode("utf-8")

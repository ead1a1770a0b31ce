"""How a training run went, as a picture: the loss and the score, epoch by epoch.

SVG, written here: it needs no package, and the same run gives the same bytes on every machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnfold.training.result import Epoch

__all__ = ["draw"]

_WIDTH, _HEIGHT = 720, 280
_TOP, _BOTTOM = 44, 240
_PANELS = ((56, 344), (408, 696))  # from left to right, in pixels
_TRAIN, _HELD_OUT = "#1f6fb4", "#c2410c"  # told apart without colours as well: the second has dashes
_INK, _GRID = "#444444", "#dddddd"
_FINEST = 1e-12  # a loss below is drawn as this: a logarithm has no 0
_MOST_TICKS = 6

Line = tuple[str, str, "Sequence[float]"]  # label, colour, a number for each epoch


def draw(title: str, score_name: str, epochs: Sequence[Epoch]) -> str:
    """The picture as the text of an SVG file.

    Args:
        title: Stands above it.
        score_name: What the score counts.
        epochs: In order, at least one.
    """
    losses = [max(epoch.loss, _FINEST) for epoch in epochs]
    loss = ("train loss, logarithmic", _TRAIN, [math.log10(loss) for loss in losses])
    train = (f"train {score_name}", _TRAIN, [epoch.train_accuracy for epoch in epochs])
    held_out = (f"held-out {score_name}", _HELD_OUT, [epoch.held_out_accuracy for epoch in epochs])
    numbers = [epoch.number for epoch in epochs]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="11" fill="{_INK}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_WIDTH / 2, 16, title, "middle"),
            *_panel(_PANELS[0], numbers, (loss,), logarithmic=True),
            *_panel(_PANELS[1], numbers, (train, held_out), logarithmic=False),
            "</svg>\n",
        )
    )


def _panel(sides: tuple[int, int], epochs: Sequence[int], lines: Sequence[Line], *, logarithmic: bool) -> list[str]:
    left, right = sides
    values = [value for _, _, series in lines for value in series]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    first, last = epochs[0], max(epochs[-1], epochs[0] + 1)

    def across(epoch: float) -> float:
        return left + (right - left) * (epoch - first) / (last - first)

    def down(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)

    parts = []
    for tick in _decades(low, high) if logarithmic else _ticks(low, high):
        y = down(tick)
        parts += [
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>',
            _text(left - 6, y + 4, f"{10**tick:.3g}" if logarithmic else f"{tick:.4g}", "end"),
        ]
    parts += [_text(across(epoch), _BOTTOM + 16, f"{epoch:g}", "middle") for epoch in _whole(first, last)]
    parts.append(_text((left + right) / 2, _BOTTOM + 32, "epoch", "middle"))
    for place, (label, colour, series) in enumerate(lines):
        dashes = ' stroke-dasharray="5 2"' if place else ""
        points = [(across(epoch), down(value)) for epoch, value in zip(epochs, series, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>',
            _text(left + place * (right - left), 36, label, "end" if place else "start", colour),
        ]
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, at most a handful: 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    step = next(power * digit for digit in (1, 2, 5, 10, 20) if (high - low) / (power * digit) <= _MOST_TICKS)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2, 5, 10, … between two, or of powers of ten where these are many, or even steps in between."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1, 2, 5), (1,)):
        found = [power + math.log10(digit) for power in powers for digit in digits]
        found = [tick for tick in found if low <= tick <= high]
        if 1 < len(found) <= _MOST_TICKS:
            return found
    return _ticks(low, high)


def _whole(first: int, last: int) -> list[int]:
    step = max(1, math.ceil((last - first) / _MOST_TICKS))
    return list(range(first, last + 1, step))

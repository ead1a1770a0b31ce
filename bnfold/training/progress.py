"""A progress bar on stderr, for whoever sits at a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bar"]


def progress_bar(wanted: bool) -> Progress:
    """A bar that vanishes at its end, with the time that is left; one that shows nothing where stderr is a file."""
    from rich.console import Console
    from rich.progress import Progress

    # Ask the stream itself: rich takes FORCE_COLOR for a terminal, and the bar would end up in a log.
    visible = wanted and sys.stderr.isatty()
    return Progress(console=Console(stderr=True), transient=True, disable=not visible)

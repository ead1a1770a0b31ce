"""What onnxruntime logs: why a provider did not load is told there, and nowhere else. For child processes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["first_message", "overheard"]

_LONGEST = 600  # characters of a runtime's message
_QUIET, _ERRORS = 4, 3  # severities of onnxruntime's log


@contextmanager
def overheard() -> Iterator[Callable[[], str]]:
    """What is written to stderr meanwhile, by libraries as well."""
    import onnxruntime as ort

    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        ort.set_default_logger_severity(_ERRORS)
        os.dup2(heard.fileno(), 2)
        texts: list[str] = []

        def said() -> str:
            if not heard.closed:
                heard.seek(0)
                texts[:] = [heard.read().decode("utf-8", "replace").strip()]
            return texts[0]

        try:
            yield said
        finally:
            said()
            os.dup2(before, 2)
            os.close(before)
            ort.set_default_logger_severity(_QUIET)


def first_message(*texts: str) -> str:
    """The first message of texts: without colours, dates, numbering, places in onnxruntime's source, and folders."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).strip() for text in texts if text.strip())
    if "load library" in text:  # the reason is behind the last number, before what the caller of the caller says
        text = text[text.index("load library") - len("Failed to ") :]
    text = re.sub(r"^\S+ \S+ \[\w:\w+:[^\]]*\] ", "", text)
    text = re.sub(r"^\S*onnxruntime_src/\S+ .*?\) (?=\[|\w)", "", text)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : (\w+ : )?", "", text)
    text = re.sub(r"library /\S*/", "library ", re.split(r"\s/onnxruntime_src/", text)[0])
    return re.sub(r"\s+", " ", text).strip()[:_LONGEST]

"""The child process of ``isolation.run_isolated``: reads a request, calls one function, writes a response.

    python -P -m bnfold.runtime.child REQUEST RESPONSE

Requests and responses are files, because runtimes print what they like to stdout and stderr.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from bnfold.errors import BnfoldError, ExecutionError
from bnfold.startup import start_fast

__all__ = ["Answer", "main"]

Answer = tuple[str, Any]


def main(request: Path, response: Path) -> None:
    """Answer one request, then leave without the clean-up in which native libraries like to crash."""
    start_fast()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    partial = response.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(_answer(request)))
    partial.replace(response)
    os._exit(0)


def _answer(request: Path) -> Answer:
    """``("returned", value)``, ``("raised", (class, args, attributes))`` or ``("bug", traceback)``."""
    function, kwargs = pickle.loads(request.read_bytes())  # noqa: S301 - written by our own parent
    module, _, name = function.partition(":")
    try:
        return "returned", getattr(importlib.import_module(module), name)(**kwargs)
    except BnfoldError as error:
        return "raised", (type(error), error.args, vars(error))
    except MemoryError:
        return "raised", (ExecutionError, ("not enough memory",), {})
    except Exception:  # the parent shows it as the bug that it is
        return "bug", traceback.format_exc()


def _end_with_parent() -> None:
    """The parent holds the other end of stdin: when it is gone, however it went, so is this process."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

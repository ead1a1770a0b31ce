"""A child process that runs cells, one after another: a line of JSON comes in, a line of JSON goes out.

    python -P -m bnfold.studying.worker

It ends when its parent does, however that ended, because its stdin does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from queue import SimpleQueue

from bnfold.studying.claim import Cell
from bnfold.studying.protocol import run_cell

__all__ = ["main"]


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print what they like, and not among the answers
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        print(_answer(requests.get()), file=answers, flush=True)


def _listen(requests: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # in the middle of a run, too: nobody waits for it


def _answer(line: str) -> str:
    try:
        asked = json.loads(line)
        start = time.process_time()
        numbers = run_cell(asked["claim"], Cell(**asked["cell"]))
        return json.dumps({"numbers": numbers, "seconds": time.process_time() - start})
    except Exception:  # the parent shows it as the bug that it is
        return json.dumps({"bug": traceback.format_exc()})


if __name__ == "__main__":
    main()
